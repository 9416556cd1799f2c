package storage

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestWritesAhead: while a batch is synced the next ones are written. They are done when they
// have been synced themselves, and not before.
func TestWritesAhead(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 4 << 20})
	s.Start()
	put(t, s, s.Log(1))

	var held atomic.Bool // the first sync
	began, goOn := make(chan bool), make(chan bool)
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	fs.OnSync(func(p vfs.SyncPoint) {
		if p.Op == vfs.OpSyncData && strings.HasSuffix(p.Name, walSuffix) && !p.Done && held.CompareAndSwap(false, true) {
			began <- true
			<-goOn
		}
	})
	done := make(waiter, 100)
	add := func(index uint64) {
		e := entry(index, 1, record.Offset(index-2), 1, strings.Repeat("x", 5000))
		s.Append(&Append{Log: s.Log(1), Entries: []*raftpb.Entry{e}, Done: done})
	}
	add(2)
	<-began
	const last = 60
	for i := uint64(3); i <= last; i++ {
		add(i)
	}
	eventually(t, "batches that are written ahead", func() bool {
		s.wal.turn.Lock()
		defer s.wal.turn.Unlock()
		return len(s.wal.unsynced) > 1
	})
	if n := len(done); n != 0 {
		t.Fatalf("%d requests are done before the first sync is", n)
	}
	if n := s.Log(1).LastIndex(); n != 1 {
		t.Fatalf("entry %d can be read before it is synced", n)
	}
	again, err := Open(fs.StrictClone(), "data", Options{WALFileSize: 4 << 20, Logger: quiet(), Manual: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Log(1).Damaged(); err != nil {
		t.Fatalf("a power cut now: %v", err)
	}
	again.Close()
	release()
	for i := uint64(2); i <= last; i++ {
		if a := <-done; a.Err != nil || a.Entries[0].GetIndex() != i {
			t.Fatalf("entry %d is done in place of %d: %v", a.Entries[0].GetIndex(), i, a.Err)
		}
	}
}

// TestFailedWriteAhead: when a batch cannot be written ahead the store has failed before anybody else may write.
func TestFailedWriteAhead(t *testing.T) {
	fs := vfs.NewMem()
	var s *Store
	free := make(chan bool, 1) // whether others could write when it failed
	s = openStore(t, fs, Options{WALFileSize: 4 << 20, Fatal: func(error) {
		got := s.wal.turn.TryLock()
		if got {
			s.wal.turn.Unlock()
		}
		free <- got
	}})
	var held atomic.Bool
	began, goOn := make(chan bool), make(chan bool)
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	fs.OnSync(func(p vfs.SyncPoint) {
		if p.Op == vfs.OpSyncData && strings.HasSuffix(p.Name, walSuffix) && !p.Done && held.CompareAndSwap(false, true) {
			began <- true
			<-goOn
		}
	})
	done := make(waiter, 2)
	s.Append(&Append{Log: s.Log(1), Entries: []*raftpb.Entry{entry(2, 1, 0, 1, "first")}, Done: done})
	<-began
	fs.Inject(vfs.Fault{Op: vfs.OpWrite, Name: s.wal.file.file.Name(), Times: 1, Err: syscall.EIO})
	s.Append(&Append{Log: s.Log(1), Entries: []*raftpb.Entry{entry(3, 1, 1, 1, strings.Repeat("x", aheadLeast))}, Done: done})
	if <-free {
		t.Error("another batch could be written in its place")
	}
	release()
	<-s.wal.done
	if n := len(done); n != 0 {
		t.Errorf("%d requests are done after the disk failed", n)
	}
}

// queued is a Manual store that is given several requests at once, so that half of them are written ahead.
type queued struct {
	store *Store
	want  map[record.LogID][]*raftpb.Entry
	order []*Append
	done  int // so many of order, the first ones
}

// AppendDone implements [Completion].
func (q *queued) AppendDone(*Append) { q.done++ }

// add queues a request of an entry.
func (q *queued) add(id record.LogID, size int) {
	l := q.store.Log(id)
	index := uint64(len(q.want[id])) + 2
	e := entry(index, 1, record.Offset(index-2), 1, strings.Repeat(fmt.Sprint(id, index), size/3))
	a := &Append{Log: l, Entries: []*raftpb.Entry{e}, HardState: hard(1, 1, index), Done: q}
	q.want[id], q.order = append(q.want[id], e), append(q.order, a)
	q.store.Append(a)
}

// TestDamageAmongBatchesAhead: a batch that was written before the one before it was synced does not
// prove that it was; a later one does, and then damage is not taken for a torn write.
func TestDamageAmongBatchesAhead(t *testing.T) {
	fs, opts := vfs.NewMem(), Options{WALFileSize: 24 << 10, Manual: true}
	q := &queued{store: openStore(t, fs, opts), want: make(map[record.LogID][]*raftpb.Entry)}
	for range 8 { // into two files, as no checkpoint is made
		for id := record.LogID(1); id <= 4; id++ {
			q.add(id, 900)
		}
		for q.store.Step() {
		}
	}
	if q.done != len(q.order) {
		t.Fatalf("%d of %d are done", q.done, len(q.order))
	}
	q.store.Close()
	seen := make(map[int]int)
	for name, size := range dataFiles(t, fs) {
		if !strings.HasSuffix(name, walSuffix) {
			continue
		}
		for at := int64(0); at < size; at += 150 {
			hurt := fs.Clone()
			if err := hurt.Flip(name, at, 1); err != nil {
				t.Fatal(err)
			}
			n, err := verdict(t, hurt, opts, q.want)
			if err != nil {
				t.Fatalf("%s, byte %d: %v", name, at, err)
			}
			seen[n]++
		}
	}
	if seen[0] == 0 || seen[1] == 0 {
		t.Errorf("damaged logs → flips: %v, want some that hurt one log alone, and some none", seen)
	}
}

// TestPowerCutsAmongBatchesAhead: what is there after a power cut is a row of requests from
// the first one on, with all that are done. What was written ahead of one that is not
// there is not there either.
func TestPowerCutsAmongBatchesAhead(t *testing.T) {
	some := false // it has happened that a part of what was not synced is there
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fs, opts := vfs.NewMem(), Options{WALFileSize: 48 << 10, Manual: true}
		q := &queued{store: openStore(t, fs, opts), want: make(map[record.LogID][]*raftpb.Entry)}
		q.store.Start()
		cuts := 0
		fs.OnSync(func(p vfs.SyncPoint) {
			if p.Op != vfs.OpSyncData || !strings.Contains(p.Name, walSuffix) {
				return
			}
			cuts++
			n, err := q.survived(fs.CrashClone(rng.Uint64()), opts)
			if err != nil {
				t.Errorf("seed %d, cut %d: %v", seed, cuts, err)
			}
			some = some || n > q.done && n < len(q.order)
		})
		for range 20 {
			for range 1 + rng.IntN(8) {
				q.add(record.LogID(1+rng.IntN(3)), rng.IntN(2500))
			}
			for q.store.Step() {
			}
		}
		fs.OnSync(nil)
		if cuts < 2*20 {
			t.Errorf("seed %d: %d cuts", seed, cuts)
		}
		q.store.Close()
	}
	if !some {
		t.Error("never was a part there of what was not synced")
	}
}

