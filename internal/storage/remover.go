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

// remover is the goroutine that removes files, and cuts some off. Who lets go of one may hold any lock.
type remover struct {
	store      *Store
	background bool // the goroutine runs; it does not during Open, nor in a Manual store

	mu      sync.Mutex
	changed *sync.Cond
	queue   []removal // the first is under way
	closed  bool
}

// removal is what is to be done with a file.
type removal struct {
	name string
	left int64 // bytes that stay; 0: it is removed
}

func newRemover(s *Store) *remover {
	r := &remover{store: s}
	r.changed = sync.NewCond(&r.mu)
	return r
}

// add has a file removed: soon, which is after Open for what that finds, or at once in a Manual store.
func (r *remover) add(name string) error {
	if r.store.opts.Manual {
		return r.store.fs.Remove(name)
	}
	r.enqueue(removal{name: name})
	return nil
}

// shorten has all of a file but so many bytes given back to the file system. Nothing may write to the file, or give it
// another name, any more.
func (r *remover) shorten(name string, left int64) error {
	if !r.background {
		return r.cutOff(removal{name, left})
	}
	r.enqueue(removal{name, left})
	return nil
}

func (r *remover) enqueue(x removal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue = append(r.queue, x)
	r.changed.Broadcast()
}

// wait waits until all that was asked for is done.
func (r *remover) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 && !r.closed {
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
	for x, ok := r.first(); ok; x, ok = r.first() {
		if err := r.do(x); err != nil {
			r.store.fail(fmt.Errorf("remove a file: %w", err))
			return
		}
		r.mu.Lock()
		r.queue = r.queue[1:]
		r.changed.Broadcast()
		r.mu.Unlock()
	}
}

// first waits for a file; false: the store was closed or has failed.
func (r *remover) first() (x removal, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.closed {
		r.changed.Wait()
	}
	if r.closed || !r.store.alive() {
		return x, false
	}
	return r.queue[0], true
}

func (r *remover) do(x removal) error {
	fs := r.store.fs
	if err := r.cutOff(x); err != nil {
		return err
	}
	if !r.store.alive() {
		return nil
	}
	if x.left == 0 {
		// A segment that is missing was reported when the store was opened.
		if err := fs.Remove(x.name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	r.store.preparer.retry()
	return nil
}

// cutOff leaves what is to stay of a file, or what is cheap to remove.
func (r *remover) cutOff(x removal) error {
	f, err := r.store.fs.Open(x.name)
	if err != nil {
		return nil // it is removed as it is, or longer than it need be
	}
	defer closeClean(f)
	if err = r.cut(f, x.left); noSpace(err) {
		return nil
	}
	return err
}

// cut makes a file short, in steps. It stops when the store is closed, and takes no more steps when the disk is nearly full: then
// the space is wanted more than the time.
func (r *remover) cut(f vfs.File, left int64) error {
	size, err := f.Size()
	for err == nil && size-cutStep > left && r.background && r.store.alive() && !r.store.Low() {
		began := time.Now()
		size -= cutStep
		if err = f.Truncate(size); err == nil {
			r.rest(min(leaveTimes*time.Since(began), lookEvery)) // whether there is space is not known sooner
		}
	}
	if err == nil && left > 0 && size > left && r.store.alive() {
		err = f.Truncate(left)
	}
	return err
}

func (r *remover) rest(d time.Duration) {
	select {
	case <-r.store.closing:
	case <-time.After(d):
	}
}
