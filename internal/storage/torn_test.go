package storage

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestTornOverAFormerLife: a WAL file is used again, and its batches may lie where others
// lay that look the same: votes of the same logs in the same order. When the power fails during
// the write of one, some of its sectors are new and the others are of the former life. That is
// never taken for a whole batch: a log would go back to a vote of long ago, and vote twice.
func TestTornOverAFormerLife(t *testing.T) {
	const logs = 2 * half // two batches, the second of which is written before the first is synced
	fs := vfs.NewMem()
	opts := Options{WALFileSize: 16 << 10, Manual: true}
	s := openStore(t, fs, opts)
	s.Start()
	var synced uint64 // the term of all logs in the batch that was synced last
	torn := 0
	fs.OnSync(func(p vfs.SyncPoint) {
		if p.Done || p.Op != vfs.OpSyncData || synced < 100 { // by then all files are used again
			return
		}
		for seed := range uint64(20) {
			torn++
			if err := votesAre(fs.CrashClone(seed), opts, logs, synced); err != nil {
				t.Errorf("batch of term %d, seed %d: %v", synced+1, seed, err)
			}
		}
	})
	for term := uint64(1); term <= 120 && !t.Failed(); term++ {
		for id := record.LogID(1); id <= logs; id++ {
			s.Append(&Append{Log: s.Log(id), HardState: hard(term, 1+(term+uint64(id))%3, 1), Sync: true})
		}
		for s.Step() {
		}
		synced = term
	}
	if torn == 0 {
		t.Fatal("no power was cut")
	}
}

// half of the logs are in a batch of two sectors.
const half = 16

// votesAre opens a store, and reports whether all logs of a batch are in the same of two terms, and
// no batch is there without the one before it.
func votesAre(fs *vfs.Mem, opts Options, logs record.LogID, term uint64) error {
	opts.Logger = quiet()
	s, err := Open(fs, "data", opts)
	if err != nil {
		return err
	}
	defer s.Close()
	before := term + 1
	for id := record.LogID(1); id <= logs; id++ {
		h, _ := s.Log(id).State()
		first, _ := s.Log(1 + (id-1)/half*half).State()
		switch {
		case h.GetTerm() > before:
			return fmt.Errorf("log %d is at term %d, a log of the batch before it at %d", id, h.GetTerm(), before)
		case h.GetTerm() != first.GetTerm(), h.GetTerm() != term && h.GetTerm() != term+1:
			return fmt.Errorf("log %d is at term %d, the first of its batch at %d; the last that was synced is %d", id, h.GetTerm(), first.GetTerm(), term)
		case h.GetVote() != 1+(h.GetTerm()+uint64(id))%3:
			return fmt.Errorf("log %d has voted for %d in term %d", id, h.GetVote(), h.GetTerm())
		}
		if err := s.Log(id).Damaged(); err != nil {
			return err
		}
		before = h.GetTerm()
	}
	return nil
}

// lifeOf makes the batches of a WAL file.
type lifeOf struct {
	file *walFile
	seq  uint64
	w    batchWriter
}

// batch encodes the file's next one.
func (f *lifeOf) batch(fill func(*batchWriter)) []byte {
	f.seq++
	f.w.reset(f.seq)
	fill(&f.w)
	return bytes.Clone(f.w.seal(f.file, f.seq-1, 0))
}

// replayed is what a file with these batches, of number 1, brings back.
func replayed(t *testing.T, batches ...[]byte) *Store {
	t.Helper()
	s := &Store{logs: make(map[record.LogID]*Log), opts: Options{Logger: quiet()}, cold: new(coldCache)}
	s.segs = &segments{dir: "data/seg"}
	s.metrics, _ = newMetrics(nil)
	img := newWALImage("1.wal", "store", 1)
	img.buf = bytes.Join(batches, nil)
	r := replay{store: s, hurt: make(map[uint64]string)}
	r.file(img)
	r.end()
	r.check()
	return s
}

// TestBatchKnowsItsRecords: a record that ends in its own checksum, in the place of
// another one of the same length, is noticed, whatever batch it is of.
func TestBatchKnowsItsRecords(t *testing.T) {
	file := newWALFile("store", 1, nil, 4096)
	for _, seq := range []uint64{8, 7} {
		encode := func(seq uint64, h hardState) []byte {
			var w batchWriter
			w.reset(seq)
			w.damage(kindDamage, 7, strings.Repeat("x", 100))
			w.hardState(9, h)
			return w.seal(file, 1, 0)
		}
		b, other := encode(8, hardState{1, 0, 4}), encode(seq, hardState{3, 1, 31})
		end := batchHeader + int(le.Uint32(b[40:]))
		copy(b[end-28:end], other[end-28:end])
		if _, whole := parseBatch(b, 0, file.key, file.seed); whole {
			t.Errorf("a batch with a record of batch %d is taken for whole", seq)
		}
	}
}

