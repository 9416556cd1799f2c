package storage

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// maxBatch bounds a batch, so that a request waits for no more than the write
// of so many bytes before its own. A larger request is a batch of its own.
const maxBatch = 4 << 20

// wal is the write-ahead log: a queue, the goroutine that makes what is in it durable,
// and one that writes ahead meanwhile (see ahead.go).
//
// Locks: turn before mu. Whoever holds turn makes the batches, from the queue's front
// to the file, so that their order is that of the requests.
type wal struct {
	store *Store

	mu     sync.Mutex // protects the queue
	queue  []*Append
	queued int  // upper bound of what the requests in the queue take in a batch
	busy   bool // batches are being synced and applied: what comes may be written ahead
	closed bool
	wake   chan struct{} // of one element: the queue is not empty any more, or closed
	early  chan struct{} // of one element: there may be enough in the queue to be written ahead
	done   chan struct{} // closed when both goroutines have ended

	turn     sync.Mutex // protects all below, and what the logs have for the writer
	file     *walFile
	seq      uint64 // of the last batch that was written
	batch    batchWriter
	known    sharedBodies
	held     int64      // bytes that the file's entries have in memory, at least
	lazy     []*Log     // with a hard state that waits for the next batch
	unsynced []*written // batches of the file that are not applied yet, in their order
	syncing  int        // so many of them, the first ones, are being synced
	free     []*written
	taken    []*Append // by take
	installs uint64    // the highest number of an installation

	// Owned by the goroutine.
	dirty bool // something was written since the store was opened
	bare  bool // nothing on the disk proves that the last batch was synced
}

// add queues a request.
func (w *wal) add(a *Append) {
	a.room = a.size()
	w.mu.Lock()
	first := len(w.queue) == 0
	if !w.closed {
		w.queue = append(w.queue, a)
		w.queued += a.room
	}
	early := w.isEnough()
	w.mu.Unlock()
	if first {
		w.notify()
	}
	if early {
		w.notifyEarly()
	}
}

