package storage

import (
	"errors"
	"fmt"
	"time"

	"waybill/internal/record"
)

const (
	lookFlush  = time.Second      // how often the flusher looks whether a checkpoint is due
	lowEvery   = 5 * time.Second  // between checkpoints on a disk that is nearly full
	reclaimAge = 60 * time.Second // between checkpoints while there are segments to reclaim
)

// flusher is the goroutine that makes checkpoints. Each does all of this:
//
//  1. ask the owners of the logs that changed for their state;
//  2. keep the full WAL files of which most is live as segments, write what is live in the
//     memtables of the others to segments, and rewrite a bounded
//     share of what is live in segments that are mostly dead;
//  3. sync the segments, then write and sync the checkpoint that lists them;
//  4. only then let go of memtables, dead segments, and WAL files.
//
// What is written before a failure or a power cut is listed by no checkpoint and is
// removed. One is made when a WAL file is full; and, because consumers that
// empty a backlog write little, now and then when there is something to reclaim.
type flusher struct {
	*Store
	number   uint64 // of the newest checkpoint
	file     uint64 // of the newest that is whole
	image    imageHead
	segments map[uint64]*segment // listed by the newest checkpoint
	shared   *segment            // takes the next remnants; nil: a new one
	last     time.Time           // of the newest checkpoint
	own, rem segWriter           // reused buffers: own segments, remnants

	waiting []sealedFile // of a Manual store
}

// imageHead is what a checkpoint says beside logs and segments.
type imageHead struct {
	replayFrom, seq uint64
}

func (f *flusher) run() {
	tick := time.NewTicker(lookFlush)
	defer tick.Stop()
	var files []sealedFile
	for {
		select {
		case <-f.closing:
			closeFiles(files)
			return
		case file := <-f.sealed:
			files = append(files, file)
		case <-tick.C:
			if len(files) == 0 && !f.due() {
				continue
			}
		}
		for len(f.sealed) > 0 {
			files = append(files, <-f.sealed)
		}
		if files = f.flush(files); f.failure() != nil {
			closeFiles(files)
			return
		}
	}
}

func closeFiles(files []sealedFile) {
	for _, f := range files {
		closeClean(f.file)
	}
}

// due reports whether a checkpoint would reclaim something.
func (f *flusher) due() bool {
	if !f.written.Load() || len(f.segments) == 0 {
		return false
	}
	age := f.opts.Now().Sub(f.last)
	return age >= reclaimAge || f.Low() && age >= lowEvery
}

// flush makes a checkpoint that replaces the files, and returns those that are
// still needed: all of them when the disk is full. The caller tries again later.
func (f *flusher) flush(files []sealedFile) []sealedFile {
	err := f.checkpoint(files)
	if noSpace(err) {
		f.setFull(causeFlush, err)
		if len(files) == 0 {
			return nil
		}
		// What does not need the space of the memtables may free some.
		if err := f.preparer.pool.shed(); err != nil {
			f.fail(err)
			return files
		}
		f.remover.wait() // what was not finished has some, too
		if err = f.checkpoint(nil); noSpace(err) {
			return files
		}
		if err == nil {
			return files
		}
	}
	if err != nil {
		f.fail(fmt.Errorf("checkpoint: %w", err))
		return files
	}
	f.setFull(causeFlush, nil)
	return nil
}

// checkpoint makes one checkpoint.
func (f *flusher) checkpoint(files []sealedFile) error {
	f.written.Store(false)
	p := f.newPlan(files)
	p.ask()
	p.arrange()
	err := p.write()
	if err == nil {
		err = f.writeImage(f.number+1, p.image())
	}
	if err != nil {
		f.written.Store(true)
		if noSpace(err) {
			return p.abandon(err)
		}
		// The process ends. The checkpoint may have its name already, and then
		// the next start needs what it lists.
		return err
	}
	dead := p.commit()
	return f.release(files, dead)
}

// release lets go of what the newest checkpoint made superfluous: first the one before it, then what only that has listed.
func (f *flusher) release(files []sealedFile, dead []*segment) error {
	kept := keptFiles(f.segments)
	old := f.path(checkpointName, fileName(f.file, checkpointSuffix))
	if err := f.fs.Remove(old); err != nil {
		return err
	}
	f.file = f.number
	for _, file := range files {
		name := f.preparer.path(file.id, walSuffix)
		if err := file.file.Close(); err != nil {
			return err
		}
		if s := kept[file.id]; s != nil {
			if err := f.shorten(file, s); err != nil {
				return err
			}
			continue
		}
		f.preparer.early.Store(0)
		if err := f.preparer.recycle(name, file.size); err != nil {
			return err
		}
	}
	for _, s := range dead {
		s.drop()
	}
	f.preparer.retry()
	return nil
}

// shorten gives back what of a file that is kept was not written, when that is much, and has the next one made with less.
func (f *flusher) shorten(file sealedFile, s *segment) error {
	f.preparer.early.Store(0)
	if file.early {
		f.preparer.early.Store(file.pos)
	}
	if !s.short {
		return nil
	}
	return f.remover.shorten(s.name(), s.size)
}

// keptFiles are the WAL files among segments, by their ids.
func keptFiles(segs map[uint64]*segment) map[uint64]*segment {
	kept := make(map[uint64]*segment)
	for _, s := range segs {
		if s.wal != 0 {
			kept[s.wal] = s
		}
	}
	return kept
}

// writeImage writes a checkpoint file: under a temporary name, synced, then
// renamed, and the rename synced.
func (s *Store) writeImage(n uint64, m *image) error {
	name := s.path(checkpointName, fileName(n, checkpointSuffix))
	f, err := s.fs.Create(name + newSuffix)
	if err != nil {
		return err
	}
	b := m.encode()
	if _, err = f.WriteAt(b, 0); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		err = fmt.Errorf("write %s: %w", name, err)
		return errors.Join(err, s.fs.Remove(name+newSuffix))
	}
	s.metrics.ckptBytes.Add(float64(len(b)))
	s.metrics.checkpoints.Inc()
	if err := s.fs.Rename(name+newSuffix, name); err != nil {
		return err
	}
	return s.syncDir(checkpointName)
}

// syncDir makes the names in a directory of the store durable.
func (s *Store) syncDir(name string) error {
	if err := s.fs.SyncDir(s.path(name)); err != nil {
		return mustNotRetry{err}
	}
	return nil
}

// newSegment makes a segment.
func (p *plan) newSegment(owner record.LogID, shared bool) (*segment, error) {
	s, err := p.f.segs.make(owner, shared)
	if err != nil {
		return nil, err
	}
	p.created = append(p.created, s)
	return s, nil
}
