package storage

// aheadLeast is how many bytes have to wait before they are written ahead. What is less is left
// to gather: each batch begins in a sector of its own.
const aheadLeast = 64 << 10

// runAhead is the goroutine that writes batches while those before them are synced. When that
// sync is done, what has come meanwhile is in the file, or most of it, and the next sync begins at once.
func (w *wal) runAhead(end <-chan struct{}) {
	for {
		select {
		case <-w.early:
		case <-end:
			return
		}
		w.writeAhead()
	}
}

func (w *wal) writeAhead() {
	w.turn.Lock()
	defer w.turn.Unlock()
	for w.isAheadDue() {
		ok, err := w.writeNext()
		if err != nil {
			w.store.fail(err) // before anybody writes a batch in the place of this one
		}
		if !ok {
			return
		}
	}
}

// isAheadDue reports that there is enough to be written ahead. Without a batch that is not applied
// yet it would not be ahead of anything.
func (w *wal) isAheadDue() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.unsynced) > 0 && w.isEnough()
}

// isEnough is called with mu locked.
func (w *wal) isEnough() bool { return w.busy && w.queued >= min(aheadLeast, w.store.maxBatch()/8) }

// setBusy says whether batches are being synced.
func (w *wal) setBusy(busy bool) {
	w.mu.Lock()
	w.busy = busy
	early := w.isEnough()
	w.mu.Unlock()
	if early {
		w.notifyEarly()
	}
}

func (w *wal) notifyEarly() {
	select {
	case w.early <- struct{}{}:
	default: // it will look anyway
	}
}

// most is how many requests of the queue go into the next batch. In a Manual store
// it is half of them where the other half can be written ahead.
func (w *wal) most() int {
	n := len(w.queue)
	if w.store.opts.Manual && len(w.unsynced) == 0 && w.hasRoom(int64(w.queued)+4*sector) {
		n = (n + 1) / 2
	}
	return n
}
