package storage

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// pooledStore is a Manual store at a time that the test sets, with as many WAL files
// in its pool, at least, as it keeps of a log before that is emptied.
func pooledStore(t *testing.T, fs *vfs.Mem, now *time.Time) *Store {
	t.Helper()
	var o owners
	s := openStore(t, fs, Options{
		WALFileSize: 64 << 10, SegmentSize: 256 << 10, Manual: true, Reserve: 1, Checkpoint: o.checkpoint,
		Now: func() time.Time { return *now },
	})
	s.Start()
	kept := 0
	for id := range record.LogID(5) { // of few pieces each, which are not merged
		grow(t, s, s.Log(1+id), 60, 6000)
		wals, _ := keptIn(s.Log(1 + id))
		kept += len(wals)
	}
	if kept < 3*poolLeast {
		t.Fatalf("only %d WAL files are kept", kept)
	}
	for id := range record.LogID(5) {
		o.set(1+id, Checkpoint{Applied: s.Log(1 + id).LastIndex(), Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}}})
	}
	grow(t, s, s.Log(9), 30, 3000)
	if n := s.preparer.pool.len(); n < kept {
		t.Fatalf("%d files in the pool of %d that were kept", n, kept)
	}
	return s
}

func freeOf(t *testing.T, fs vfs.FS) int64 {
	t.Helper()
	free, _, err := fs.Free("/")
	if err != nil {
		t.Fatal(err)
	}
	return int64(free)
}

// TestPoolIsUsed: what comes next is written where something was, also in the store's next life.
func TestPoolIsUsed(t *testing.T) {
	fs, now := vfs.NewMem(), time.Unix(1e9, 0)
	s := pooledStore(t, fs, &now)
	for range 2 {
		before, files := freeOf(t, fs), s.preparer.pool.len()
		grow(t, s, s.Log(9), 100, 3000)
		if took := before - freeOf(t, fs); took > 3*64<<10 {
			t.Errorf("%d bytes were taken from the disk", took)
		}
		if n := s.preparer.pool.len(); n > files-3 {
			t.Errorf("%d of %d files are left in the pool", n, files)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		var o owners
		s = keptStore(t, fs, &o)
	}
}

// TestPoolGivesBack: what was not wanted for a while goes back to the file system, and the files that
// came last stay.
func TestPoolGivesBack(t *testing.T) {
	fs, now := vfs.NewMem(), time.Unix(1e9, 0)
	s := pooledStore(t, fs, &now)
	before, files := freeOf(t, fs), s.preparer.pool.len()
	last := s.preparer.pool.files[files-1].name
	now = now.Add(poolUnused - time.Second)
	s.Step()
	if n := s.preparer.pool.len(); n != files {
		t.Fatalf("%d of %d files are left too soon", n, files)
	}
	now = now.Add(2 * time.Second)
	s.Step()
	if n := s.preparer.pool.len(); n != poolLeast {
		t.Errorf("%d files are left", n)
	}
	if back, want := freeOf(t, fs)-before, int64(files-poolLeast)*64<<10; back < want {
		t.Errorf("%d bytes came back, not %d", back, want)
	}
	if name := s.preparer.pool.take(); name != last {
		t.Errorf("%s is taken next, not %s", name, last)
	}
}

// TestOpenDoesNotWaitForThePool: files that cannot be used again, as WAL files have another size now, are removed once the store
// is open: they may be many.
func TestOpenDoesNotWaitForThePool(t *testing.T) {
	mem, now := vfs.NewMem(), time.Unix(1e9, 0)
	s := pooledStore(t, mem, &now)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	opened := make(chan struct{})
	removed := 0 // by the remover alone, once the store is open
	fs := &watchedFS{mem, func(op vfs.Op, name string) {
		if strings.HasSuffix(name, walSuffix) {
			<-opened
			if op == vfs.OpRemove {
				removed++
			}
		}
	}}
	s = openStore(t, fs, Options{WALFileSize: 256 << 10, Reserve: 1})
	close(opened)
	s.remover.wait()
	if removed < 3*poolLeast {
		t.Errorf("%d files were removed", removed)
	}
}

// TestPoolIsNoEvidence: when the WAL is damaged, what was replayed is set aside, and not the files that nothing
// was in: those may be many.
func TestPoolIsNoEvidence(t *testing.T) {
	fs, now := vfs.NewMem(), time.Unix(1e9, 0)
	s := pooledStore(t, fs, &now)
	files := s.preparer.pool.len()
	first := s.wal.file.pos
	grow(t, s, s.Log(9), 3, 3000)
	name := s.preparer.path(s.wal.file.id, walSuffix)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fs.Flip(name, first+batchHeader+2, 0xff); err != nil {
		t.Fatal(err)
	}
	var o owners
	s = keptStore(t, fs, &o)
	aside, err := fs.List("data/damaged")
	if err != nil || len(aside) == 0 || len(aside) > 4 {
		t.Errorf("set aside are %v, %v", aside, err)
	}
	if n := s.preparer.pool.len(); n < files-4 {
		t.Errorf("%d of %d files are left in the pool", n, files)
	}
}

// TestPoolLeavesTheDisk: as the disk fills, the pool becomes small.
func TestPoolLeavesTheDisk(t *testing.T) {
	fs, now := vfs.NewMem(), time.Unix(1e9, 0)
	s := pooledStore(t, fs, &now)
	used := int64(1<<40) - freeOf(t, fs)
	fs.SetCapacity(used + poolShare*7*64<<10)
	s.Step()
	if n := s.preparer.pool.len(); n != 7 {
		t.Errorf("%d files are left, 7 are a sixteenth of the free space", n)
	}
	s.setFull(causeFlush, vfs.ErrLocked) // any error
	s.Step()
	if n := s.preparer.pool.len(); n != poolLeast {
		t.Errorf("%d files are left on a full disk", n)
	}
}
