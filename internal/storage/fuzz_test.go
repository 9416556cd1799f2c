package storage

import (
	"bytes"
	"hash/crc32"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// FuzzBatch: whatever lies in a WAL file, reading it neither panics nor makes
// up entries; and opening a store with it does not either.
func FuzzBatch(f *testing.F) {
	var w batchWriter
	l := newLog(nil, 3)
	file := newWALFile("store", 1, nil, 4096)
	w.reset(1)
	w.entries(l, []*raftpb.Entry{entry(2, 1, 0, 2, "one"), entry(3, 1, 2, 1, "two")}, nil)
	w.hardState(3, hardState{1, 2, 3})
	w.snapshot(4, &Checkpoint{Applied: 9, Term: 2, ConfState: &raftpb.ConfState{Voters: []uint64{1}}, State: []byte("s")})
	w.deletion(5)
	w.damage(kindDamage, 6, "gone")
	w.install(3, 1, 5, &Checkpoint{Applied: 9, Term: 2, State: []byte("s")}, []*chunk{{
		seg: &segment{number: 3, owner: 3, size: 1000}, pos: 10, data: 100, marks: 1, count: 2, first: 5, last: 8, base: 1, end: 4}})
	w.install(7, 2, noCut, &Checkpoint{}, nil)
	f.Add(bytes.Clone(w.seal(file, 0, 0)), false)
	w.reset(1)
	f.Add(bytes.Clone(w.seal(file, 1, flagRebase)), true)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) >= batchHeader { // reach what the checksum protects
			fixBatch(b)
		}
		fs := vfs.NewMem()
		const name = "data/wal/000000000001.wal"
		if err := fs.MkdirAll("data/wal"); err != nil {
			t.Fatal(err)
		}
		writeFile(t, fs, "data/STORE", encodeMarker("store"))
		writeFile(t, fs, name, b)
		if err := DumpWAL(&bytes.Buffer{}, fs, name); err != nil {
			t.Fatal(err)
		}
		s := &Store{fs: fs, logs: make(map[record.LogID]*Log), opts: Options{Logger: quiet()}, cold: new(coldCache)}
		s.segs = &segments{fs: fs, dir: "data/seg"}
		s.metrics, _ = newMetrics(nil)
		img, err := readWAL(fs, name, "store", 1)
		if err != nil {
			t.Fatal(err)
		}
		r := replay{store: s, hurt: make(map[uint64]string)}
		r.file(img)
		r.end()
		r.check()
		for _, id := range s.Logs() {
			l := s.Log(id)
			ents, err := l.Entries(l.FirstIndex(), l.LastIndex()+1, 1<<20, false)
			if err == nil && len(ents) == 0 {
				t.Fatalf("log %d: no entries of [%d, %d]", id, l.FirstIndex(), l.LastIndex())
			}
		}
	})
}

// fixBatch gives a batch a checksum that matches.
func fixBatch(b []byte) {
	n := min(uint64(le.Uint32(b[40:])), uint64(len(b)-batchHeader))
	w := batchWriter{buf: bytes.Clone(b[:batchHeader+n])}
	f := newWALFile("store", 1, nil, int64(le.Uint64(b[32:])))
	copy(b, w.seal(f, le.Uint64(b[24:]), le.Uint32(b[44:])))
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	t.Helper()
	file, err := fs.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

// FuzzSegment: whatever lies in a segment, reading it does not panic.
func FuzzSegment(f *testing.F) {
	fs := vfs.NewMem()
	l := newLog(nil, 3)
	seg := &segment{set: &segments{fs: fs}, number: 1}
	if err := seg.create(); err != nil {
		f.Fatal(err)
	}
	var w segWriter
	if err := w.use(seg); err != nil {
		f.Fatal(err)
	}
	var items []item
	for i := range uint64(5) {
		e := entry(2+i, 1, record.Offset(i), 1, "payload")
		_, crc := appendEntry(nil, l.seed, e)
		items = append(items, item{e: e, base: record.Offset(i), count: 1, crc: crc})
	}
	if _, err := w.write(l, items, nil); err != nil {
		f.Fatal(err)
	}
	if _, err := w.endRun(nil); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.Clone(w.buf))
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := vfs.NewMem()
		writeFile(t, fs, "000000000001.seg", b)
		if err := DumpSegment(&bytes.Buffer{}, fs, "000000000001.seg"); err != nil {
			t.Fatal(err)
		}
		// As the checkpoint that lists it would have it.
		c, _, err := parseChunkHeader(b, &segment{number: 1})
		if err != nil || c.size() > int64(len(b)) || c.marks == 0 {
			return
		}
		s := &Store{fs: fs, cold: new(coldCache), opts: Options{Logger: quiet()}}
		l := newLog(s, 3)
		c.seg = &segment{set: &segments{fs: fs}, number: 1}
		l.chunks, l.last = []*chunk{&c}, c.last
		if ents, err := l.ReadFrom(0, 1<<62, 1<<20, true); err == nil && len(ents) == 0 && c.base < c.end && c.data > 0 {
			t.Log("no entries")
		}
	})
}

// FuzzCheckpoint: whatever a checkpoint file holds, decoding does not panic, and what
// it accepts encodes to something that it accepts.
func FuzzCheckpoint(f *testing.F) {
	m := &image{replayFrom: 3, seq: 9, synced: 10, nextSegment: 5, damage: "d",
		segments: []segmentImage{{number: 4, size: 1000, shared: true}},
		logs: []logImage{{
			id: 2, hard: &hardState{1, 2, 3}, applied: 7, appliedTerm: 1, damage: "x", awaits: 4,
			checkpoint: &Checkpoint{Applied: 7, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}}, State: []byte("state")},
			terms:      []termRun{{7, 1}, {8, 2}},
			chunks:     []chunkImage{{segment: 4, chunk: chunk{pos: 10, data: 100, marks: 1, count: 2, first: 5, last: 8, base: 1, end: 4, live: 50}}},
		}}}
	f.Add(m.encode(), false)
	f.Fuzz(func(t *testing.T, b []byte, repair bool) {
		if repair && len(b) > checkpointHeader+4 {
			k := len(b) - 4
			le.PutUint32(b, checkpointMagic)
			le.PutUint32(b[4:], checkpointVersion)
			le.PutUint64(b[8:], uint64(k-checkpointHeader))
			le.PutUint32(b[k:], crc32.Checksum(b[:k], castagnoli))
		}
		m, err := decodeImage(b)
		if err != nil {
			return
		}
		again, err := decodeImage(m.encode())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again.encode(), m.encode()) {
			t.Fatal("not the same")
		}
		fs := vfs.NewMem()
		writeFile(t, fs, "c", b)
		if err := DumpCheckpoint(&bytes.Buffer{}, fs, "c"); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzMarker: whatever the file says that tells who a store is, only what a
// store has written is taken for one.
func FuzzMarker(f *testing.F) {
	f.Add(encodeMarker("store"))
	f.Add([]byte("waybill store, format 1\nid x\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fs := vfs.NewMem()
		writeFile(t, fs, "STORE", b)
		if id, err := readMarker(fs, "STORE"); err == nil && !bytes.Equal(encodeMarker(id), b) {
			t.Fatalf("%q is taken for the marker of %q", b, id)
		}
	})
}
