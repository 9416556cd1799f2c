package storage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// owners answers for the machines of a store.
type owners struct {
	mu   sync.Mutex
	ckpt map[record.LogID]Checkpoint
}

func (o *owners) set(id record.LogID, c Checkpoint) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ckpt == nil {
		o.ckpt = make(map[record.LogID]Checkpoint)
	}
	o.ckpt[id] = c
}

func (o *owners) checkpoint(id record.LogID) (Checkpoint, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	c, ok := o.ckpt[id]
	return c, ok
}

// fill appends entries of one message each, size bytes long, until count are there.
func fill(t testing.TB, s *Store, l *Log, count, size int) []*raftpb.Entry {
	t.Helper()
	var all []*raftpb.Entry
	pad := strings.Repeat("x", size)
	for i := range count {
		n := uint64(l.LastIndex()) + 1
		e := entry(n, 1, record.Offset(n-2), 1, fmt.Sprintf("%d %s", i, pad))
		put(t, s, l, e)
		all = append(all, e)
	}
	return all
}

// TestFailedSyncOfACheckpointsName: the name may be there all the same, and
// then all that the checkpoint lists must be.
func TestFailedSyncOfACheckpointsName(t *testing.T) {
	fs := vfs.NewMem()
	failed := false
	opts := Options{WALFileSize: 32 << 10, Manual: true, Fatal: func(error) { failed = true }}
	s := openStore(t, fs, opts)
	s.Start()
	l := s.Log(1)
	var want []*raftpb.Entry
	for i := uint64(0); !failed; i++ {
		if i == 40 { // there is a segment, which the next checkpoint appends to
			fs.Inject(vfs.Fault{Op: vfs.OpSyncDir, Name: checkpointName, Times: 1, Err: syscall.EIO})
		}
		e := entry(2+i, 1, record.Offset(i), 1, strings.Repeat("x", 2000))
		w := make(waiter, 1)
		s.Append(&Append{Log: l, Entries: []*raftpb.Entry{e}, Done: w})
		for s.Step() {
		}
		if len(w) > 0 {
			want = append(want, e)
		}
	}
	if err := readAll(openStore(t, fs.Clone(), Options{}).Log(1), want); err != nil {
		t.Fatal(err)
	}
	// Should the power fail after the next start, the name is not there any more, and what
	// the checkpoint before it needs must be, or another name. (sim, seed 514018238922)
	again := fs.Clone()
	openStore(t, again, Options{Manual: true})
	if err := readAll(openStore(t, again.StrictClone(), Options{}).Log(1), want); err != nil {
		t.Fatal(err)
	}
}

// TestReadsOverlap: what several readers have read of a segment, each from a place of
// its own, lies in the cache in pieces that overlap; who reads across them gets
// each entry once.
func TestReadsOverlap(t *testing.T) {
	s := openStore(t, vfs.NewMem(), Options{WALFileSize: 2 << 20})
	s.Start()
	l := s.Log(1)
	want := fill(t, s, l, 3000, 1000)
	eventually(t, "a flush", func() bool { l.mu.RLock(); defer l.mu.RUnlock(); return len(l.chunks) > 0 })
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		off := rng.IntN(len(want))
		got, err := l.ReadFrom(record.Offset(off), 3000, 1<<rng.IntN(22), true)
		if err != nil || len(got) == 0 {
			t.Fatalf("%d entries from offset %d: %v", len(got), off, err)
		}
		if err := equalEntries(got, want[off:min(off+len(got), len(want))]); err != nil {
			t.Fatalf("from offset %d: %v", off, err)
		}
	}
}

func TestFlushKeepsWhatIsLive(t *testing.T) {
	fs := vfs.NewMem()
	var o owners
	opts := Options{WALFileSize: 64 << 10, SegmentSize: 256 << 10, Checkpoint: o.checkpoint}
	s := openStore(t, fs, opts)
	s.Start()
	l, small := s.Log(1), s.Log(2)
	tiny := fill(t, s, small, 3, 10)
	want := fill(t, s, l, 700, 1000)
	eventually(t, "a flush", func() bool { l.mu.RLock(); defer l.mu.RUnlock(); return len(l.chunks) > 0 && len(l.tables) < 3 })
	same(t, l, want)
	same(t, small, tiny)

	// All but one message of the first six hundred are dead.
	conf := &raftpb.ConfState{Voters: []uint64{1}}
	live := func(from, to record.Offset) bool { return from <= 100 && 100 < to || to > 600 }
	o.set(1, Checkpoint{Applied: 650, Term: 1, ConfState: conf, State: []byte("machine"), Live: live})
	want = append(want, fill(t, s, l, 200, 1000)...)
	eventually(t, "the checkpoint", func() bool { return l.FirstIndex() == 651 })
	check := func() {
		t.Helper()
		ents, err := l.ReadFrom(0, 1000, 1, true)
		if err != nil || len(ents) != 1 {
			t.Fatal(ents, err)
		}
		for off := record.Offset(600); off < 900; {
			ents, err := l.ReadFrom(off, 1000, 8000, true)
			if err != nil || len(ents) == 0 {
				t.Fatal(off, ents, err)
			}
			if err := equalEntries(ents, want[off:int(off)+len(ents)]); err != nil {
				t.Fatal(err)
			}
			off += record.Offset(len(ents))
		}
	}
	check()
	same(t, l, want[649:])
	eventually(t, "the compaction", func() bool {
		fill(t, s, small, 20, 1000)
		ents, err := l.ReadFrom(0, 1000, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		next, err := l.ReadFrom(101, 1000, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		// A chunk that reaches beyond offset 600 stays as it is, and on a busy machine one flush
		// makes a chunk of several WAL files.
		return ents[0].GetIndex() > 90 && next[0].GetIndex() > 250
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	fs = fs.StrictClone()
	s = openStore(t, fs, opts)
	l = s.Log(1)
	check()
	same(t, l, want[649:])
	if _, c := l.State(); c == nil || string(c.State) != "machine" || c.Applied != 650 || c.ConfState.GetVoters()[0] != 1 {
		t.Fatal(c)
	}
	// All is dead: the segments go.
	s.Start()
	o.set(1, Checkpoint{Applied: 901, Term: 1, ConfState: conf})
	o.set(2, Checkpoint{Applied: s.Log(2).LastIndex(), Term: 1, ConfState: conf})
	other := s.Log(3)
	eventually(t, "the end of the segments", func() bool {
		n := uint64(other.LastIndex()) + 1
		put(t, s, other, entry(n, 1, record.Offset(n-2), 1, strings.Repeat("y", 10000)))
		o.set(3, Checkpoint{Applied: other.LastIndex(), Term: 1, ConfState: conf})
		names, err := fs.List("data/seg")
		return err == nil && len(names) <= 1
	})
}