// survived opens what is left, and returns how many requests are there.
func (q *queued) survived(fs *vfs.Mem, opts Options) (n int, err error) {
	opts.Logger = quiet()
	s, err := Open(fs, "data", opts)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	has := func(a *Append) bool { return uint64(s.Log(a.Log.id).LastIndex()) >= a.Entries[0].GetIndex() }
	for n < len(q.order) && has(q.order[n]) {
		n++
	}
	if n < q.done {
		return n, fmt.Errorf("%d requests are there, %d are done", n, q.done)
	}
	for _, a := range q.order[n:] {
		if has(a) {
			return n, fmt.Errorf("request %d is not there, but a later one is: log %d, index %d", n, a.Log.id, a.Entries[0].GetIndex())
		}
	}
	for id, want := range q.want {
		l := s.Log(id)
		if err := readAll(l, want[:l.LastIndex()-1]); err != nil {
			return n, fmt.Errorf("log %d: %w", id, err)
		}
	}
	return n, nil
}

// TestWrittenAheadOfAProof: what is written while an idle WAL proves its last batch is synced, too,
// when nothing comes after it.
func TestWrittenAheadOfAProof(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 4 << 20, proveAfter: 50 * time.Millisecond})
	s.Start()
	var syncs atomic.Int64
	began, goOn := make(chan bool), make(chan bool)
	release := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(release)
	fs.OnSync(func(p vfs.SyncPoint) {
		if p.Op == vfs.OpSyncData && strings.HasSuffix(p.Name, walSuffix) && !p.Done && syncs.Add(1) == 2 {
			began <- true // the proof
			<-goOn
		}
	})
	put(t, s, s.Log(1), entry(2, 1, 0, 1, "first"))
	<-began
	done := make(waiter, 1)
	s.Append(&Append{Log: s.Log(1), Entries: []*raftpb.Entry{entry(3, 1, 1, 1, strings.Repeat("x", aheadLeast))}, Done: done})
	eventually(t, "a batch that is written ahead", func() bool {
		s.wal.turn.Lock()
		defer s.wal.turn.Unlock()
		return len(s.wal.unsynced) == 2
	})
	release()
	select {
	case a := <-done:
		if a.Err != nil {
			t.Fatal(a.Err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it is never synced")
	}
	// It has to be proved itself.
	eventually(t, "another proof", func() bool { return syncs.Load() >= 4 })
}

// TestProofLeavesHardStates: a hard state that waits for the next batch goes on waiting when there is no
// room to prove the last one.
func TestProofLeavesHardStates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s := openStore(t, fs, Options{WALFileSize: 16 << 10})
		l := s.Log(1)
		rest := int(s.wal.file.size - s.wal.file.pos)
		done := make(waiter, 2)
		s.Append(&Append{Log: l, Entries: []*raftpb.Entry{entry(2, 1, 0, 1, strings.Repeat("x", rest-300))}, HardState: hard(1, 1, 1), Done: done})
		<-done
		s.Append(&Append{Log: l, HardState: hard(1, 1, 2), Done: done})
		<-done
		time.Sleep(2 * time.Second) // of the bubble
		synctest.Wait()
		if f := s.wal.file; f.pos != f.size {
			t.Fatalf("the file is full up to %d of %d", f.pos, f.size)
		}
		put(t, s, s.Log(2), entry(2, 1, 0, 1, "the next batch"))
		if h, _ := openStore(t, fs.StrictClone(), Options{}).Log(1).State(); h.GetCommit() != 2 {
			t.Errorf("the commit index is %d", h.GetCommit())
		}
	})
}
