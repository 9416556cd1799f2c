package storage

import "fmt"

// Step does a piece of the work of a Manual store: one checkpoint, or one batch
// of the WAL. It returns false when there is nothing to do, or nothing can be done
// because the disk is full. What was appended is done when a later Step says so by
// its Append.Done, or never, when the disk fails.
func (s *Store) Step() bool {
	if s.dead.Load() {
		return false
	}
	s.look()
	if err := s.preparer.pool.shed(); err != nil {
		s.fail(err)
		return false
	}
	if s.started.Load() && s.stepFlusher() {
		return true
	}
	return s.preparer.step() && s.wal.step()
}

// stepFlusher is one round of flusher.run.
func (s *Store) stepFlusher() bool {
	f := s.flusher
	for len(s.sealed) > 0 {
		f.waiting = append(f.waiting, <-s.sealed)
	}
	before := len(f.waiting)
	if before == 0 && !f.due() {
		return false
	}
	f.waiting = f.flush(f.waiting)
	return before == 0 || len(f.waiting) < before
}

// step makes the next WAL file, unless it is there; false when there is no space.
func (p *preparer) step() bool {
	if p.made != nil {
		return true
	}
	f, err := p.make()
	switch {
	case err == nil:
		p.made = f
		p.store.setFull(causeWAL, nil)
		return true
	case noSpace(err):
		p.store.setFull(causeWAL, err)
	default:
		p.store.fail(fmt.Errorf("prepare a WAL file: %w", err))
	}
	return false
}

// step is process for one batch, which takes one WAL file at most. One more is written ahead, when
// there is one, before the sync.
func (w *wal) step() bool {
	w.mu.Lock()
	n, room, _ := w.next()
	w.mu.Unlock()
	if n == 0 && len(w.unsynced) == 0 || n > 0 && !w.preparer().enlarge(room) {
		return false
	}
	wrote, err := w.writeNext()
	if n := len(w.unsynced); err == nil && n > 0 && !(wrote && n == 1 && len(w.queue) > 0) {
		err = w.settle(w.begin())
	}
	if err != nil {
		w.store.fail(err)
		return false
	}
	return true
}

// enlarge makes the next WAL file large enough for a batch, which then needs not wait for
// the space (makeRoom); false when there is none.
func (p *preparer) enlarge(size int64) bool {
	if p.made.size >= size {
		return true
	}
	err := p.made.extend(size)
	switch {
	case err == nil:
		p.store.setFull(causeBatch, nil)
		return true
	case noSpace(err):
		p.store.setFull(causeBatch, err)
	default:
		p.store.fail(fmt.Errorf("extend a WAL file: %w", err))
	}
	return false
}

// finishManual is the end of wal.run.
func (w *wal) finishManual() {
	defer close(w.done)
	for !w.store.dead.Load() && w.preparer().step() && w.step() {
		for len(w.store.sealed) > 0 {
			closeClean((<-w.store.sealed).file) // it will be replayed
		}
	}
	if !w.store.dead.Load() && w.preparer().made != nil {
		w.finish()
	}
	if f := w.preparer().made; f != nil {
		closeClean(f.file)
	}
	closeFiles(w.store.flusher.waiting)
}

func (w *wal) preparer() *preparer { return w.store.preparer }