func (w *wal) notify() {
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// wait waits until the queue holds something, or is closed and empty: then open is false.
// idle tells that nothing came for a while after a batch.
func (w *wal) wait() (open, idle bool) {
	for {
		w.mu.Lock()
		some, closed := len(w.queue) > 0, w.closed
		w.mu.Unlock()
		switch {
		case some || closed:
			return some, false
		case !w.bare:
			<-w.wake
		case w.isQuiet():
			return true, true
		}
	}
}

// isQuiet waits for requests, and reports whether none came for a while.
func (w *wal) isQuiet() bool {
	timer := time.NewTimer(w.store.opts.proveAfter)
	defer timer.Stop()
	select {
	case <-w.wake:
		return false
	case <-timer.C:
		return true
	}
}

// run is the WAL goroutine. While one batch is synced the next one gathers in
// the queue: under load batches grow by themselves, and without load a request waits for nothing.
func (w *wal) run() {
	var ahead sync.WaitGroup
	end := make(chan struct{})
	ahead.Go(func() { w.runAhead(end) })
	defer func() {
		close(end)
		ahead.Wait()
		close(w.done)
	}()
	for {
		open, idle := w.wait()
		if !open {
			w.finish()
			return
		}
		var err error
		if idle {
			err = w.prove()
		} else {
			err = w.process()
		}
		if err != nil {
			w.store.fail(err)
			return
		}
	}
}

// process writes and syncs what is in the queue, and then what was written ahead meanwhile.
func (w *wal) process() error {
	for {
		w.turn.Lock()
		_, err := w.writeNext()
		batches := w.begin()
		w.turn.Unlock()
		if err != nil || len(batches) == 0 {
			return err
		}
		if err := w.settle(batches); err != nil {
			return err
		}
	}
}

// writeNext takes requests from the queue and writes them as a batch. It reports
// false when there is none, or what is there has to wait until no batch is unsynced.
func (w *wal) writeNext() (bool, error) {
	if w.store.dead.Load() {
		return false, w.store.failure()
	}
	reqs, room, shared := w.take()
	switch {
	case len(reqs) == 0:
		return false, nil
	case len(w.unsynced) == 0 && !needSync(reqs):
		w.postpone(reqs)
		return false, nil
	case shared && !w.hasRoom(room):
		if err := w.roll(room); err != nil {
			return false, err
		}
	}
	w.held += room
	b := w.unused()
	b.reqs = append(b.reqs, reqs...)
	clear(reqs)
	w.encode(b, room)
	if !w.batch.empty() {
		if err := w.write(b); err != nil {
			return false, err
		}
	}
	b.file = w.file
	w.unsynced = append(w.unsynced, b)
	return true, nil
}

// unused returns a batch to be filled.
func (w *wal) unused() *written {
	n := len(w.free)
	if n == 0 {
		return new(written)
	}
	b := w.free[n-1]
	w.free = w.free[:n-1]
	return b
}

// begin returns the batches that were written, which are going to be settled.
func (w *wal) begin() []*written {
	w.syncing = len(w.unsynced)
	return w.unsynced[:w.syncing:w.syncing]
}

// settle makes batches durable with one sync, and visible in the logs. Meanwhile others may be written
// ahead.
func (w *wal) settle(batches []*written) error {
	w.setBusy(true)
	defer w.setBusy(false)
	if err := w.sync(batches); err != nil {
		return err
	}
	if w.store.dead.Load() {
		return w.store.failure()
	}
	for _, b := range batches {
		w.apply(b)
		complete(b.reqs)
		b.reset()
	}
	w.turn.Lock()
	defer w.turn.Unlock()
	w.free = append(w.free, batches...)
	w.unsynced = slices.Delete(w.unsynced, 0, w.syncing)
	w.syncing = 0
	return nil
}

func needSync(reqs []*Append) bool {
	for _, a := range reqs {
		if a.sync() {
			return true
		}
	}
	return false
}

func complete(reqs []*Append) {
	for _, a := range reqs {
		if a.Done != nil {
			a.Done.AppendDone(a) // which may use a again
		}
	}
}

// postpone keeps hard states for the next batch.
func (w *wal) postpone(reqs []*Append) {
	for _, a := range reqs {
		l := a.Log
		if a.Err = a.refused(); a.Err != nil || a.HardState == nil {
			continue
		}
		if !l.hasLazy {
			w.lazy = append(w.lazy, l)
		}
		l.lazy, l.hasLazy = newHardState(a.HardState), true
	}
	complete(reqs)
}

// refused returns why the request cannot be met, or nil.
func (a *Append) refused() error {
	l := a.Log
	switch {
	case l.gone:
		return fmt.Errorf("%w: log %d was deleted", ErrNotFound, l.id)
	case a.deletion:
		return nil
	case l.damage != nil: // which does not change once the WAL goroutine runs
		return l.damage
	case a.Stage != nil:
		return a.Stage.refused()
	}
	return nil
}

// take takes requests from the queue for the next batch, which takes room in the file at
// most; none when what is there has to wait until no batch is unsynced. shared: one
// of them refers to positions in the file. Then the batch has to fit into what is left of
// it. What such requests take in memory is more than what they take in the file, which counts as
// full when that is twice the size of a WAL file: the fewer files, the less is needed of each when it is full.
func (w *wal) take() (reqs []*Append, room int64, shared bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, room, shared := w.next()
	if len(w.unsynced) > 0 && (n == 0 || w.queue[0].Stage != nil || !w.hasRoom(room)) {
		return nil, 0, false
	}
	reqs = append(w.taken[:0], w.queue[:n]...)
	w.taken = reqs
	for _, a := range reqs {
		w.queued -= a.room
	}
	w.queue = slices.Delete(w.queue, 0, n)
	return reqs, room, shared
}

// next returns how many requests of the queue go into the next batch, and what it takes
// at most. shared: one of them refers to positions in the file.
func (w *wal) next() (n int, room int64, shared bool) {
	need := batchHeader + len(w.lazy)*(recordHeader+32)
	limit := w.store.maxBatch()
	for _, b := range w.unsynced[w.syncing:] {
		limit -= int(b.bytes)
	}
	most := w.most()
	for ; n < most; n++ {
		a := w.queue[n]
		if need+a.room > limit && (n > 0 || w.syncing < len(w.unsynced)) {
			break
		}
		if n > 0 && a.Stage != nil {
			break // whether a stage may be installed is known when all before it is applied
		}
		need += a.room
		shared = shared || a.Shared != nil
	}
	return n, alignUp(int64(need)), shared
}

// hasRoom reports whether the file has room for so much.
func (w *wal) hasRoom(room int64) bool {
	return w.file.pos+room <= w.file.size && w.held+room <= w.mostHeld()
}

// mostHeld is what the entries of a file may take in memory.
func (w *wal) mostHeld() int64 { return 2 * w.store.opts.WALFileSize }

// roll goes on with the next WAL file and hands the full one to the flusher.
// It waits when the flusher is too far behind, or the disk is full.
func (w *wal) roll(need int64) error {
	s := w.store
	full := w.file
	next, err := s.preparer.take()
	if err != nil {
		return err
	}
	w.known.forget()
	w.held = 0
	if next.size < need {
		err = w.makeRoom(next, need)
	}
	if err == nil {
		w.chooseCache(next)
		err = full.setDirect(false) // for what is written behind the batches, if it is kept
	}
	if err != nil {
		closeClean(next.file)
		return err
	}
	w.file = next
	s.active.Store(next.id)
	select {
	case s.sealed <- sealedFile{full, w.seq, full.pos+need <= full.size}:
	case <-s.closing: // it will be replayed
		closeClean(full.file)
	}
	return nil
}

// makeRoom extends a file for a batch that is larger, and waits for the space.
func (w *wal) makeRoom(f *walFile, need int64) error {
	s := w.store
	for {
		err := f.extend(need)
		if !noSpace(err) {
			s.setFull(causeBatch, nil)
			return err
		}
		s.setFull(causeBatch, err)
		select {
		case <-time.After(retryEvery):
		case <-s.closing:
			return fmt.Errorf("%w: no space for a large batch", ErrClosed)
		}
	}
}

// prove writes an empty batch behind the last one when nothing else comes for a
// while: by its durable-through it proves that the last one was acknowledged.
// It can wait for a batch that needs a new file anyway. What was written ahead of its sync follows.
func (w *wal) prove() error {
	if err := w.writeEmpty(false); err != nil {
		return err
	}
	w.bare = false
	return w.process()
}

// writeEmpty writes a batch without requests, and syncs it; without roll only where the file has room.
func (w *wal) writeEmpty(roll bool) error {
	w.turn.Lock()
	need := alignUp(int64(batchHeader + len(w.lazy)*(recordHeader+32)))
	if !roll && w.file.pos+need > w.file.size {
		w.turn.Unlock()
		return nil // the hard states go on waiting
	}
	b := w.unused()
	w.encode(b, need)
	err := w.write(b)
	b.file = w.file
	w.unsynced = append(w.unsynced, b)
	batches := w.begin()
	w.turn.Unlock()
	if err != nil {
		return err
	}
	return w.settle(batches)
}

// finish is the end of the goroutine at Close. Its batch proves the one before it, as
// that of prove does.
func (w *wal) finish() {
	if w.dirty || len(w.lazy) > 0 {
		if err := w.writeEmpty(true); err != nil {
			w.store.fail(err)
			return
		}
	}
	closeClean(w.file.file)
}

// stop lets the goroutine empty the queue and end, and waits for it.
func (w *wal) stop() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	if w.store.opts.Manual {
		w.finishManual()
		return
	}
	w.notify()
	<-w.done
}
