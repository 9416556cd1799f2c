package storage

import (
	"errors"
	"fmt"
	"os"
	"path"
)

// rename gives the newest checkpoint another name, and makes that durable, before anything that
// an older one needs is removed: the sync of the name that it has may have failed, and then the name is
// seen as long as the power lasts. It takes no space.
func (r *recovery) rename() error {
	if r.number != r.newest {
		return nil
	}
	now := r.number + 1
	if err := r.fs.Rename(r.path(checkpointName, fileName(r.number, checkpointSuffix)), r.path(checkpointName, fileName(now, checkpointSuffix))); err != nil {
		return err
	}
	r.number, r.newest = now, now
	return r.syncDir(checkpointName)
}

// tidyWAL has the files that nothing is in, and those that were replayed, used again. When there is damage the latter
// are set aside.
// Those that are kept are segments.
func (r *recovery) tidyWAL() error {
	r.listed = r.listSegments()
	kept := keptFiles(r.listed)
	for _, id := range r.wals {
		if kept[id] != nil {
			continue
		}
		name := r.path(walName, fileName(id, walSuffix))
		evidence := r.replay.found && (id >= r.from || r.number != r.newest)
		if _, hurt := r.replay.hurt[id]; hurt || evidence {
			if err := r.setAside(name); err != nil {
				return err
			}
			continue
		}
		if r.twins[id] {
			if err := r.fs.Remove(name); err != nil {
				return err
			}
			continue
		}
		fi, err := r.fs.Stat(name)
		if err != nil {
			return err
		}
		if err := r.preparer.recycle(name, fi.Size()); err != nil {
			return err
		}
	}
	return r.fs.SyncDir(r.walDir)
}

// setAside moves a damaged file to where an operator finds it.
func (r *recovery) setAside(name string) error {
	dir := r.path(damagedName)
	if err := r.fs.MkdirAll(dir); err != nil {
		return err
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		return err
	}
	to := path.Join(dir, path.Base(name))
	r.opts.Logger.Error("damaged WAL file set aside", "from", name, "to", to)
	if err := r.fs.Rename(name, to); err != nil {
		return err
	}
	return r.fs.SyncDir(dir)
}

// tidyCheckpoints removes all but the newest.
func (r *recovery) tidyCheckpoints() error {
	numbers, err := r.list(checkpointName, checkpointSuffix)
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if n != r.number && r.trusted() {
			if err := r.fs.Remove(r.path(checkpointName, fileName(n, checkpointSuffix))); err != nil {
				return err
			}
		}
	}
	return nil
}

// listSegments returns the segments that hold anything of a log.
func (r *recovery) listSegments() map[uint64]*segment {
	listed := make(map[uint64]*segment)
	for _, l := range r.logs {
		for _, c := range l.chunks {
			listed[c.seg.number] = c.seg
		}
	}
	return listed
}

// tidySegments removes what no checkpoint lists: the remains of a flush that
// was not finished. When the metadata are not to be trusted nothing is removed.
func (r *recovery) tidySegments() error {
	numbers, err := r.list(segName, segSuffix)
	if err != nil {
		return err
	}
	sizes := make(map[uint64]int64)
	r.segs.next = r.image.nextSegment
	for _, n := range numbers {
		r.segs.next = max(r.segs.next, n+1)
		name := r.path(segName, fileName(n, segSuffix))
		s := r.listed[n]
		if s != nil && s.wal != 0 {
			s = nil // which has that number, and another file
		}
		if s == nil && r.trusted() {
			err = r.fs.Remove(name)
		} else if s != nil {
			sizes[n], err = r.cut(name, s.size)
		}
		if err != nil {
			return err
		}
	}
	for n, s := range r.listed {
		if s.wal == 0 {
			continue
		}
		fi, err := r.fs.Stat(s.name())
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if sizes[n] = fi.Size(); fi.Size() > s.size && r.trusted() {
			if err := r.remover.shorten(s.name(), s.size); err != nil { // which was not finished
				return err
			}
			sizes[n] = s.size
		}
	}
	for _, l := range r.logs {
		l.missing(sizes)
	}
	return nil
}

// trusted reports whether the checkpoint and the WAL fit together.
func (r *recovery) trusted() bool { return r.replay.all == nil && r.number == r.newest }

// cut makes a segment as long as the checkpoint says, if it is longer.
func (r *recovery) cut(name string, want int64) (size int64, err error) {
	fi, err := r.fs.Stat(name)
	if err != nil {
		return 0, err
	}
	if fi.Size() <= want || !r.trusted() {
		return fi.Size(), nil
	}
	f, err := r.fs.Open(name)
	if err != nil {
		return 0, err
	}
	if err = f.Truncate(want); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return want, err
}

// missing marks a log of which a segment is missing or too short.
func (l *Log) missing(sizes map[uint64]int64) {
	for _, c := range l.chunks {
		size, ok := sizes[c.seg.number]
		switch {
		case !ok:
			_ = l.rots(fmt.Errorf("%w: log %d: %s is missing", ErrDamaged, l.id, c.seg.name()))
		case size < c.fileEnd():
			_ = l.rots(fmt.Errorf("%w: log %d: %s ends at %d, its chunk at position %d at %d", ErrDamaged, l.id, c.seg.name(), size, c.pos, c.fileEnd()))
		}
	}
}

// newFlusher makes the flusher, which goes on from the recovered checkpoint.
func (r *recovery) newFlusher() *flusher {
	f := &flusher{
		Store: r.Store, number: r.newest, file: r.number, segments: r.listed, last: r.opts.Now(),
		image: imageHead{r.image.replayFrom, r.image.seq},
	}
	for _, seg := range r.listed {
		if l := r.logs[seg.owner]; l != nil && !seg.shared && seg.size < r.opts.SegmentSize {
			l.own = seg
		}
	}
	return f
}
