package storage

import (
	"errors"
	"fmt"
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

// TestFailedSyncIsFatal: after a failed sync nothing is completed any more, and
// what was acknowledged before is there after a restart.
func TestFailedSyncIsFatal(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpSyncData, vfs.OpWrite} {
		t.Run(op.String(), func(t *testing.T) {
			fs := vfs.NewMem()
			fatal := make(chan error, 10)
			s := openStore(t, fs, Options{Fatal: func(err error) { fatal <- err }})
			l := s.Log(1)
			want := fill(t, s, l, 10, 100)
			batches := s.preparer.path(s.active.Load(), walSuffix) // and not the next file, which is being made meanwhile
			fs.Inject(vfs.Fault{Op: op, Name: batches, Times: 1, Err: syscall.EIO})
			done := make(waiter, 10)
			for i := range uint64(5) {
				s.Append(&Append{Log: l, Entries: []*raftpb.Entry{entry(12+i, 1, record.Offset(10+i), 1, "lost")}, Sync: true, Done: done})
			}
			if err := <-fatal; !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			s.Append(&Append{Log: l, HardState: hard(1, 1, 1), Sync: true, Done: done})
			if err := s.Close(); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			if len(fatal) > 0 || len(done) > 0 {
				t.Fatalf("%d more fatal errors, %d completions", len(fatal), len(done))
			}
			same(t, l, want)
			s = openStore(t, fs.StrictClone(), Options{})
			same(t, s.Log(1), want)
		})
	}
}

// TestOtherSyncsAreFatal: not only that of the WAL must not be retried, and not
// even for want of space. A checkpoint whose name may be durable lists
// segments that a second attempt would remove.
func TestOtherSyncsAreFatal(t *testing.T) {
	for _, fault := range []vfs.Fault{
		{Op: vfs.OpSync, Name: segSuffix},
		{Op: vfs.OpSyncDir, Name: segName},
		{Op: vfs.OpSyncDir, Name: checkpointName},
		{Op: vfs.OpSyncDir, Name: walName},
	} {
		t.Run(fault.Op.String()+" "+fault.Name, func(t *testing.T) {
			fs := vfs.NewMem()
			fatal := make(chan error, 10)
			s := openStore(t, fs, Options{WALFileSize: 32 << 10, Fatal: func(err error) { fatal <- err }})
			fault.Times, fault.Err = 1, syscall.ENOSPC
			fs.Inject(fault)
			s.Start()
			for i := range uint64(4) {
				// Of a log of which there is little it is written again, so there are segments.
				s.Append(&Append{Log: s.Log(2), Entries: []*raftpb.Entry{entry(2+i, 1, record.Offset(i), 1, "a little")}})
				s.Append(&Append{Log: s.Log(1), Entries: []*raftpb.Entry{entry(2+i, 1, record.Offset(i), 1, strings.Repeat("x", 90000))}})
			}
			select {
			case err := <-fatal:
				if !strings.Contains(err.Error(), "sync") {
					t.Fatal(err)
				}
			case <-time.After(time.Minute):
				t.Fatal("the sync was repeated")
			}
			s.Close()
		})
	}
}

// TestDiskFull: a full disk stalls, says so, loses nothing, and goes on
// when there is space.
func TestDiskFull(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 64 << 10, Reserve: 1})
	s.Start()
	l := s.Log(1)
	fill(t, s, l, 10, 1000)
	if s.Low() {
		t.Fatal("low too early")
	}
	free, _, err := fs.Free("data")
	if err != nil {
		t.Fatal(err)
	}
	fs.SetCapacity(1<<40 - int64(free) + 64<<10)
	var acked atomic.Int64
	const count = 400
	for i := range uint64(count) {
		s.Append(&Append{
			Log: l, Entries: []*raftpb.Entry{entry(12+i, 1, record.Offset(10+i), 1, strings.Repeat("z", 1000))},
			Sync: true, Done: counter{&acked},
		})
	}
	eventually(t, "low", s.Low)
	if n := acked.Load(); n >= count || n == 0 {
		t.Fatalf("%d acknowledged", n)
	}
	// What is acknowledged now must survive a power cut.
	n := int(acked.Load())
	s2 := openStore(t, grown(fs.StrictClone()), Options{})
	if got := int(s2.Log(1).LastIndex()); got < 11+n {
		t.Fatalf("%d entries, %d were acknowledged", got-1, n+10)
	}
	grown(fs)
	eventually(t, "the rest", func() bool { return acked.Load() == count })
	eventually(t, "not low", func() bool { return !s.Low() })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs.StrictClone(), Options{})
	if got := s.Log(1).LastIndex(); got != 11+count {
		t.Fatal(got)
	}
}

func grown(fs *vfs.Mem) *vfs.Mem { fs.SetCapacity(1 << 40); return fs }

type counter struct{ n *atomic.Int64 }

func (c counter) AppendDone(*Append) { c.n.Add(1) }

