package storage

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

const (
	walName        = "wal"
	segName        = "seg"
	checkpointName = "checkpoint"
	damagedName    = "damaged"
)

// Open opens the store in dir, creating it when dir is empty, and recovers:
// it reads the newest checkpoint and the WAL files after it, writes the
// recovered tail again to a new WAL file, and syncs it before it returns.
//
// It fails with [vfs.ErrLocked] when another process has the store open, with
// [ErrForeign] when dir holds something else, and with [ErrDamaged] when no
// checkpoint can be read. Damage that concerns some logs is theirs: see
// [Log.Damaged].
func Open(fs vfs.FS, dir string, opts Options) (*Store, error) {
	opts.setDefaults()
	s := &Store{
		fs: fs, dir: dir, walDir: path.Join(dir, walName), opts: opts,
		logs:    make(map[record.LogID]*Log),
		sealed:  make(chan sealedFile, maxSealed),
		closing: make(chan struct{}),
		cold:    new(coldCache),
	}
	s.segs = &segments{fs: fs, dir: path.Join(dir, segName), walDir: s.walDir, fail: s.fail}
	s.remover = newRemover(s)
	s.segs.remove = s.remover.add
	var err error
	if s.metrics, err = newMetrics(opts.Registerer); err != nil {
		return nil, fmt.Errorf("storage: metrics: %w", err)
	}
	fresh, err := s.claim()
	if err == nil {
		s.look()
		err = s.recover(fresh)
		if err != nil {
			s.segs.closeAll()
			err = errors.Join(err, s.lock.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("storage: open %s: %w", dir, err)
	}
	if opts.Manual {
		return s, nil
	}
	s.remover.background = true
	go s.preparer.run()
	go s.wal.run()
	s.stopped.Go(s.monitor)
	s.stopped.Go(s.remover.run)
	return s, nil
}

// recovery is what Open works with.
type recovery struct {
	*Store
	image  *image // the newest checkpoint
	number uint64 // of its file
	newest uint64 // of the newest file, whole or not
	wals   []uint64
	from   uint64           // the first WAL file that was replayed
	empty  map[uint64]int64 // WAL files without a batch → size
	twins  map[uint64]bool  // WAL files that are another one as well
	replay replay
	listed map[uint64]*segment // with chunks of any log
}

// recover brings back what the store held. Nothing that a later attempt would
// need is changed before the recovered tail is durable in its new file.
func (s *Store) recover(fresh bool) error {
	r := &recovery{Store: s, empty: make(map[uint64]int64), twins: make(map[uint64]bool)}
	r.replay.store, r.replay.hurt = s, make(map[uint64]string)
	for _, name := range []string{walName, segName, checkpointName} {
		if err := s.fs.MkdirAll(s.path(name)); err != nil {
			return err
		}
	}
	if fresh {
		if err := r.create(); err != nil {
			return err
		}
	}
	if err := r.loadCheckpoint(); err != nil {
		return err
	}
	if err := r.replayWAL(fresh); err != nil {
		return err
	}
	if err := r.findTwins(); err != nil {
		return err
	}
	if err := r.rewrite(); err != nil {
		return fmt.Errorf("write the recovered tail again: %w", err)
	}
	if err := r.rename(); err != nil {
		return fmt.Errorf("give the checkpoint a new name: %w", err)
	}
	if fresh {
		if err := s.settle(); err != nil {
			return err
		}
	}
	if err := r.tidyWAL(); err != nil {
		return err
	}
	if err := r.tidyCheckpoints(); err != nil {
		return err
	}
	if err := r.tidySegments(); err != nil {
		return err
	}
	s.flusher = r.newFlusher()
	return nil
}

// create makes the first checkpoint, which says that there is nothing. What an
// earlier attempt left is removed: it never returned from Open.
func (r *recovery) create() error {
	for _, name := range []string{walName, segName, checkpointName} {
		names, err := r.fs.List(r.path(name))
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := r.fs.Remove(r.path(name, n)); err != nil {
				return err
			}
		}
		if err := r.fs.SyncDir(r.path(name)); err != nil {
			return err
		}
	}
	if err := r.fs.SyncDir(r.dir); err != nil {
		return err
	}
	return r.writeImage(1, &image{replayFrom: 1, nextSegment: 1})
}

// loadCheckpoint reads the newest checkpoint that is whole. An older one is only there
// when the power failed before it was removed, and then so is all that it needs.
func (r *recovery) loadCheckpoint() error {
	numbers, err := r.list(checkpointName, checkpointSuffix)
	if err != nil {
		return err
	}
	var failed error
	for _, n := range slices.Backward(numbers) {
		r.newest = max(r.newest, n)
		name := r.path(checkpointName, fileName(n, checkpointSuffix))
		b, err := readFile(r.fs, name)
		if err == nil {
			r.image, err = decodeImage(b)
		}
		if err == nil {
			r.number = n
			r.install()
			return nil
		}
		failed = errors.Join(failed, fmt.Errorf("%w: %s: %w", ErrDamaged, name, err))
	}
	if failed == nil {
		failed = fmt.Errorf("%w: %s holds no checkpoint", ErrDamaged, r.path(checkpointName))
	}
	return failed
}

// install makes the logs as the checkpoint says.
func (r *recovery) install() {
	for i := range r.image.segments {
		r.replay.segment(&r.image.segments[i])
	}
	if r.image.damage != "" {
		r.replay.all = &damageError{what: r.image.damage}
	}
	for i := range r.image.logs {
		li := &r.image.logs[i]
		l := r.log(li.id)
		l.applied, l.appliedTerm, l.compacted, l.checkpoint = li.applied, li.appliedTerm, li.applied, li.checkpoint
		l.awaits = li.awaits
		if li.hard != nil {
			l.hard, l.hasHard = *li.hard, true
		}
		if li.damage != "" {
			l.markDamaged(li.damage)
		}
		l.last = l.applied
		for k := range li.chunks {
			c := r.replay.chunk(&li.chunks[k])
			l.chunks = append(l.chunks, c)
			l.last = max(l.last, c.last)
		}
		setReach(l.chunks)
		l.next = l.nextOffset()
		l.dirty = len(l.chunks) > 0 // to learn what is live
		for _, t := range li.terms {
			if t.first <= l.last { // what is beyond comes from the WAL
				l.terms = append(l.terms, t)
			}
		}
	}
}

// replayWAL reads the WAL files that the checkpoint does not cover.
func (r *recovery) replayWAL(fresh bool) error {
	all, err := r.list(walName, walSuffix)
	if err != nil {
		return err
	}
	r.wals = all
	from, seq, err := r.start(all)
	if err != nil {
		return err
	}
	r.from, r.replay.seq, r.replay.proved = from, seq, r.image.synced
	live := slices.DeleteFunc(slices.Clone(all), func(id uint64) bool { return id < from })
	if !fresh && len(live) == 0 {
		r.replay.missing(from)
	}
	next := from
	for _, id := range live {
		if id != next { // files are made one after the other, so there was one
			r.replay.missing(next)
		}
		next = id + 1
		img, err := readWAL(r.fs, r.path(walName, fileName(id, walSuffix)), r.id, id)
		if err != nil {
			return err
		}
		r.replay.file(img)
		if _, used := img.next(0); !used && len(img.bad) == 0 && id != from {
			r.empty[id] = int64(len(img.buf))
		}
	}
	r.replay.end()
	if r.replay.found || len(r.replay.hurt) > 0 {
		clear(r.empty) // that nothing in a file is whole may be the damage: it is evidence
	}
	r.replay.check()
	return nil
}

// findTwins finds WAL files that are one file under two names. A file that was used again got a new name, and
// where the sync of that failed the old one may come back with a power cut, beside the new one. Under
// neither name must it be used again: what is written there would be written to the other.
// Two files never begin with the same sector, as it holds a CRC seeded with a key of its own.
func (r *recovery) findTwins() error {
	seen := make(map[string]uint64)
	for _, id := range r.wals {
		img, err := readHead(r.fs, r.path(walName, fileName(id, walSuffix)), r.id, id)
		if err != nil {
			return err
		}
		if len(img.buf) < batchHeader || le.Uint32(img.buf) != batchMagic {
			continue // it was never used
		}
		head := string(img.buf)
		if other, ok := seen[head]; ok {
			r.opts.Logger.Warn("a WAL file has two names", "file", fileName(id, walSuffix), "other", fileName(other, walSuffix))
			r.twins[id], r.twins[other] = true, true
		}
		seen[head] = id
	}
	return nil
}

// start finds the first file to replay, and the sequence of the batch before
// it: what the checkpoint says, or a later file that repeats all before it.
func (r *recovery) start(ids []uint64) (from, seq uint64, err error) {
	for _, id := range slices.Backward(ids) {
		if id < r.image.replayFrom {
			break
		}
		img, err := readHead(r.fs, r.path(walName, fileName(id, walSuffix)), r.id, id)
		if err != nil {
			return 0, 0, err
		}
		if seq, ok := img.rebased(); ok {
			return id, seq - 1, nil
		}
	}
	return r.image.replayFrom, r.image.seq, nil
}

// list returns the numbers of the files in a directory of the store, and
// removes those that were never finished.
func (r *recovery) list(dir, suffix string) (numbers []uint64, err error) {
	names, err := r.fs.List(r.path(dir))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if strings.HasSuffix(name, newSuffix) {
			if err := r.fs.Remove(r.path(dir, name)); err != nil {
				return nil, err
			}
		} else if n, ok := fileNumber(name, suffix); ok {
			numbers = append(numbers, n)
		} else {
			return nil, fmt.Errorf("%w: %s does not belong here", ErrForeign, r.path(dir, name))
		}
	}
	return numbers, nil
}

// readFile reads a whole file.
func readFile(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer closeClean(f)
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && err != io.EOF {
		return nil, err
	}
	return b, nil
}

// closeClean closes a file that was only read, or of which all that matters
// is synced: an error of the close has nothing to say.
func closeClean(f io.Closer) { _ = f.Close() }
