package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// keptStore is a Manual store with WAL files of 64 KiB, which are kept when more than two thirds of them are needed.
func keptStore(t testing.TB, fs vfs.FS, o *owners) *Store {
	t.Helper()
	return manualStore(t, fs, o, 64<<10)
}

// manualStore is a Manual store with WAL files of that size.
func manualStore(t testing.TB, fs vfs.FS, o *owners, size int64) *Store {
	t.Helper()
	s := openStore(t, fs, Options{WALFileSize: size, SegmentSize: 4 * size, Manual: true, Reserve: 1, Checkpoint: o.checkpoint})
	s.Start()
	return s
}

// grow appends entries of one message each to a log.
func grow(t testing.TB, s *Store, l *Log, count, size int) (all []*raftpb.Entry) {
	t.Helper()
	for range count {
		n := uint64(l.LastIndex()) + 1
		e := entry(n, 1, record.Offset(n-2), 1, strings.Repeat(fmt.Sprintf("%d.%d,", l.id, n), size/8))
		step(t, s, l, e)
		all = append(all, e)
	}
	return all
}

// keptIn returns the WAL files in which a log has chunks, and how many chunks are elsewhere.
func keptIn(l *Log) (wals []uint64, others int) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for _, c := range l.chunks {
		if c.kept {
			wals = append(wals, c.seg.wal)
		} else {
			others++
		}
	}
	return slices.Compact(wals), others
}

