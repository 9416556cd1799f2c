package storage

import (
	"encoding/binary"
	"fmt"
	"time"

	"waybill/internal/record"
)

// written is a batch in the file, until it is synced and applied.
type written struct {
	reqs  []*Append
	lazy  []lazyState
	crcs  []uint32 // of the entries
	at    []place  // of those of each request, counted from where the batch begins
	file  *walFile
	seq   uint64
	base  int64 // where in the file it begins
	bytes int64 // that it takes there; 0: there was nothing to write
}

// lazyState is a hard state that rode along.
type lazyState struct {
	log  *Log
	hard hardState
}

// reset forgets the batch, to be filled again.
func (b *written) reset() {
	if cap(b.crcs) > maxBatch/64 { // after a very large one
		*b = written{}
		return
	}
	clear(b.reqs)
	clear(b.lazy)
	*b = written{reqs: b.reqs[:0], lazy: b.lazy[:0], crcs: b.crcs[:0], at: b.at[:0]}
}

// encode encodes the requests of a batch, and the hard states that wait: room bytes, at most.
func (w *wal) encode(b *written, room int64) {
	if cap(w.batch.buf) > 4*maxBatch { // after a very large request
		w.batch.buf = nil
	}
	w.batch.grow(int(room))
	w.batch.reset(w.seq + 1)
	for _, a := range b.reqs {
		if a.Err = a.refused(); a.Err == nil {
			w.encodeOne(b, a)
		}
	}
	for _, l := range w.lazy {
		if l.hasLazy {
			w.batch.hardState(l.id, l.lazy)
			b.lazy = append(b.lazy, lazyState{l, l.lazy})
			l.hasLazy = false
		}
	}
	w.lazy = w.lazy[:0]
}

func (w *wal) encodeOne(b *written, a *Append) {
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
		start := int64(len(w.batch.buf) + recordHeader)
		b.crcs = w.batch.shared(l, a.Entries, a.Shared, &w.known, w.file.pos, b.crcs)
		b.at = append(b.at, place{pos: start, raw: int64(len(w.batch.buf)-sealLen) - start})
	case len(a.Entries) > 0:
		b.at = append(b.at, place{pos: int64(len(w.batch.buf) + recordHeader)})
		b.crcs = w.batch.entries(l, a.Entries, b.crcs)
	}
	w.store.following.wrote(l, a.Entries)
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

// write writes the batch that is encoded. Its durable-through is what was synced by now: batches
// that are written ahead follow each other without it growing.
func (w *wal) write(b *written) error {
	need := alignUp(int64(len(w.batch.buf)))
	if w.file.pos+need > w.file.size {
		if w.batch.placed || len(w.unsynced) > 0 {
			panic(fmt.Sprintf("storage: a batch of %d bytes does not fit where it was encoded for", need))
		}
		if err := w.roll(need); err != nil {
			return err
		}
	}
	f := w.file
	buf := w.batch.seal(f, w.store.synced.Load(), 0)
	start := time.Now()
	if err := w.writeBatch(buf); err != nil {
		return err
	}
	w.seq++
	b.seq, b.base, b.bytes = w.seq, f.pos, int64(len(buf))
	f.pos += b.bytes
	w.store.filled.set(max(f.pos, w.held*f.size/w.mostHeld()), f.size)
	m := w.store.metrics
	m.write.Observe(time.Since(start).Seconds())
	m.batchBytes.Observe(float64(b.bytes))
	m.batchEntries.Observe(float64(len(b.crcs)))
	m.walBytes.Add(float64(b.bytes))
	if f.direct {
		m.direct.Add(float64(b.bytes))
	}
	return nil
}

// sync makes batches durable with one sync. After an error nothing
// may be written any more: a sync that is repeated would lie.
func (w *wal) sync(batches []*written) error {
	var last *written
	bytes := int64(0)
	for _, b := range batches {
		if b.bytes > 0 {
			last = b
			bytes += b.bytes
		}
	}
	if last == nil {
		return nil
	}
	f := last.file
	start := time.Now()
	if err := syncBatch(f); err != nil {
		return fmt.Errorf("sync of the WAL, %s: %w", f.file.Name(), err)
	}
	w.store.metrics.fsync.Observe(time.Since(start).Seconds())
	w.dirty, w.bare = true, true
	w.store.synced.Store(last.seq)
	w.store.segs.walBatch.Store(bytes)
	w.store.written.Store(true)
	return nil
}

// apply makes the requests of a batch visible in the logs.
func (w *wal) apply(b *written) {
	for _, z := range b.lazy {
		z.log.mu.Lock()
		z.log.hard, z.log.hasHard = z.hard, true
		z.log.mu.Unlock()
	}
	crcs, at := b.crcs, b.at
	for _, a := range b.reqs {
		if a.Err != nil {
			continue
		}
		var lies place
		if len(a.Entries) > 0 {
			lies, at = at[0], at[1:]
			lies.pos += b.base
		}
		w.applyOne(b.file.id, a, lies, crcs)
		crcs = crcs[len(a.Entries):]
	}
}

// applyOne makes a request visible whose entries lie at a place in a WAL file.
func (w *wal) applyOne(file uint64, a *Append, at place, crcs []uint32) {
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
		w.install(file, a.Stage)
	}
	if len(a.Entries) > 0 {
		if i := a.Entries[0].GetIndex(); record.Index(i) <= l.applied || record.Index(i) > l.last+1 {
			panic(fmt.Sprintf("storage: log %d: append at index %d, of (%d, %d]", l.id, i, l.applied, l.last))
		}
		if err := l.append(file, at, a.Entries, crcs); err != nil {
			panic(err)
		}
	}
	if a.HardState != nil {
		l.hard, l.hasHard, l.dirty = newHardState(a.HardState), true, true
	}
}

// install makes a stage the log, whose mu is locked.
func (w *wal) install(file uint64, st *Stage) {
	l := st.log
	l.install(st.cut, st.state, st.chunks)
	l.installed = installation{number: st.number, wal: file, cut: noCut}
	l.staging = false
	w.store.segs.install(st.segs)
	for _, seg := range st.segs {
		seg.release()
	}
	st.installed = true
}
