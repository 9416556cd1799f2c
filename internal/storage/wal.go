package storage

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"waybill/internal/record"
)

// maxBatch bounds a batch, so that a request waits for no more than the write
// of so many bytes before its own. A larger request is a batch of its own.
const maxBatch = 4 << 20

// wal is the write-ahead log: a queue and the goroutine that empties it.
type wal struct {
	store *Store

	mu     sync.Mutex // protects the queue
	queue  []*Append
	closed bool
	wake   chan struct{} // of one element: the queue is not empty any more, or closed
	done   chan struct{} // closed when the goroutine has ended

	// Owned by the goroutine.
	file  *walFile
	seq   uint64 // of the last batch that was synced
	batch batchWriter
	crcs  []uint32 // of the batch's entries
	at    []int    // where in the batch those of each request begin, or scattered
	base  int64    // where in the file the batch began
	known sharedBodies
	held  int64  // bytes that the file's entries have in memory, at least
	lazy  []*Log // with a hard state that waits for the next batch
	spare []*Append
	dirty bool // something was written since the store was opened
	bare  bool // nothing on the disk proves that the last batch was synced

	installs uint64 // the highest number of an installation

	pending []*Append // of a Manual store: taken from the queue, not written
}

// add queues a request.
func (w *wal) add(a *Append) {
	w.mu.Lock()
	first := len(w.queue) == 0
	if !w.closed {
		w.queue = append(w.queue, a)
	}
	w.mu.Unlock()
	if first {
		w.notify()
	}
}

