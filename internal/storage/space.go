package storage

import (
	"sync"
	"time"
)

const lookEvery = 500 * time.Millisecond

// cause says who found the disk full.
type cause int

const (
	causeWAL cause = iota
	causeFlush
	causeBatch
	causes
)

// space knows whether the disk is nearly full.
type space struct {
	mu   sync.Mutex
	full [causes]bool // an allocation failed
	low  bool         // less is free than the reserve
}

// setFull notes that making a file failed for want of space, or worked.
func (s *Store) setFull(c cause, err error) {
	s.space.mu.Lock()
	was := s.space.full[c]
	s.space.full[c] = err != nil
	s.space.mu.Unlock()
	switch {
	case err != nil && !was:
		s.opts.Logger.Error("the disk is full: waiting for space", "dir", s.dir, "error", err)
	case err == nil && was:
		s.opts.Logger.Info("the disk has space again", "dir", s.dir)
	}
}

// Low reports whether the disk has less free space than the reserve, or was
// found full. The store looks at least every second.
func (s *Store) Low() bool {
	s.space.mu.Lock()
	defer s.space.mu.Unlock()
	low := s.space.low
	for _, full := range s.space.full {
		low = low || full
	}
	return low
}

// look measures the free space.
func (s *Store) look() {
	free, total, err := s.fs.Free(s.dir)
	if err != nil {
		s.opts.Logger.Error("cannot tell the free space", "dir", s.dir, "error", err)
		return
	}
	s.metrics.free.Store(free)
	low := free < s.opts.Reserve
	s.space.mu.Lock()
	was := s.space.low
	s.space.low = low
	s.space.mu.Unlock()
	switch {
	case low && !was:
		s.opts.Logger.Warn("the disk is nearly full", "dir", s.dir, "free", free, "reserve", s.opts.Reserve, "total", total)
	case was && !low:
		s.opts.Logger.Info("the disk has enough space again", "dir", s.dir, "free", free)
	}
}

// monitor is the goroutine that looks.
func (s *Store) monitor() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.look()
			if err := s.preparer.pool.shed(); err != nil {
				s.fail(err)
				return
			}
		case <-s.closing:
			return
		}
	}
}
