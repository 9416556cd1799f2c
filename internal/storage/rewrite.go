package storage

import (
	"errors"
	"maps"
	"slices"

	"waybill/internal/vfs"
)

// rewrite writes the recovered tail to a new WAL file. What was read may have
// come from a page cache that a failed sync left clean; and a file that ends in a torn
// batch must not be continued. The file gets its name when it is durable as a whole.
func (r *recovery) rewrite() error {
	id := r.image.replayFrom
	if n := len(r.wals); n > 0 {
		id = max(id, r.wals[n-1]+1)
	}
	s := r.Store
	s.preparer = &preparer{store: s, pool: pool{store: s}, next: make(chan *walFile), freed: make(chan struct{}, 1), done: make(chan struct{}), id: id, size: 2 * firstWAL}
	s.segs.recycle = s.preparer.recycle
	s.wal = &wal{store: s, wake: make(chan struct{}, 1), early: make(chan struct{}, 1), done: make(chan struct{}), seq: r.replay.seq, installs: r.replay.installs}
	name := s.preparer.path(id, walSuffix+newSuffix)
	f, size, err := r.spare(name)
	if err != nil {
		return err
	}
	file := newWALFile(s.id, id, f, size)
	file.pos = sector // for the head
	w := &rewriter{wal: s.wal, file: file}
	w.seq++
	if err = w.logs(r); err == nil {
		err = w.head(r.replay.seq+1, min(firstWAL, s.opts.WALFileSize))
	}
	if err == nil {
		err = s.preparer.publish(name, id)
	}
	if err != nil {
		closeClean(f)
		return errors.Join(err, s.fs.Remove(name))
	}
	if f, err = reopen(s.fs, f, s.preparer.path(id, walSuffix)); err != nil {
		return err
	}
	file.file = f
	s.wal.file = file
	s.active.Store(id)
	for _, l := range s.logs {
		for _, t := range l.tables {
			t.wal = id
		}
		l.installed.wal = id
	}
	return nil
}

// spare opens a file for the recovered tail: the newest WAL file that holds nothing (and is
// not another one as well), or a new one. On a full disk the space that it has already is all there is. It is the newest because
// another one would leave a gap, which after a power cut looks like a file that was lost.
func (r *recovery) spare(name string) (f vfs.File, size int64, err error) {
	var id uint64
	for n := range r.empty {
		id = max(id, n)
	}
	if size = r.empty[id]; size == 0 || r.twins[id] {
		f, err = r.fs.Create(name)
		return f, 0, err
	}
	r.wals = slices.DeleteFunc(r.wals, func(n uint64) bool { return n == id })
	if err := r.fs.Rename(r.path(walName, fileName(id, walSuffix)), name); err != nil {
		return nil, 0, err
	}
	// Should its old name come back with a power cut, the next start would write over what this
	// one has written, under the same number and with the same sequences, and
	// find the rest of it after its own batches.
	if err := r.syncDir(walName); err != nil {
		return nil, 0, err
	}
	f, err = r.fs.Open(name)
	return f, size &^ (sector - 1), err
}

// reopen opens a file under its new name.
func reopen(fs vfs.FS, f vfs.File, name string) (vfs.File, error) {
	if err := f.Close(); err != nil {
		return nil, err
	}
	return fs.Open(name)
}

// rewriter writes batches without syncing each.
type rewriter struct {
	*wal
	file *walFile
}

// logs writes all that was replayed, in the order of the log ids.
func (w *rewriter) logs(r *recovery) error {
	w.batch.reset(w.seq + 1)
	if r.replay.all != nil {
		w.batch.damage(kindDamageAll, 0, r.replay.all.what)
	}
	for _, id := range r.replay.deleted {
		w.batch.deletion(id)
	}
	for _, id := range slices.Sorted(maps.Keys(r.Store.logs)) {
		if err := w.log(r.Store.logs[id]); err != nil {
			return err
		}
	}
	return w.flush()
}

func (w *rewriter) log(l *Log) error {
	if in := l.installed; in.number != 0 {
		c, chunks := &Checkpoint{}, []*chunk(nil)
		if in.cut != noCut {
			c, chunks = l.checkpoint, l.chunks[chunksBelow(l.chunks, in.cut):]
		}
		w.batch.install(l.id, in.number, in.cut, c, chunks)
	}
	if l.fromWAL {
		w.batch.snapshot(l.id, l.checkpoint)
	}
	for _, t := range l.tables {
		items := t.items
		for len(items) > 0 {
			n, bytes := 0, 0
			for n < len(items) && (n == 0 || bytes < maxBatch/4) {
				bytes += entryLen(items[n].e)
				n++
			}
			start := w.batch.begin(kindEntries, l.id)
			for i := range items[:n] {
				w.batch.buf, _ = appendEntry(w.batch.buf, l.seed, items[i].e)
			}
			w.batch.finish(start)
			items = items[n:]
			if len(w.batch.buf) >= maxBatch/2 {
				if err := w.flush(); err != nil {
					return err
				}
			}
		}
	}
	if l.hasHard {
		w.batch.hardState(l.id, l.hard)
	}
	if what := l.ownDamage(); what != "" {
		w.batch.damage(kindDamage, l.id, what)
	}
	return nil
}

// flush writes the batch. Its durable-through is the batch before it: whoever
// sees the file sees all of it.
func (w *rewriter) flush() error {
	b := w.batch.seal(w.file, w.seq, 0)
	if _, err := w.file.file.WriteAt(b, w.file.pos); err != nil {
		return err
	}
	w.file.pos += int64(len(b))
	w.seq++
	w.batch.reset(w.seq + 1)
	return nil
}

// head makes room for more in the file, writes its first batch, and syncs all.
func (w *rewriter) head(seq uint64, room int64) error {
	f := w.file
	size := max(f.size, alignUp(max(room, f.pos+room/2)))
	if from := max(f.size, f.pos); from < size {
		if err := zero(f.file, from, size); err != nil {
			return err
		}
	}
	f.size = size
	w.batch.reset(seq)
	if _, err := f.file.WriteAt(w.batch.seal(f, w.seq, flagRebase), 0); err != nil {
		return err
	}
	w.store.synced.Store(w.seq)
	return f.file.Sync()
}
