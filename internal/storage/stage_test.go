package storage

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// stageAll replaces a log by count entries of a message each, all live, of a
// higher term, and returns them.
func stageAll(t testing.TB, s *Store, id record.LogID, term, count int) []*raftpb.Entry {
	t.Helper()
	var all []*raftpb.Entry
	for i := range uint64(count) {
		all = append(all, entry(2+i, uint64(term), record.Offset(i), 1, strings.Repeat("y", 100)))
	}
	st := s.Stage(id)
	defer st.Abort()
	if err := st.Append(all); err != nil {
		t.Fatal(err)
	}
	c := Checkpoint{Applied: record.Index(count + 1), Term: uint64(term), State: []byte("staged"), Live: everything}
	if err := st.Install(c, hard(uint64(term), 1, uint64(count+1)), 0); err != nil {
		t.Fatal(err)
	}
	return all
}

func everything(_, _ record.Offset) bool { return true }

// live reads all that LiveEntries gives.
func (l *Log) allLive(after, through record.Index, live func(from, to record.Offset) bool, limit int) (all []*raftpb.Entry, calls int, err error) {
	for after < through {
		ents, next, err := l.LiveEntries(after, through, live, limit)
		if err != nil {
			return all, calls, err
		}
		if next <= after && len(ents) == 0 {
			return all, calls, fmt.Errorf("no progress at %d", after)
		}
		all, after, calls = append(all, ents...), next, calls+1
	}
	return all, calls, nil
}

// TestStageFromAnotherStore carries a log with a large backlog, most of it in segments,
// to another store that has a part of it; while it reads, and while it writes.
func TestStageFromAnotherStore(t *testing.T) {
	var o owners
	from := openStore(t, vfs.NewMem(), Options{WALFileSize: 64 << 10, SegmentSize: 64 << 10, Checkpoint: o.checkpoint})
	from.Start()
	live := func(from, to record.Offset) bool { return anyAlive(from, to) }
	all := fill(t, from, from.Log(1), 400, 500)
	o.set(1, Checkpoint{Applied: 301, Term: 1, Live: live})
	all = append(all, fill(t, from, from.Log(1), 400, 500)...)
	applied := record.Index(len(all) + 1)
	got, calls, err := from.Log(1).allLive(100, applied, live, 2000)
	if err != nil {
		t.Fatal(err)
	}
	var want []*raftpb.Entry
	for _, e := range all[99:] {
		if base, count := offsets(e, 0); anyAlive(base, base+record.Offset(count)) {
			want = append(want, e)
		}
	}
	if err := equalEntries(got, want); err != nil {
		t.Fatal(err)
	}
	if calls < 10 {
		t.Errorf("%d calls for %d entries", calls, len(want))
	}

	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 64 << 10, SegmentSize: 64 << 10})
	s.Start()
	l := s.Log(1)
	for i := 0; i < 99; i += 9 {
		put(t, s, l, all[i:i+9]...)
	}
	tail := entry(101, 1, 99, 1, "acknowledged, and not committed")
	put(t, s, l, tail)
	readers := readWhile(t, l)
	st := s.Stage(1)
	for n := 0; n < len(got); n += 7 {
		if err := st.Append(got[n:min(n+7, len(got))]); err != nil {
			t.Fatal(err)
		}
		fill(t, s, s.Log(2), 1, 3000) // others go on, and are flushed
	}
	if l.LastIndex() != 101 {
		t.Fatal("the log changed before its time:", l.LastIndex())
	}
	c := Checkpoint{Applied: applied, Term: 1, State: []byte("state"), Live: live, ConfState: &raftpb.ConfState{Voters: []uint64{1, 2}}}
	if err := st.Install(c, hard(2, 0, uint64(applied)), 100); err != nil {
		t.Fatal(err)
	}
	readers()
	next := entry(uint64(applied)+1, 2, 800, 1, "next")
	put(t, s, l, next)
	check := func(l *Log) {
		t.Helper()
		if l.FirstIndex() != applied+1 || l.LastIndex() != applied+1 {
			t.Fatal(l.FirstIndex(), l.LastIndex())
		}
		if term, err := l.Term(applied); term != 1 || err != nil {
			t.Fatal(term, err)
		}
		kept, _, err := l.allLive(1, applied+1, live, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var want []*raftpb.Entry
		for _, e := range append(all[:len(all):len(all)], next) {
			if base, count := offsets(e, 0); anyAlive(base, base+record.Offset(count)) {
				want = append(want, e)
			}
		}
		if err := equalEntries(kept, want); err != nil {
			t.Fatal(err)
		}
		if h, c := l.State(); h.GetTerm() != 2 || string(c.State) != "state" {
			t.Fatal(h, c)
		}
	}
	check(l)
	s2 := openStore(t, fs.StrictClone(), Options{})
	check(s2.Log(1))
}