// TestDamageShowsAFormerLife: a disk that lost one sector of a batch, and shows what was there
// before, damages the logs whose records lie there. They do not go on from what they were long ago.
func TestDamageShowsAFormerLife(t *testing.T) {
	votes := func(from record.LogID, term uint64) func(*batchWriter) {
		return func(w *batchWriter) {
			for id := from; id < from+16; id++ {
				w.hardState(id, hardState{term, 1, 1})
			}
		}
	}
	for _, who := range []record.LogID{1, 101} { // had the place: the same logs, or others
		former := lifeOf{file: newWALFile("store", 7, nil, 2048), seq: 70}
		now := lifeOf{file: newWALFile("store", 1, nil, 2048)}
		old, first, hurt := former.batch(votes(who, 3)), now.batch(votes(1, 5)), now.batch(votes(1, 6))
		copy(hurt[sector:], old[sector:])
		s := replayed(t, first, hurt, now.batch(func(*batchWriter) {}))
		for id := record.LogID(1); id <= 16; id++ {
			if l := s.Log(id); l.Damaged() == nil && l.hard.term != 6 {
				t.Errorf("log %d is at term %d, and is not damaged", id, l.hard.term)
			}
		}
	}
}

// TestDamageShowsFormerEntries: the same with an entry that begins where the lost sector does.
func TestDamageShowsFormerEntries(t *testing.T) {
	former := lifeOf{file: newWALFile("store", 7, nil, 2048), seq: 70}
	now := lifeOf{file: newWALFile("store", 1, nil, 2048)}
	l := newLog(nil, 3)
	entries := func(index uint64) func(*batchWriter) {
		return func(w *batchWriter) {
			w.damage(kindDamage, 7, strings.Repeat("x", sector-batchHeader-2*recordHeader-4))
			w.entries(l, []*raftpb.Entry{entry(index, 1, record.Offset(index), 1, "payload")}, nil)
		}
	}
	old := former.batch(entries(2))
	first := now.batch(func(w *batchWriter) {
		for i := uint64(2); i < 6; i++ {
			w.entries(l, []*raftpb.Entry{entry(i, 1, record.Offset(i), 1, "payload")}, nil)
		}
	})
	hurt := now.batch(entries(6))
	copy(hurt[sector:], old[sector:])
	s := replayed(t, first, hurt, now.batch(func(*batchWriter) {}))
	if l := s.Log(3); l.Damaged() == nil {
		t.Errorf("the log ends at %d, and is not damaged", l.LastIndex())
	}
}

// TestSpareFileLosesItsName: what a start that was cut off has written into a spare WAL file
// is not there for the next one, which writes a file of the same number.
func TestSpareFileLosesItsName(t *testing.T) {
	fs := vfs.NewMem()
	opts := Options{Manual: true, Logger: quiet()}
	s := openStore(t, fs, opts)
	want := []*raftpb.Entry{entry(2, 1, 0, 1, "payload")}
	s.Append(&Append{Log: s.Log(1), Entries: want})
	for s.Step() {
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before, err := fs.List("data/wal")
	if err != nil || len(before) != 2 {
		t.Fatal(before, err)
	}
	cut := false
	fs.OnSync(func(p vfs.SyncPoint) {
		if p.Done || p.Op != vfs.OpSync || !strings.HasSuffix(p.Name, walSuffix+newSuffix) {
			return
		}
		cut = true
		for seed := range uint64(10) {
			c := fs.CrashClone(seed)
			if exists(c, "data/wal/"+before[1]) {
				t.Errorf("seed %d: the spare file has its name again", seed)
			}
			if err := readAll(openStore(t, c, opts).Log(1), want); err != nil {
				t.Errorf("seed %d: %v", seed, err)
			}
		}
	})
	openStore(t, fs, opts)
	if !cut {
		t.Fatal("no spare file was used")
	}
}

// TestSpareLeavesNoGap: the first batch of a file was torn, so that this file and the one after it hold nothing. The
// start that uses one of them is cut off at any point; the next one finds no file missing.
func TestSpareLeavesNoGap(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 16 << 10, Manual: true})
	var want []*raftpb.Entry
	for s.wal.file.id < 3 || !s.preparer.step() {
		want = append(want, grow(t, s, s.Log(1), 1, 3000)...)
	}
	torn := s.wal.file
	fs = fs.StrictClone()
	f, err := fs.Open(torn.file.Name()[:len(torn.file.Name())-len(walSuffix+newSuffix)] + walSuffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(zero(f, 0, torn.size), f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	want = want[:len(want)-1]
	for cut, more := 1, true; more; cut++ {
		disk, points := fs.StrictClone(), 0
		var left *vfs.Mem
		disk.OnSync(func(vfs.SyncPoint) {
			if points++; points == cut {
				left = disk.CrashClone(uint64(cut))
			}
		})
		first := openStore(t, disk, Options{WALFileSize: 16 << 10, Manual: true})
		same(t, first.Log(1), want)
		if more = left != nil; more {
			again := openStore(t, left, Options{WALFileSize: 16 << 10, Manual: true})
			if err := again.Log(1).Damaged(); err != nil {
				t.Fatalf("cut at sync %d: %v", cut, err)
			}
			same(t, again.Log(1), want)
		}
	}
}