// TestKeep: what is needed of full WAL files is written once, is read from there, also by another
// life of the store, and by offset, by index and as what is live; and the files are used again
// when nothing in them is needed.
func TestKeep(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := keptStore(t, fs, &o)
	l, m := s.Log(1), s.Log(2)
	var want, other []*raftpb.Entry
	for range 60 { // in turn, so that the entries of one log lie between those of the other
		want = append(want, grow(t, s, l, 2, 3000)...)
		other = append(other, grow(t, s, m, 1, 6000)...)
	}
	wals, segs := keptIn(l)
	if others, segs2 := keptIn(m); len(wals) < 5 || segs+segs2 > 0 || !slices.Equal(wals, others) {
		t.Fatalf("WAL files %v and %v are kept, %d chunks are in segments", wals, others, segs+segs2)
	}
	if names, err := fs.List("data/seg"); err != nil || len(names) > 0 {
		t.Fatal(names, err)
	}
	check := func() {
		t.Helper()
		same(t, l, want)
		same(t, m, other)
		rng := rand.New(rand.NewPCG(1, 1))
		for range 200 {
			off := rng.IntN(len(want))
			got, err := l.ReadFrom(record.Offset(off), record.Offset(len(want)), 1<<rng.IntN(20), true)
			if err != nil || len(got) == 0 {
				t.Fatalf("%d entries from offset %d: %v", len(got), off, err)
			}
			if err := equalEntries(got, want[off:off+len(got)]); err != nil {
				t.Fatalf("from offset %d: %v", off, err)
			}
		}
		some := func(from, to record.Offset) bool { return from <= 17 && 17 < to || from <= 80 && 80 < to }
		live, _, err := l.LiveEntries(1, l.LastIndex(), some, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if err := equalEntries(live, []*raftpb.Entry{want[17], want[80]}); err != nil {
			t.Fatal(err)
		}
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs = fs.StrictClone()
	s = keptStore(t, fs, &o)
	l, m = s.Log(1), s.Log(2)
	if again, _ := keptIn(l); !slices.Equal(again, wals) {
		t.Fatalf("WAL files %v are kept, not %v", again, wals)
	}
	check()
	if err := allListed(s); err != nil {
		t.Fatal(err)
	}

	// All is dead: the files make room, or become the WAL's again.
	conf := &raftpb.ConfState{Voters: []uint64{1}}
	for _, l := range []*Log{l, m} {
		o.set(l.id, Checkpoint{Applied: l.LastIndex(), Term: 1, ConfState: conf})
	}
	grow(t, s, s.Log(3), 30, 3000)
	if again, _ := keptIn(l); len(again) > 0 {
		t.Fatalf("WAL files %v are kept although nothing in them is needed", again)
	}
	names, err := fs.List("data/wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range wals {
		if slices.Contains(names, fileName(n, walSuffix)) && !slices.ContainsFunc(s.preparer.pool.files, func(f pooled) bool { return f.name == s.preparer.path(n, walSuffix) }) {
			t.Errorf("WAL file %d is still there", n)
		}
	}
	if s.preparer.pool.len() == 0 {
		t.Error("no file was taken for the WAL again")
	}
}

// TestKeepOverwritten: entries that were overwritten lie in the file, too, before those that count; and
// those of a file that is kept can be overwritten later.
func TestKeepOverwritten(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := keptStore(t, fs, &o)
	l := s.Log(1)
	want := grow(t, s, l, 12, 8000)
	for i := range 2 {
		index := want[11].GetIndex()
		e := entry(index, uint64(2+i), record.Offset(index-2), 1, strings.Repeat(fmt.Sprintf("again %d ", i), 490))
		step(t, s, l, e)
		want = append(want[:11], e)
	}
	for len(want) < 80 {
		n := uint64(len(want) + 2)
		e := entry(n, 4, record.Offset(n-2), 1, strings.Repeat("y", 3900))
		step(t, s, l, e)
		want = append(want, e)
	}
	wals, _ := keptIn(l)
	if len(wals) < 2 || wals[0] != 1 {
		t.Fatal(wals)
	}
	same(t, l, want)
	cut := want[40].GetIndex()
	e := entry(cut, 5, record.Offset(cut-2), 1, "the end")
	step(t, s, l, e)
	want = append(want[:40], e)
	same(t, l, want)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = keptStore(t, fs.StrictClone(), &o)
	same(t, s.Log(1), want)
}

// TestKeepWhatIsWorthIt: a WAL file is not kept for the sake of a few entries, for those that
// lie in crumbs all over it, or for those that were replayed; and one of which little is
// needed any more is rewritten.
func TestKeepWhatIsWorthIt(t *testing.T) {
	conf := &raftpb.ConfState{Voters: []uint64{1}}
	t.Run("crumbs", func(t *testing.T) {
		var o owners
		s := keptStore(t, vfs.NewMem(), &o)
		want := grow(t, s, s.Log(1), 500, 100)
		if wals, segs := keptIn(s.Log(1)); len(wals) > 0 || segs == 0 {
			t.Fatal(wals, segs)
		}
		same(t, s.Log(1), want)
	})
	t.Run("half of it", func(t *testing.T) {
		var o owners
		s := keptStore(t, vfs.NewMem(), &o)
		o.set(2, Checkpoint{Applied: 2, Term: 1, ConfState: conf})
		var want []*raftpb.Entry
		for range 60 {
			want = append(want, grow(t, s, s.Log(1), 1, 3000)...)
			dead := grow(t, s, s.Log(2), 1, 3000)
			o.set(2, Checkpoint{Applied: record.Index(dead[0].GetIndex()), Term: 1, ConfState: conf})
		}
		if wals, segs := keptIn(s.Log(1)); len(wals) > 0 || segs == 0 {
			t.Fatal(wals, segs)
		}
		same(t, s.Log(1), want)
	})
	t.Run("less by and by", func(t *testing.T) {
		fs := vfs.NewMem()
		var o owners
		s := keptStore(t, fs, &o)
		l := s.Log(1)
		want := grow(t, s, l, 100, 3000)
		before, _ := keptIn(l)
		even := func(from, to record.Offset) bool { return from > 90 || to-from > 1 || from%3 == 0 }
		o.set(1, Checkpoint{Applied: l.LastIndex(), Term: 1, ConfState: conf, Live: even})
		want = append(want, grow(t, s, l, 60, 3000)...)
		after, segs := keptIn(l)
		if len(before) < 3 || slices.Contains(after, before[0]) || segs == 0 {
			t.Fatalf("kept before %v, after %v, and %d chunks elsewhere", before, after, segs)
		}
		for off := record.Offset(0); off < 160; off++ {
			got, err := l.ReadFrom(off, off+1, 1, true)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 {
				if off <= 90 && off%3 != 0 {
					continue
				}
				t.Fatal("nothing at offset", off)
			}
			if err := equalEntries(got, want[off:off+1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := allListed(s); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDrained: the file at which a queue is drained is not written again for what little is left of it, as long as that becomes less.
func TestDrained(t *testing.T) {
	var o owners
	s := manualStore(t, vfs.NewMem(), &o, 256<<10)
	l, next := s.Log(1), record.Offset(0)
	want := grow(t, s, l, 1500, 3000)
	checkpoint := func(drained int) {
		t.Helper()
		next += record.Offset(drained)
		from := next
		o.set(1, Checkpoint{
			Applied: l.LastIndex(), Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}},
			Live: func(_, to record.Offset) bool { return to > from },
		})
		for file := s.wal.file.id; s.wal.file.id == file; {
			want = append(want, grow(t, s, l, 1, 3000)...)
		}
	}
	before, _ := keptIn(l)
	for range 20 {
		checkpoint(45) // of some 80 in a file
		if _, segs := keptIn(l); segs > 0 {
			t.Fatalf("drained to offset %d: %d chunks were written again", next, segs)
		}
	}
	after, _ := keptIn(l)
	if len(before) < 8 || slices.Contains(after, before[4]) {
		t.Fatalf("kept before %v, after %v", before, after)
	}

	left := func() int {
		l.mu.RLock()
		defer l.mu.RUnlock()
		return int(l.chunks[0].last) - 1 - int(next)
	}
	for left() > 30 || left() < 10 {
		checkpoint(1)
	}
	checkpoint(0)
	if _, segs := keptIn(l); segs == 0 {
		t.Fatalf("nothing is drained any more, and a file is kept for %d entries", left())
	}
	got, err := l.ReadFrom(next, 1<<40, 1<<30, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := equalEntries(got, want[next:]); err != nil {
		t.Fatal(err)
	}
}

// TestDrainedByAndBy: what is left of files that lose more and more is written again soon, also when nothing is written any more.
func TestDrainedByAndBy(t *testing.T) {
	for _, idle := range []bool{false, true} {
		var o owners
		now := time.Unix(1e9, 0)
		s := openStore(t, vfs.NewMem(), Options{
			WALFileSize: 256 << 10, SegmentSize: 1 << 20, Manual: true, Reserve: 1,
			Checkpoint: o.checkpoint, Now: func() time.Time { return now },
		})
		s.Start()
		l := s.Log(1)
		want := grow(t, s, l, 600, 3000)
		before, _ := keptIn(l)
		last := l.LastIndex()
		passes := 0
		pass := func(one record.Offset) { // of so many is left
			passes++
			o.set(1, Checkpoint{
				Applied: last, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}},
				Live: func(from, to record.Offset) bool { return (from+one-1)/one*one < to || to > 600 },
			})
			if now = now.Add(reclaimAge); !idle {
				want = append(want, grow(t, s, l, 1, 3000)...)
			}
			for s.Step() {
			}
		}
		kept := func() bool {
			after, _ := keptIn(l)
			return slices.Contains(after, before[1])
		}
		one := record.Offset(2)
		for pass(one); kept() && passes < 5; pass(one) {
			if !idle {
				one *= 2 // it is half of what was left, each time
			}
		}
		if len(before) < 5 || kept() || passes < 2 {
			t.Fatalf("idle: %t; of files %v %d is still there after %d passes", idle, before, before[1], passes)
		}
		for off := record.Offset(0); off < 600; off += one {
			got, err := l.ReadFrom(off, off+1, 1, true)
			if err == nil {
				err = equalEntries(got, want[off:off+1])
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestDamagedKept: damage in a file that is kept is that of a segment. It hurts what lies there,
// names the place, and neither the store nor another log.
func TestDamagedKept(t *testing.T) {
	for what, hurt := range map[string]func(fs *vfs.Mem, name string, c *chunk, m []mark) error{
		"rot in an entry": func(fs *vfs.Mem, name string, _ *chunk, m []mark) error {
			return fs.Flip(name, m[3].pos+entryHeader+100, 1)
		},
		"rot in the marks": func(fs *vfs.Mem, name string, c *chunk, _ []mark) error { return fs.Flip(name, c.marksPos()+5, 1) },
		"another entry": func(fs *vfs.Mem, name string, _ *chunk, m []mark) error {
			return copyWithin(fs, name, m[4].pos, m[3].pos, m[3].len)
		},
		"the file is short": func(fs *vfs.Mem, name string, c *chunk, _ []mark) error { return cutFile(fs, name, c.pos) },
		"the file is gone": func(fs *vfs.Mem, name string, _ *chunk, _ []mark) error {
			return errors.Join(fs.Remove(name), fs.SyncDir("data/wal"))
		},
	} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			var o owners
			s := keptStore(t, fs, &o)
			l := s.Log(1)
			want := grow(t, s, l, 100, 3000)
			other := grow(t, s, s.Log(2), 30, 3000)
			c := l.chunks[1]
			marks, err := l.chunkMarks(c, true)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			fs = fs.StrictClone()
			if err := hurt(fs, c.seg.name(), c, marks); err != nil {
				t.Fatal(err)
			}
			s = keptStore(t, fs, &o)
			l = s.Log(1)
			_, err = l.ReadFrom(marks[3].base, 1000, 1, true)
			if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.seg.name()) {
				t.Fatal(err)
			}
			if l.Damaged() == nil || s.Log(2).Damaged() != nil {
				t.Fatal(l.Damaged(), s.Log(2).Damaged())
			}
			for _, off := range []record.Offset{0, c.end, 99} {
				got, err := l.ReadFrom(off, 1000, 1, true)
				if err != nil {
					t.Fatal(err)
				}
				if err := equalEntries(got, want[off:off+1]); err != nil {
					t.Fatal(err)
				}
			}
			same(t, s.Log(2), other)
			if names, err := fs.List("data"); err != nil || slices.Contains(names, damagedName) {
				t.Fatal(names, err)
			}
			grow(t, s, l, 60, 3000) // checkpoints go on, and drop nothing
			if got, err := l.ReadFrom(c.end, 1000, 1, true); err != nil || equalEntries(got, want[c.end:c.end+1]) != nil {
				t.Fatal(got, err)
			}
		})
	}
}

func copyWithin(fs *vfs.Mem, name string, from, to, n int64) error {
	f, err := fs.Open(name)
	if err != nil {
		return err
	}
	b := make([]byte, n)
	if _, err = f.ReadAt(b, from); err == nil {
		_, err = f.WriteAt(b, to)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

func cutFile(fs *vfs.Mem, name string, size int64) error {
	f, err := fs.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Sync(), f.Close())
}

// TestKeepOnAFullDisk: when there is no space for what goes behind the batches, the file
// stays part of the WAL, and is kept when there is space.
func TestKeepOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := keptStore(t, fs, &o)
	l := s.Log(1)
	var want []*raftpb.Entry
	failed := 0
	for range 100 {
		if f := s.wal.file; f.id == 1 && f.size-f.pos < 3000 {
			failed++ // nothing more goes into the file but what is behind the batches
			fs.Inject(vfs.Fault{Op: vfs.OpWrite, Name: fileName(1, walSuffix), Times: 2, Err: syscall.ENOSPC})
		}
		want = append(want, grow(t, s, l, 1, 3000)...)
		same(t, l, want)
	}
	if wals, _ := keptIn(l); len(wals) < 3 || wals[0] != 1 || failed == 0 {
		t.Fatal(wals, failed)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = keptStore(t, fs.StrictClone(), &o)
	same(t, s.Log(1), want)
}

// TestDumpKept: what lies behind the batches of a file that is kept can be read by an operator.
func TestDumpKept(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := keptStore(t, fs, &o)
	l := s.Log(1)
	grow(t, s, l, 50, 3000)
	wals, _ := keptIn(l)
	var out bytes.Buffer
	if err := DumpWAL(&out, fs, s.preparer.path(wals[0], walSuffix)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"batch 1,", "chunk of log 1,", "mark: index 2, offset 0 at "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "BAD") {
		t.Error(out.String())
	}
	names, err := fs.List("data/checkpoint")
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	out.Reset()
	if err := DumpCheckpoint(&out, fs, "data/checkpoint/"+names[0]); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("WAL file %d\n", wals[0]); !strings.Contains(out.String(), want) {
		t.Errorf("no %q in\n%s", want, out.String())
	}
}

// TestAllocatedFile: a file that is needed before it is blank is allocated, and does all that another one does.
func TestAllocatedFile(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS{}, "without": plainFS{vfs.NewMem()}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(fs, dir, Options{WALFileSize: 4 << 20, Logger: quiet(), Manual: true})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.filled.set(9, 10)
			f, size, err := s.preparer.blank(dir + "/blank")
			if err != nil {
				t.Fatal(err)
			}
			defer closeClean(f)
			if n, err := f.Size(); err != nil || n != size || size != 4<<20 {
				t.Fatal(n, size, err)
			}
			b := make([]byte, size)
			if _, err := f.ReadAt(b, 0); err != nil || !bytes.Equal(b, make([]byte, size)) {
				t.Fatal("not blank", err)
			}
		})
	}
}

// plainFS cannot allocate.
type plainFS struct{ *vfs.Mem }

// Create implements [vfs.FS].
func (p plainFS) Create(name string) (vfs.File, error) {
	f, err := p.Mem.Create(name)
	return plainFile{f}, err
}

type plainFile struct{ vfs.File }

// Allocate implements [vfs.File].
func (plainFile) Allocate(int64, int64) error { return errors.ErrUnsupported }

// TestSegmentFlags: checkpoints of before there were WAL files that are kept are read as ever.
func TestSegmentFlags(t *testing.T) {
	segs := []segmentImage{{number: 1, size: 100, owner: 7}, {number: 2, size: 200, shared: true}, {number: 3, size: 300, shared: true, wal: 9}}
	d := &decoder{b: appendSegmentImages(nil, segs)}
	got, byNumber := d.segmentImages()
	if d.err != nil || len(d.b) > 0 || !slices.Equal(got, segs) || !slices.Equal(slices.Sorted(maps.Keys(byNumber)), []uint64{1, 2, 3}) {
		t.Fatal(got, d.err)
	}
	old := appendSegmentImages(nil, segs[:2])
	if old[1+16] != 0 || old[1+25+16] != 1 {
		t.Fatalf("% x", old)
	}
	for _, bad := range [][]segmentImage{{{number: 3, size: 300, wal: 9}}, {{number: 3, size: -1}}} {
		d := &decoder{b: appendSegmentImages(nil, bad)}
		if d.segmentImages(); d.err == nil {
			t.Fatal(bad)
		}
	}
}

// TestKeepCountsTheSpace: a file that was given up long before it was full, because the next batch did not
// fit or because what it holds is shared by many logs, is not kept for the little in it.
func TestKeepCountsTheSpace(t *testing.T) {
	conf := &raftpb.ConfState{Voters: []uint64{1}}
	for what, other := range map[string]func(*Store, *owners, int){
		"a large batch": func(s *Store, o *owners, _ int) {
			m := s.Log(2)
			grow(t, s, m, 1, 7900<<10)
			o.set(2, Checkpoint{Applied: m.LastIndex(), Term: 1, ConfState: conf})
		},
		"fan-out": func(s *Store, o *owners, round int) {
			body := bytes.Repeat([]byte{byte(round)}, 70<<10)
			for q := record.LogID(100); q < 160; q++ {
				i := uint64(s.Log(q).LastIndex()) + 1
				e := entry(i, 1, record.Offset(i-2), 1, "")
				from := len(e.Data)
				e.Data = append(e.Data, body...)
				s.Append(&Append{Log: s.Log(q), Entries: []*raftpb.Entry{e}, Shared: [][]Span{{{from, len(e.Data), &body[0]}}}})
			}
			for s.Step() {
			}
			for q := record.LogID(100); q < 160; q++ {
				o.set(q, Checkpoint{Applied: s.Log(q).LastIndex(), Term: 1, ConfState: conf})
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			var o owners
			s := openStore(t, fs, Options{WALFileSize: 4 << 20, Manual: true, Reserve: 1, Checkpoint: o.checkpoint})
			s.Start()
			l := s.Log(1)
			for round := range 20 {
				grow(t, s, l, 2, 160<<10)
				other(s, &o, round)
			}
			var live, space int64
			seen := map[string]bool{}
			for _, c := range l.chunks {
				if live += c.data; !seen[c.seg.name()] {
					seen[c.seg.name()] = true
					fi, err := fs.Stat(c.seg.name())
					if err != nil {
						t.Fatal(err)
					}
					space += fi.Size()
				}
			}
			if live < 1<<20 || space > 2*live {
				t.Errorf("%d bytes of files for %d bytes", space, live)
			}
		})
	}
}

// unreadable is a disk with a place that cannot be read.
type unreadable struct {
	*vfs.Mem
	name string
	at   int64
}

// Open implements [vfs.FS].
func (u *unreadable) Open(name string) (vfs.File, error) {
	f, err := u.Mem.Open(name)
	if err == nil && name == u.name {
		f = unreadableFile{f, u.at}
	}
	return f, err
}

type unreadableFile struct {
	vfs.File
	at int64
}

// ReadAt implements [vfs.File].
func (f unreadableFile) ReadAt(b []byte, off int64) (int, error) {
	if off <= f.at && f.at < off+int64(len(b)) {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(b, off)
}

// TestUnreadableBetweenBlocks: what lies between the blocks of a log is not the log's, and hurts
// nobody when it cannot be read.
func TestUnreadableBetweenBlocks(t *testing.T) {
	fs := &unreadable{Mem: vfs.NewMem()}
	var o owners
	s := keptStore(t, fs, &o)
	var want []*raftpb.Entry
	for range 40 {
		want = append(want, grow(t, s, s.Log(1), 1, 6000)...)
		grow(t, s, s.Log(2), 1, 1200)
	}
	l := s.Log(1)
	c := l.chunks[0]
	marks, err := l.chunkMarks(c, true)
	if err != nil || !c.kept {
		t.Fatal(c.kept, err)
	}
	k := slices.IndexFunc(marks[1:], func(m mark) bool { return m.index > 4 })
	if between, far := gap(marks, k); far || between < 600 {
		t.Fatal(between, far)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs.Mem = fs.StrictClone()
	fs.name, fs.at = c.seg.name(), marks[k].end()+500
	s = keptStore(t, fs, &o)
	same(t, s.Log(1), want)
	if err := s.Log(1).Damaged(); err != nil {
		t.Fatal(err)
	}
}

// TestMissingThenDeleted: the log of which a file is missing is deleted, so that its copy can be
// rebuilt. The store goes on.
func TestMissingThenDeleted(t *testing.T) {
	for what, size := range map[string]int{"a segment": 100, "a WAL file that is kept": 3000} {
		t.Run(what, func(t *testing.T) {
			fs := vfs.NewMem()
			var o owners
			s := keptStore(t, fs, &o)
			l := s.Log(1)
			for len(l.chunks) < 3 {
				grow(t, s, l, 10, size)
			}
			seg := l.chunks[1].seg
			if kept := seg.wal != 0; kept != (size == 3000) {
				t.Fatal(seg.name())
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			fs = fs.StrictClone()
			if err := errors.Join(fs.Remove(seg.name()), fs.SyncDir("data/wal"), fs.SyncDir("data/seg")); err != nil {
				t.Fatal(err)
			}
			s = keptStore(t, fs, &o)
			if s.Log(1).Damaged() == nil {
				t.Fatal("nobody has noticed")
			}
			s.Delete(1)
			want := grow(t, s, s.Log(2), 60, 3000)
			same(t, s.Log(2), want)
		})
	}
}

// TestStraySegment: a file in the place of the segments with the number of a WAL file that is kept is not
// taken for it.
func TestStraySegment(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	s := keptStore(t, fs, &o)
	l := s.Log(1)
	want := grow(t, s, l, 100, 3000)
	seg := l.chunks[1].seg
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs = fs.StrictClone()
	writeFile(t, fs, "data/seg/"+fileName(seg.number, segSuffix), make([]byte, 200<<10))
	gone := fs.Clone()
	s = keptStore(t, fs, &o)
	same(t, s.Log(1), want)
	if names, err := fs.List("data/seg"); err != nil || len(names) > 0 {
		t.Error("left over:", names, err)
	}
	if err := gone.Remove(seg.name()); err != nil {
		t.Fatal(err)
	}
	if s = keptStore(t, gone, &o); s.Log(1).Damaged() == nil {
		t.Error("the missing file is not noticed")
	}
}