// readWhile reads a log by offset from several goroutines, which must see offsets
// in order, until the function that it returns is called.
func readWhile(t testing.TB, l *Log) (stop func()) {
	var wait sync.WaitGroup
	end := make(chan struct{})
	for range 2 {
		wait.Go(func() {
			for {
				for off := record.Offset(0); ; {
					select {
					case <-end:
						return
					default:
					}
					ents, err := l.ReadFrom(off, 1<<40, 4000, true)
					if err != nil {
						t.Errorf("read from %d: %v", off, err)
						return
					}
					if len(ents) == 0 {
						break
					}
					base, count := offsets(ents[len(ents)-1], -1)
					if first, _ := offsets(ents[0], -1); first < off {
						t.Errorf("offset %d after %d", first, off)
						return
					}
					off = base + record.Offset(count)
				}
			}
		})
	}
	return func() { close(end); wait.Wait() }
}

// TestStageRefused: what must not be installed leaves the log as it is, and
// what was staged of it goes away.
func TestStageRefused(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{})
	l := s.Log(1)
	want := fill(t, s, l, 20, 100)
	segments := func() int {
		s.remover.wait()
		names, err := fs.List("data/seg")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	at := func(i uint64) *raftpb.Entry { return entry(i, 1, record.Offset(i-2), 1, "staged") }
	for _, c := range []struct {
		name    string
		applied record.Index
		keep    record.Index
		staged  []*raftpb.Entry
		err     error
	}{
		{"held", 15, 10, []*raftpb.Entry{at(12)}, ErrHeld},
		{"behind", 1, 1, nil, ErrHeld},
		{"below what is kept", 40, 12, []*raftpb.Entry{at(12)}, errRecord},
		{"beyond the state", 40, 12, []*raftpb.Entry{at(41)}, errRecord},
		{"in disorder", 40, 12, []*raftpb.Entry{at(13), at(13)}, errRecord},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := s.Stage(1)
			err := st.Append(c.staged)
			if err == nil {
				err = st.Install(Checkpoint{Applied: c.applied, Term: 1}, nil, c.keep)
			}
			if !errors.Is(err, c.err) {
				t.Fatal(err)
			}
			st.Abort()
			st.Abort()
			same(t, l, want)
			if n := segments(); n != 0 {
				t.Fatalf("%d segments are left", n)
			}
		})
	}
	st := s.Stage(1)
	if err := st.Append([]*raftpb.Entry{at(100)}); err != nil {
		t.Fatal(err)
	}
	s.Delete(1)
	if err := st.Install(Checkpoint{Applied: 100, Term: 5}, nil, 0); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	st.Abort()
	if n := segments(); n != 0 {
		t.Fatalf("%d segments are left", n)
	}
}

// TestStageBehindAnAppend: the follower gets entries the usual way while it fetches a
// snapshot. What it has acknowledged then counts, also when it is written together with
// the installation.
func TestStageBehindAnAppend(t *testing.T) {
	s := openStore(t, vfs.NewMem(), Options{Manual: true})
	l := s.Log(1)
	st := s.Stage(1)
	if err := st.Append([]*raftpb.Entry{entry(15, 1, 13, 1, "staged")}); err != nil {
		t.Fatal(err)
	}
	if err := st.Seal(Checkpoint{Applied: 20, Term: 1, Live: everything}, 1); err != nil {
		t.Fatal(err)
	}
	var all []*raftpb.Entry
	for i := uint64(2); i < 30; i++ {
		all = append(all, entry(i, 1, record.Offset(i-2), 1, "appended"))
	}
	w := make(waiter, 2)
	s.Append(&Append{Log: l, Entries: all, HardState: hard(1, 1, 25), Done: w})
	s.Append(&Append{Log: l, Stage: st, HardState: hard(1, 1, 20), Done: w})
	for s.Step() {
	}
	if a := <-w; a.Err != nil {
		t.Fatal(a.Err)
	}
	if a := <-w; !errors.Is(a.Err, ErrHeld) {
		t.Fatal(a.Err)
	}
	st.Abort()
	same(t, l, all)
}