func (w *wal) notify() {
	select {
	case w.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// take empties the queue, waiting until it holds something; none when it was
// closed and is empty. idle tells that nothing came for a while after a batch.
func (w *wal) take() (reqs []*Append, idle bool) {
	for {
		w.mu.Lock()
		reqs, closed := w.queue, w.closed
		if len(reqs) > 0 {
			w.queue, w.spare = w.spare[:0], nil
		}
		w.mu.Unlock()
		if len(reqs) > 0 || closed {
			return reqs, false
		}
		if !w.bare {
			<-w.wake
		} else if w.isQuiet() {
			return nil, true
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
	defer close(w.done)
	for {
		reqs, idle := w.take()
		if len(reqs) == 0 && !idle {
			w.finish()
			return
		}
		var err error
		if idle {
			err = w.prove()
		} else {
			err = w.process(reqs)
		}
		if err != nil {
			w.store.fail(err)
			return
		}
		if !idle {
			clear(reqs)
			w.spare = reqs
		}
	}
}

// process writes the requests, in as many batches as they need.
func (w *wal) process(reqs []*Append) error {
	if !needSync(reqs) {
		w.postpone(reqs)
		return nil
	}
	for len(reqs) > 0 {
		n, err := w.processBatch(reqs)
		if err != nil {
			return err
		}
		reqs = reqs[n:]
	}
	return nil
}

// processBatch writes as many of the requests as fit into one batch.
func (w *wal) processBatch(reqs []*Append) (n int, err error) {
	if n, err = w.fit(reqs); err != nil {
		return 0, err
	}
	w.encode(reqs[:n])
	if !w.batch.empty() {
		if err := w.write(); err != nil {
			return 0, err
		}
	}
	if w.store.dead.Load() {
		return 0, w.store.failure()
	}
	w.apply(reqs[:n])
	complete(reqs[:n])
	return n, nil
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

// fit returns how many of the requests go into the next batch, at least one.
// When one of them refers to positions in the file, the batch is sure to fit
// into what is left of it. What such requests take in memory is more than what
// they take in the file, which counts as full when that is as large.
func (w *wal) fit(reqs []*Append) (n int, err error) {
	n, room, shared := w.next(reqs)
	if shared && (w.file.pos+room > w.file.size || w.held+room > w.file.size) {
		err = w.roll(room)
	}
	w.held += room
	return n, err
}

// next returns how many of the requests go into the next batch, and what it takes
// at most. shared: one of them refers to positions in the file.
func (w *wal) next(reqs []*Append) (n int, room int64, shared bool) {
	need := batchHeader + len(w.lazy)*(recordHeader+32)
	for ; n < len(reqs); n++ {
		size := reqs[n].size()
		if n > 0 && (need+size > w.store.maxBatch() || reqs[n].Stage != nil) {
			break // whether a stage may be installed is known when all before it is applied
		}
		need += size
		shared = shared || reqs[n].Shared != nil
	}
	return n, alignUp(int64(need)), shared
}

// encode puts the requests into the batch.
func (w *wal) encode(reqs []*Append) {
	if cap(w.batch.buf) > 4*maxBatch { // after a very large request
		w.batch.buf, w.crcs = nil, nil
	}
	w.batch.reset(w.seq + 1)
	w.crcs, w.at = w.crcs[:0], w.at[:0]
	for _, a := range reqs {
		if a.Err = a.refused(); a.Err == nil {
			w.encodeOne(a)
		}
	}
	for _, l := range w.lazy {
		if l.hasLazy {
			w.batch.hardState(l.id, l.lazy)
		}
	}
}

func (w *wal) encodeOne(a *Append) {
	l := a.Log
	if a.deletion {
		w.batch.deletion(l.id)
		l.gone, l.hasLazy = true, false
		return
	}
	if a.Snapshot != nil {
		w.batch.snapshot(l.id, snapshotCheckpoint(a.Snapshot))
	}
	if st := a.Stage; st != nil {
		w.installs++
		st.number = w.installs
		w.batch.install(l.id, st.number, st.cut, st.state, st.chunks)
	}
	switch {
	case a.Shared != nil && len(a.Entries) > 0:
		w.at = append(w.at, scattered)
		w.crcs = w.batch.shared(l, a.Entries, a.Shared, &w.known, w.file.pos, w.crcs)
	case len(a.Entries) > 0:
		w.at = append(w.at, len(w.batch.buf)+recordHeader)
		w.crcs = w.batch.entries(l, a.Entries, w.crcs)
	}
	if a.HardState != nil {
		w.batch.hardState(l.id, newHardState(a.HardState))
		l.hasLazy = false // it is older
	}
}

// size is at least what the request takes in a batch.
func (a *Append) size() int {
	n := 4 * (recordHeader + 32)
	for _, e := range a.Entries {
		n += entryLen(e)
	}
	for _, spans := range a.Shared {
		n += (3*len(spans) + 1) * binary.MaxVarintLen64 // the heads of the parts
	}
	if a.Snapshot != nil {
		n += len(a.Snapshot.GetData()) + 1024
	}
	if st := a.Stage; st != nil {
		n += len(st.state.State) + 1024 + 128*len(st.chunks)
	}
	return n
}

// write makes the batch durable: one write, one sync. After an error nothing
// may be written any more: a sync that is repeated would lie.
func (w *wal) write() error {
	need := alignUp(int64(len(w.batch.buf)))
	if w.file.pos+need > w.file.size {
		if w.batch.placed {
			panic(fmt.Sprintf("storage: a batch of %d bytes does not fit where it was encoded for", need))
		}
		if err := w.roll(need); err != nil {
			return err
		}
	}
	f := w.file
	b := w.batch.seal(f, w.seq, 0)
	if _, err := f.file.WriteAt(b, f.pos); err != nil {
		return fmt.Errorf("write to the WAL, %s: %w", f.file.Name(), err)
	}
	start := time.Now()
	if err := syncBatch(f.file); err != nil {
		return fmt.Errorf("sync of the WAL, %s: %w", f.file.Name(), err)
	}
	m := w.store.metrics
	m.fsync.Observe(time.Since(start).Seconds())
	m.batchBytes.Observe(float64(len(b)))
	m.batchEntries.Observe(float64(len(w.crcs)))
	m.walBytes.Add(float64(len(b)))
	w.base = f.pos
	f.pos += int64(len(b))
	w.store.filled.set(f.pos, f.size)
	w.seq++
	w.dirty, w.bare = true, true
	w.store.synced.Store(w.seq)
	w.store.segs.walBatch.Store(int64(len(b)))
	w.store.written.Store(true)
	return nil
}

// apply makes the requests visible in the logs.
func (w *wal) apply(reqs []*Append) {
	for _, l := range w.lazy {
		if l.hasLazy {
			l.mu.Lock()
			l.hard, l.hasHard, l.hasLazy = l.lazy, true, false
			l.mu.Unlock()
		}
	}
	w.lazy = w.lazy[:0]
	crcs, at := w.crcs, w.at
	for _, a := range reqs {
		if a.Err != nil {
			continue
		}
		pos := int64(scattered)
		if len(a.Entries) > 0 {
			if at[0] != scattered {
				pos = w.base + int64(at[0])
			}
			at = at[1:]
		}
		w.applyOne(a, pos, crcs)
		crcs = crcs[len(a.Entries):]
	}
}

// applyOne makes a request visible whose entries lie at pos of the file.
func (w *wal) applyOne(a *Append, pos int64, crcs []uint32) {
	l := a.Log
	if a.deletion {
		w.store.drop(l)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if a.Snapshot != nil {
		l.reset(snapshotCheckpoint(a.Snapshot))
	}
	if a.Stage != nil {
		w.install(a.Stage)
	}
	if len(a.Entries) > 0 {
		if i := a.Entries[0].GetIndex(); record.Index(i) <= l.applied || record.Index(i) > l.last+1 {
			panic(fmt.Sprintf("storage: log %d: append at index %d, of (%d, %d]", l.id, i, l.applied, l.last))
		}
		if err := l.append(w.file.id, pos, a.Entries, crcs); err != nil {
			panic(err)
		}
	}
	if a.HardState != nil {
		l.hard, l.hasHard, l.dirty = newHardState(a.HardState), true, true
	}
}

// install makes a stage the log, whose mu is locked.
func (w *wal) install(st *Stage) {
	l := st.log
	l.install(st.cut, st.state, st.chunks)
	l.installed = installation{number: st.number, wal: w.file.id, cut: noCut}
	l.staging = false
	w.store.segs.install(st.segs)
	for _, seg := range st.segs {
		seg.release()
	}
	st.installed = true
}

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
		if err := w.makeRoom(next, need); err != nil {
			closeClean(next.file)
			return err
		}
	}
	w.file = next
	s.active.Store(next.id)
	select {
	case s.sealed <- sealedFile{full, w.seq}:
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
// It can wait for a batch that needs a new file anyway.
func (w *wal) prove() error {
	w.encode(nil)
	if w.file.pos+alignUp(int64(len(w.batch.buf))) <= w.file.size {
		if err := w.write(); err != nil {
			return err
		}
		w.apply(nil)
	}
	w.bare = false
	return nil
}

// finish is the end of the goroutine at Close. Its batch proves the one before it, as
// that of prove does.
func (w *wal) finish() {
	if w.dirty || len(w.lazy) > 0 {
		w.encode(nil)
		if err := w.write(); err != nil {
			w.store.fail(err)
			return
		}
		w.apply(nil)
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
