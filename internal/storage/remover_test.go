package storage

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// watchedFS calls before each truncation and each removal.
type watchedFS struct {
	*vfs.Mem
	before func(op vfs.Op, name string)
}

func (w *watchedFS) Open(name string) (vfs.File, error) {
	f, err := w.Mem.Open(name)
	return watchedFile{f, w}, err
}

func (w *watchedFS) Remove(name string) error {
	w.before(vfs.OpRemove, name)
	return w.Mem.Remove(name)
}

type watchedFile struct {
	vfs.File
	fs *watchedFS
}

func (f watchedFile) Truncate(size int64) error {
	f.fs.before(vfs.OpTruncate, f.Name())
	return f.File.Truncate(size)
}

// removals counts the calls for files of a kind.
type removals struct{ cut, removed atomic.Int64 }

func (r *removals) count(op vfs.Op) {
	if op == vfs.OpTruncate {
		r.cut.Add(1)
	} else {
		r.removed.Add(1)
	}
}

// staged stages entries of 128 KiB and more, one message each.
func staged(t testing.TB, s *Store, id record.LogID, count int) (*Stage, []*raftpb.Entry) {
	t.Helper()
	var all []*raftpb.Entry
	for i := range uint64(count) {
		all = append(all, entry(2+i, 1, record.Offset(i), 1, strings.Repeat(fmt.Sprintf("%d.%d,", id, i), 256<<10/8)))
	}
	st := s.Stage(id)
	if err := st.Append(all); err != nil {
		t.Fatal(err)
	}
	return st, all
}

// TestRemovalHoldsNothingUp: while the disk takes its time with a file that is not needed any more,
// segments are read, and entries written and checkpoints made.
func TestRemovalHoldsNothingUp(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpTruncate, vfs.OpRemove} {
		t.Run(op.String(), func(t *testing.T) {
			slow, reached := make(chan struct{}), make(chan struct{})
			var once sync.Once
			release := sync.OnceFunc(func() { close(slow) })
			fs := &watchedFS{vfs.NewMem(), func(o vfs.Op, name string) {
				if o == op && strings.HasSuffix(name, segSuffix) {
					once.Do(func() { close(reached) })
					<-slow
				}
			}}
			var o owners
			s := openStore(t, fs, Options{Checkpoint: o.checkpoint})
			t.Cleanup(release) // before the store is closed
			s.Start()
			st, want := staged(t, s, 1, 20)
			if err := st.Install(Checkpoint{Applied: 21, Term: 1, Live: everything}, hard(1, 1, 21), 0); err != nil {
				t.Fatal(err)
			}
			st.Abort()
			other, _ := staged(t, s, 2, 40)
			done := make(chan error, 1)
			go func() {
				other.Abort()
				<-reached
				got, _, err := s.Log(1).allLive(1, 21, everything, 1<<20)
				if err == nil {
					err = equalEntries(got, want)
				}
				done <- err
			}()
			select {
			case err := <-done:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("a read waits for a removal")
			}
			fill(t, s, s.Log(3), 80, 100<<10) // several WAL files, which have to be flushed
		})
	}
}

