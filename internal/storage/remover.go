package storage

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"waybill/internal/vfs"
)

// To remove a large file keeps the disk busy: the file system takes its blocks back and, with
// ext4's option discard, has the disk forget them; a sync of the WAL waits until that is
// done, 40 ms for 64 MiB. So a large file is cut off from its end in steps, and after
// each the disk is left to the batches for a multiple of the time that it took.
//
// No durable checkpoint needs such a file, and no other file gets its number. So what a
// power cut leaves of it is as good as all of it: the next Open does not read it, and removes it.
const cutStep = 4 << 20

// remover is the goroutine that removes files. Who lets go of one may hold any lock.
type remover struct {
	store      *Store
	background bool // the goroutine runs; it does not during Open, nor in a Manual store

	mu      sync.Mutex
	changed *sync.Cond
	names   []string // the first is being removed
	closed  bool
}

func newRemover(s *Store) *remover {
	r := &remover{store: s}
	r.changed = sync.NewCond(&r.mu)
	return r
}

// add has a file removed: soon, or at once without the goroutine.
func (r *remover) add(name string) error {
	if !r.background {
		return r.store.fs.Remove(name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names = append(r.names, name)
	r.changed.Broadcast()
	return nil
}

// wait waits until all files that were added are gone.
func (r *remover) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.names) > 0 && !r.closed {
		r.changed.Wait()
	}
}

// stop ends the goroutine. The files that are left are those of the next Open.
func (r *remover) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.changed.Broadcast()
}

func (r *remover) run() {
	defer r.stop()
	for name, ok := r.first(); ok; name, ok = r.first() {
		if err := r.remove(name); err != nil {
			r.store.fail(fmt.Errorf("remove a file: %w", err))
			return
		}
		r.mu.Lock()
		r.names = r.names[1:]
		r.changed.Broadcast()
		r.mu.Unlock()
	}
}

// first waits for a file; false: the store was closed or has failed.
func (r *remover) first() (name string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.names) == 0 && !r.closed {
		r.changed.Wait()
	}
	if r.closed || !r.store.alive() {
		return "", false
	}
	return r.names[0], true
}

func (r *remover) remove(name string) error {
	fs := r.store.fs
	if f, err := fs.Open(name); err == nil { // else it is removed as it is
		err = r.cut(f)
		closeClean(f)
		if err != nil && !noSpace(err) {
			return err
		}
	}
	if !r.store.alive() {
		return nil
	}
	// A segment that is missing was reported when the store was opened.
	if err := fs.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	r.store.preparer.retry()
	return nil
}

// cut makes a file short. It stops when the store is closed, and when the disk is nearly full: then
// the space is wanted more than the time.
func (r *remover) cut(f vfs.File) error {
	size, err := f.Size()
	for err == nil && size > cutStep && r.store.alive() && !r.store.Low() {
		began := time.Now()
		size -= cutStep
		if err = f.Truncate(size); err == nil {
			r.rest(min(leaveTimes*time.Since(began), lookEvery)) // whether there is space is not known sooner
		}
	}
	return err
}

func (r *remover) rest(d time.Duration) {
	select {
	case <-r.store.closing:
	case <-time.After(d):
	}
}
