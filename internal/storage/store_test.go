package storage

import (
	"errors"
	"fmt"
	"log/slog"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// entry makes an entry of count messages that begin at offset base.
func entry(index, term uint64, base record.Offset, count uint32, payload string) *raftpb.Entry {
	data := record.Header{Base: base, Count: count}.Append(nil)
	data = append(data, payload...)
	return &raftpb.Entry{Index: &index, Term: &term, Data: data}
}

func hard(term, vote, commit uint64) *raftpb.HardState {
	return &raftpb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

// waiter is a Completion that can be waited for.
type waiter chan *Append

func (w waiter) AppendDone(a *Append) { w <- a }

// put appends entries and waits.
func put(t testing.TB, s *Store, l *Log, entries ...*raftpb.Entry) {
	t.Helper()
	w := make(waiter, 1)
	var h *raftpb.HardState
	if n := len(entries); n > 0 {
		h = hard(entries[n-1].GetTerm(), 1, entries[n-1].GetIndex())
	}
	s.Append(&Append{Log: l, Entries: entries, HardState: h, Sync: true, Done: w})
	if a := <-w; a.Err != nil {
		t.Fatal(a.Err)
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func openStore(t testing.TB, fs vfs.FS, opts Options) *Store {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = quiet()
	}
	if opts.WALFileSize == 0 {
		opts.WALFileSize = 1 << 20
	}
	if opts.Fatal == nil {
		opts.Fatal = func(err error) { t.Errorf("fatal: %v", err) }
	}
	s, err := Open(fs, "data", opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// same fails unless the log holds exactly want from FirstIndex on.
func same(t testing.TB, l *Log, want []*raftpb.Entry) {
	t.Helper()
	var got []*raftpb.Entry
	for i := l.FirstIndex(); i <= l.LastIndex(); {
		ents, err := l.Entries(i, l.LastIndex()+1, 64<<10, true)
		if err != nil {
			t.Fatalf("entries from %d: %v", i, err)
		}
		got = append(got, ents...)
		i += record.Index(len(ents))
	}
	if err := equalEntries(got, want); err != nil {
		t.Fatalf("log %d: %v", l.ID(), err)
	}
}

func equalEntries(got, want []*raftpb.Entry) error {
	for i := range min(len(got), len(want)) {
		g, w := got[i], want[i]
		if g.GetIndex() != w.GetIndex() || g.GetTerm() != w.GetTerm() || g.GetType() != w.GetType() || string(g.Data) != string(w.Data) {
			return fmt.Errorf("entry %d: got index %d term %d %.60q, want index %d term %d %.60q", i,
				g.GetIndex(), g.GetTerm(), g.Data, w.GetIndex(), w.GetTerm(), w.Data)
		}
	}
	if len(got) != len(want) {
		return fmt.Errorf("got %d entries, want %d", len(got), len(want))
	}
	return nil
}

func TestEmptyLog(t *testing.T) {
	s := openStore(t, vfs.NewMem(), Options{})
	l := s.Log(7)
	if l.FirstIndex() != 2 || l.LastIndex() != 1 {
		t.Fatalf("first %d, last %d", l.FirstIndex(), l.LastIndex())
	}
	if term, err := l.Term(1); term != 1 || err != nil {
		t.Fatal(term, err)
	}
	if h, c := l.State(); h != nil || c != nil {
		t.Fatal(h, c)
	}
	if ids := s.Logs(); len(ids) != 0 {
		t.Fatal(ids)
	}
	if _, err := l.Entries(2, 3, 1, true); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if ents, err := l.ReadFrom(0, 10, 1, true); len(ents) != 0 || err != nil {
		t.Fatal(ents, err)
	}
}

func TestAppendAndReopen(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{})
	id := s.ID()
	var want []*raftpb.Entry
	l := s.Log(3)
	for i := uint64(2); i < 100; i++ {
		e := entry(i, 1+i/30, record.Offset(2*i), 2, fmt.Sprintf("message %d", i))
		want = append(want, e)
		put(t, s, l, e)
	}
	same(t, l, want)
	for reopened := range 3 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		fs = fs.StrictClone()
		s = openStore(t, fs, Options{})
		if s.ID() != id {
			t.Fatalf("id %q, was %q", s.ID(), id)
		}
		l = s.Log(3)
		same(t, l, want)
		if h, _ := l.State(); h.GetCommit() != want[len(want)-1].GetIndex() {
			t.Fatalf("hard state %v after %d", h, reopened)
		}
		ents, err := l.ReadFrom(21, 31, 1<<20, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := equalEntries(ents, want[8:14]); err != nil {
			t.Fatal(err)
		}
		if term, err := l.Term(59); term != 2 || err != nil {
			t.Fatal(term, err)
		}
		e := entry(uint64(l.LastIndex())+1, 9, record.Offset(1000+reopened), 1, "more")
		want = append(want, e)
		put(t, s, l, e)
	}
}

func TestOverwrite(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{})
	l := s.Log(1)
	put(t, s, l, entry(2, 1, 0, 1, "a"), entry(3, 1, 1, 1, "b"), entry(4, 1, 2, 1, "c"))
	put(t, s, l, entry(3, 2, 1, 1, "B"))
	want := []*raftpb.Entry{entry(2, 1, 0, 1, "a"), entry(3, 2, 1, 1, "B")}
	same(t, l, want)
	s.Close()
	fs = fs.StrictClone()
	s = openStore(t, fs, Options{})
	same(t, s.Log(1), want)
	s.Delete(1)
	if _, err := s.Log(1).Entries(2, 3, 1, true); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs.StrictClone(), Options{})
	if ids := s.Logs(); len(ids) != 0 {
		t.Fatal(ids)
	}
}

func TestSecondProcess(t *testing.T) {
	fs := vfs.NewMem()
	openStore(t, fs, Options{})
	if _, err := Open(fs, "data", Options{}); !errors.Is(err, vfs.ErrLocked) {
		t.Fatal(err)
	}
}