// TestPowerCutWhileCutting: whatever is left of segments and WAL files that are being cut, the
// store opens without damage, holds what it held, and removes them.
func TestPowerCutWhileCutting(t *testing.T) {
	for _, suffix := range []string{segSuffix, walSuffix} {
		t.Run(suffix, func(t *testing.T) {
			var mu sync.Mutex
			var clones []*vfs.Mem
			var late atomic.Int64 // minutes
			fs := &watchedFS{Mem: vfs.NewMem()}
			fs.before = func(op vfs.Op, name string) {
				mu.Lock()
				defer mu.Unlock()
				if op == vfs.OpTruncate && strings.HasSuffix(name, suffix) {
					clones = append(clones, fs.CrashClone(uint64(len(clones))), fs.Clone())
				}
			}
			var o owners
			opts := Options{
				WALFileSize: 12 << 20, Checkpoint: o.checkpoint,
				Now: func() time.Time { return time.Now().Add(time.Duration(late.Load()) * time.Minute) },
			}
			s := openStore(t, fs, opts)
			s.Start()
			l := s.Log(2)
			want := fill(t, s, l, 20, 1000)
			if suffix == segSuffix {
				st, _ := staged(t, s, 1, 100)
				if err := st.Install(Checkpoint{Applied: 101, Term: 1, Live: everything}, hard(1, 1, 101), 0); err != nil {
					t.Fatal(err)
				}
				st.Abort()
				fill(t, s, s.Log(3), 60, 256<<10) // a checkpoint
			} else {
				fill(t, s, s.Log(1), 400, 256<<10) // more WAL files than are used again
			}
			s.Delete(1)
			eventually(t, "files that are cut", func() bool {
				late.Add(2)
				want = append(want, fill(t, s, l, 1, 1000)...)
				mu.Lock()
				defer mu.Unlock()
				return len(clones) >= 4
			})
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			for i, c := range append(clones, fs.StrictClone()) {
				again := openStore(t, c, Options{WALFileSize: 12 << 20})
				if lost := again.damage; lost != nil {
					t.Fatal(i, lost)
				}
				last := int(again.Log(2).LastIndex()) - 1
				if last < 20 {
					t.Fatalf("%d: only %d entries are left", i, last)
				}
				same(t, again.Log(2), want[:last])
				again.remover.wait()
				kept := keptFiles(again.flusher.segments)
				names, err := c.List("data/" + strings.TrimPrefix(suffix, "."))
				if err != nil {
					t.Fatal(err)
				}
				for _, name := range names {
					n, _ := fileNumber(name, suffix)
					fi, err := c.Stat("data/" + strings.TrimPrefix(suffix, ".") + "/" + name)
					if errors.Is(err, os.ErrNotExist) {
						continue // the WAL took it from the pool meanwhile
					}
					if err != nil {
						t.Fatal(err)
					}
					if suffix == segSuffix && again.flusher.segments[n] == nil || suffix == walSuffix && kept[n] == nil && fi.Size() < 8<<20 {
						t.Errorf("%d: %s is left, %d bytes", i, name, fi.Size())
					}
				}
				if err := again.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestCloseWhileCutting: Close waits for one step at most, and the next Open removes the rest.
func TestCloseWhileCutting(t *testing.T) {
	var r removals
	reached := make(chan struct{})
	var s *Store
	fs := &watchedFS{vfs.NewMem(), func(op vfs.Op, name string) {
		if !strings.HasSuffix(name, segSuffix) {
			return
		}
		if r.count(op); op == vfs.OpTruncate {
			close(reached) // once
			<-s.closing
		}
	}}
	s = openStore(t, fs, Options{})
	for id := range record.LogID(3) {
		st, _ := staged(t, s, 1+id, 60)
		st.Abort()
	}
	<-reached
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if cut, removed := r.cut.Load(), r.removed.Load(); cut != 1 || removed != 0 {
		t.Errorf("%d steps and %d removals", cut, removed)
	}
	openStore(t, fs.Mem, Options{})
	if names, err := fs.List("data/seg"); err != nil || len(names) != 0 {
		t.Fatal(names, err)
	}
}

// TestFullDiskRemovesAtOnce: when the disk is nearly full when a file is let go of, or gets so
// while it is cut, nobody waits for its space.
func TestFullDiskRemovesAtOnce(t *testing.T) {
	for steps := range int64(2) {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			var r removals
			var s *Store
			fs := &watchedFS{vfs.NewMem(), func(op vfs.Op, name string) {
				if strings.HasSuffix(name, segSuffix) {
					r.count(op)
					s.setFull(causeFlush, syscall.ENOSPC)
				}
			}}
			s = openStore(t, fs, Options{})
			st, _ := staged(t, s, 1, 200)
			if steps == 0 {
				s.setFull(causeFlush, syscall.ENOSPC)
			}
			for len(s.preparer.freed) > 0 {
				<-s.preparer.freed
			}
			st.Abort()
			s.remover.wait()
			if cut, removed := r.cut.Load(), r.removed.Load(); cut != steps || removed != 1 {
				t.Errorf("%d steps and %d removals", cut, removed)
			}
			if len(s.preparer.freed) == 0 {
				t.Error("nobody is told of the space")
			}
		})
	}
}

// TestCannotCut: where a cut needs space that there is not the file is removed as it is; a disk that
// fails is one that fails.
func TestCannotCut(t *testing.T) {
	for _, c := range []struct {
		fault vfs.Fault
		fatal bool
	}{
		{vfs.Fault{Op: vfs.OpOpen, Err: syscall.EMFILE}, false},
		{vfs.Fault{Op: vfs.OpTruncate, Err: syscall.ENOSPC}, false},
		{vfs.Fault{Op: vfs.OpTruncate, Err: syscall.EIO}, true},
		{vfs.Fault{Op: vfs.OpRemove, Err: syscall.EIO}, true},
	} {
		t.Run(fmt.Sprint(c.fault.Op, c.fault.Err), func(t *testing.T) {
			fs := vfs.NewMem()
			var failed atomic.Pointer[error]
			s := openStore(t, fs, Options{Fatal: func(err error) { failed.Store(&err) }})
			st, _ := staged(t, s, 1, 40)
			c.fault.Name = segSuffix
			fs.Inject(c.fault)
			st.Abort()
			s.remover.wait()
			names, err := fs.List("data/seg")
			if err != nil || len(names) == 0 == c.fatal {
				t.Fatal(names, err)
			}
			if err := failed.Load(); err != nil != c.fatal || c.fatal && !errors.Is(*err, c.fault.Err) {
				t.Fatal(err)
			}
		})
	}
}