// TestStageGoesWithItsLog: the segments of a stage that was installed go when
// the log is deleted, in this life of the store or in the next.
func TestStageGoesWithItsLog(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 32 << 10})
	s.Start()
	stageAll(t, s, 1, 2, 50)
	s.Delete(1)
	stageAll(t, s, 2, 2, 50)
	fill(t, s, s.Log(3), 40, 2000)
	eventually(t, "the segment of log 1 to go", func() bool { return allListed(s) == nil })
	fill(t, s, s.Log(3), 1, 2000)
	s.Delete(2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs.StrictClone(), Options{})
	if err := allListed(s); err != nil {
		t.Fatal(err)
	}
}

// TestStageOnAFullDisk: the stage is given up, all else goes on.
func TestStageOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{})
	l := s.Log(1)
	want := fill(t, s, l, 5, 100)
	fs.Inject(vfs.Fault{Op: vfs.OpWrite, Name: segSuffix, Err: syscall.ENOSPC})
	st := s.Stage(1)
	err := st.Append([]*raftpb.Entry{entry(50, 2, 50, 1, strings.Repeat("z", maxRead+1))})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	st.Abort()
	same(t, l, want)
	want = append(want, fill(t, s, l, 5, 100)...)
	same(t, l, want)
	s.setFull(causeWAL, syscall.ENOSPC)
	st = s.Stage(1)
	if err := st.Append([]*raftpb.Entry{entry(50, 2, 50, 1, "z")}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	st.Abort()
}

// TestRetain: what a follower still needs stays readable, although the machine
// has applied it and nothing of it is live.
func TestRetain(t *testing.T) {
	var o owners
	s := openStore(t, vfs.NewMem(), Options{WALFileSize: 32 << 10, Checkpoint: o.checkpoint})
	s.Start()
	l := s.Log(1)
	all := fill(t, s, l, 40, 500)
	o.set(1, Checkpoint{Applied: 41, Term: 1, Retain: 30})
	fill(t, s, s.Log(2), 40, 2000)
	eventually(t, "a checkpoint", func() bool { return l.FirstIndex() == 30 })
	same(t, l, all[28:])
	if term, err := l.Term(29); term != 1 || err != nil {
		t.Fatal(term, err)
	}
	if _, err := l.Term(28); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if ents, err := l.ReadFrom(0, 100, 1<<20, true); err != nil || len(ents) == 0 {
		t.Fatal(ents, err)
	}
	o.set(1, Checkpoint{Applied: 41, Term: 1})
	fill(t, s, s.Log(2), 40, 2000)
	eventually(t, "another", func() bool { return l.FirstIndex() == 42 })
	if ents, err := l.ReadFrom(0, 100, 1<<20, true); err != nil || len(ents) != 0 {
		t.Fatal(ents, err)
	}
}

// TestOverwriteWhatIsInSegments: a follower's tail conflicts with the leader's,
// and was flushed.
func TestOverwriteWhatIsInSegments(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 32 << 10})
	s.Start()
	l := s.Log(1)
	all := fill(t, s, l, 60, 1000)
	eventually(t, "a flush", func() bool {
		l.mu.RLock()
		defer l.mu.RUnlock()
		return len(l.chunks) > 0 && l.chunks[len(l.chunks)-1].last >= 30
	})
	all = all[:10]
	for i := uint64(12); i < 16; i++ {
		all = append(all, entry(i, 2, record.Offset(i-2), 1, "the leader's"))
	}
	put(t, s, l, all[10:]...)
	same(t, l, all)
	if err := readAll(openStore(t, fs.StrictClone(), Options{}).Log(1), all); err != nil {
		t.Fatal(err)
	}
}