// TestCloseOnAFullDisk does not hang.
func TestCloseOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 64 << 10})
	s.Start()
	fill(t, s, s.Log(1), 1, 10)
	free, _, _ := fs.Free("data")
	fs.SetCapacity(1<<40 - int64(free))
	for i := range uint64(400) {
		s.Append(&Append{Log: s.Log(1), Entries: []*raftpb.Entry{entry(3+i, 1, record.Offset(1+i), 1, strings.Repeat("z", 1000))}})
	}
	eventually(t, "low", s.Low)
	if err := s.Close(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

// TestDiskTooFullForALargeBatch: one that needs a WAL file of its own size waits
// for the space like all others.
func TestDiskTooFullForALargeBatch(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 64 << 10, Reserve: 1})
	s.Start()
	l := s.Log(1)
	fill(t, s, l, 1, 10)
	free, _, _ := fs.Free("data")
	fs.SetCapacity(1<<40 - int64(free) + 256<<10)
	done := make(waiter, 1)
	s.Append(&Append{Log: l, Entries: []*raftpb.Entry{entry(3, 1, 1, 1, strings.Repeat("z", 1<<20))}, Done: done})
	eventually(t, "low", s.Low)
	if len(done) > 0 {
		t.Fatal("done without space")
	}
	grown(fs)
	if a := <-done; a.Err != nil {
		t.Fatal(a.Err)
	}
	if got := openStore(t, fs.StrictClone(), Options{}).Log(1).LastIndex(); got != 3 {
		t.Fatal(got)
	}
}

// TestIdleStoreWritesNothing, once it has proved its last batch, also when hard
// states wait.
func TestIdleStoreWritesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		s := openStore(t, fs, Options{})
		s.Start()
		fill(t, s, s.Log(1), 3, 100)
		time.Sleep(5 * time.Second) // of the bubble, as all times here
		var syncs atomic.Int64
		fs.OnSync(func(vfs.SyncPoint) { syncs.Add(1) })
		done := make(waiter, 1)
		s.Append(&Append{Log: s.Log(1), HardState: hard(1, 1, 3), Done: done})
		<-done
		time.Sleep(time.Hour)
		if n := syncs.Load(); n != 0 {
			t.Fatalf("%d syncs", n)
		}
		// It rides along with the next batch.
		fill(t, s, s.Log(2), 1, 10)
		batch := syncs.Load()
		s2 := openStore(t, fs.StrictClone(), Options{})
		if h, _ := s2.Log(1).State(); h.GetCommit() != 3 {
			t.Fatal(h)
		}
		time.Sleep(time.Hour)
		if n := syncs.Load(); n != 2*batch {
			t.Fatalf("%d syncs for a batch and its proof, want %d", n, 2*batch)
		}
	})
}

// TestSnapshotReplacesLog: with entries that follow it.
func TestSnapshotReplacesLog(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{})
	l := s.Log(1)
	fill(t, s, l, 20, 100)
	index, term := uint64(50), uint64(3)
	w := make(waiter, 1)
	s.Append(&Append{
		Log: l, Done: w, HardState: hard(3, 2, 50),
		Snapshot: &raftpb.Snapshot{Data: []byte("state"), Metadata: &raftpb.SnapshotMetadata{
			Index: &index, Term: &term, ConfState: &raftpb.ConfState{Voters: []uint64{4, 5}}}},
		Entries: []*raftpb.Entry{entry(51, 3, 70, 2, "after")},
	})
	if a := <-w; a.Err != nil {
		t.Fatal(a.Err)
	}
	for range 3 {
		same(t, l, []*raftpb.Entry{entry(51, 3, 70, 2, "after")})
		if _, c := l.State(); c.Applied != 50 || string(c.State) != "state" || fmt.Sprint(c.ConfState.GetVoters()) != "[4 5]" {
			t.Fatal(c)
		}
		if term, err := l.Term(50); term != 3 || err != nil {
			t.Fatal(term, err)
		}
		s.Close()
		fs = fs.StrictClone()
		s = openStore(t, fs, Options{})
		l = s.Log(1)
	}
}

// TestReadersDuringEverything: many readers see every entry, in order, while
// it is appended, flushed and compacted. Half of them borrow what they read.
func TestReadersDuringEverything(t *testing.T) {
	fs := vfs.NewMem()
	var s *Store
	var dead atomic.Int64
	opts := Options{WALFileSize: 64 << 10, SegmentSize: 128 << 10, Checkpoint: func(id record.LogID) (Checkpoint, bool) {
		l := s.Log(id)
		below := record.Offset(dead.Load())
		last := l.LastIndex()
		return Checkpoint{Applied: last, Term: 1, Live: func(_, to record.Offset) bool { return to > below }}, last > 1
	}}
	s = openStore(t, fs, opts)
	s.Start()
	l := s.Log(1)
	const count = 3000
	var wg sync.WaitGroup
	for reader := range 4 {
		wg.Go(func() {
			for off := record.Offset(0); off < count; {
				var loan *Loan
				var ents []*raftpb.Entry
				var err error
				if reader%2 == 0 {
					ents, err = l.ReadFrom(off, count, 5000, true)
				} else if loan, err = l.Borrow(off, count, 5000); err == nil {
					ents = loan.Entries
				}
				if err != nil {
					t.Errorf("at %d: %v", off, err)
					return
				}
				if len(ents) == 0 {
					<-time.After(100 * time.Microsecond) // it will come
				}
				for _, e := range ents {
					base, n := offsets(e, -1)
					if base != off {
						if base < off || off >= record.Offset(dead.Load()) {
							t.Errorf("at %d: got %d", off, base)
							return
						}
					}
					off = base + record.Offset(n)
				}
				loan.Release(off)
				for below := int64(off) - 1000; ; { // never back, whoever of the readers is behind
					if was := dead.Load(); below <= was || dead.CompareAndSwap(was, below) {
						break
					}
				}
			}
		})
	}
	fill(t, s, l, count, 300)
	wg.Wait()
}
