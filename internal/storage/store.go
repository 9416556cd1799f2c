package storage

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// maxSealed is how many full WAL files may wait for the flusher. Each keeps
// its entries in memory, so when there are more the WAL waits too.
const maxSealed = 2

// Store is the storage of one node.
type Store struct {
	fs      vfs.FS
	dir     string
	walDir  string
	opts    Options
	lock    io.Closer
	id      string
	metrics *metrics
	segs    *segments
	cold    *coldCache

	mu     sync.RWMutex // protects logs
	logs   map[record.LogID]*Log
	damage *damageError // any log may have lost something; set by the recovery

	wal       *wal
	preparer  *preparer
	flusher   *flusher
	remover   *remover
	space     space
	active    atomic.Uint64 // id of the WAL file that is being written
	filled    fullness      // how full that is
	following following
	synced    atomic.Uint64   // sequence of the last batch that is durable
	written   atomic.Bool     // something was written since the last checkpoint
	sealed    chan sealedFile // from the WAL goroutine to the flusher

	closing  chan struct{}
	closed   sync.Once
	closeErr error
	started  atomic.Bool
	stopped  sync.WaitGroup // monitor, flusher, remover

	failMu sync.Mutex
	failed error
	dead   atomic.Bool // failed is set
}

// sealedFile is a full WAL file.
type sealedFile struct {
	*walFile
	seq   uint64 // of its last batch
	early bool   // it has room, but its entries take too much memory
}

// Start starts the flusher. Until then no checkpoint is asked for; the owners
// of the recovered logs are set up between Open and Start. What is appended
// before waits once a few WAL files are full.
func (s *Store) Start() {
	if s.started.CompareAndSwap(false, true) && !s.opts.Manual {
		s.stopped.Go(s.flusher.run)
	}
}

// Close syncs what is pending, stops all goroutines and closes all files. It
// waits for a call of Options.Checkpoint that is under way. An error says that
// requests were given up, because the disk failed or was full.
func (s *Store) Close() error {
	s.closed.Do(func() {
		close(s.closing)
		s.remover.stop()
		s.wal.stop()
		if !s.opts.Manual {
			<-s.preparer.done
		}
		s.stopped.Wait()
		for len(s.sealed) > 0 {
			f := <-s.sealed
			closeClean(f.file)
		}
		s.segs.closeAll()
		s.failMu.Lock()
		s.closeErr = s.failed
		s.failMu.Unlock()
		if err := s.lock.Close(); err != nil && s.closeErr == nil {
			s.closeErr = err
		}
	})
	return s.closeErr
}

// fail ends the work of the store: nothing is completed any more.
func (s *Store) fail(err error) {
	s.failMu.Lock()
	first := s.failed == nil
	if first {
		s.failed = err
		s.dead.Store(true)
	}
	s.failMu.Unlock()
	if first && !errors.Is(err, ErrClosed) {
		s.opts.Logger.Error("the disk failed", "dir", s.dir, "error", err)
		s.opts.Fatal(fmt.Errorf("storage: %w", err))
	}
}

// alive reports that the store neither failed nor was closed: what it does not
// list is nobody's.
func (s *Store) alive() bool {
	select {
	case <-s.closing:
		return false
	default:
		return !s.dead.Load()
	}
}

// failure is why the store failed, or nil.
func (s *Store) failure() error {
	s.failMu.Lock()
	defer s.failMu.Unlock()
	return s.failed
}

// ID is the random identity that the store was given when it was made.
func (s *Store) ID() string { return s.id }

// Log returns the log with that id, an empty one when there is none yet.
func (s *Store) Log(id record.LogID) *Log {
	s.mu.RLock()
	l := s.logs[id]
	s.mu.RUnlock()
	if l != nil {
		return l
	}
	return s.log(id)
}

func (s *Store) log(id record.LogID) *Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.logs[id]
	if l == nil {
		l = newLog(s, id)
		if s.damage != nil {
			l.damage = *s.damage
		}
		s.logs[id] = l
	}
	return l
}

// Logs lists the logs that hold anything, in increasing order.
func (s *Store) Logs() []record.LogID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	ids := slices.Collect(maps.Keys(s.logs))
	ids = slices.DeleteFunc(ids, func(id record.LogID) bool { return !s.logs[id].holds() || s.logs[id].isDeleted() })
	slices.Sort(ids)
	return ids
}

// holds reports whether the log is more than an empty one. One that is being
// deleted still is: its deletion may not be durable yet.
func (l *Log) holds() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.hasHard || l.last > 1 || l.checkpoint != nil || l.ownDamage() != ""
}

func (l *Log) isDeleted() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.deleted
}

// Holds reports whether the directory has anything of a log. One that is being
// deleted still is there until its deletion is durable.
func (s *Store) Holds(id record.LogID) bool {
	s.mu.RLock()
	l := s.logs[id]
	s.mu.RUnlock()
	return l != nil && (l.isDeleted() || l.holds())
}

// Damaged is [Log.Damaged] of a log, nil of one that the directory does not hold.
func (s *Store) Damaged(id record.LogID) error {
	s.mu.RLock()
	l := s.logs[id]
	s.mu.RUnlock()
	if l == nil {
		return nil
	}
	return l.Damaged()
}

// Delete drops the log and all it holds. Its id must not be used again before
// [Store.Holds] is false. It returns at once; the deletion is written to the WAL
// with the next batch.
func (s *Store) Delete(id record.LogID) {
	l := s.Log(id)
	l.mu.Lock()
	was := l.deleted
	l.deleted = true
	l.mu.Unlock()
	if !was {
		s.wal.add(&Append{Log: l, deletion: true})
	}
}

// drop forgets a log whose deletion is durable. Its segments go with the next checkpoint.
func (s *Store) drop(l *Log) {
	s.mu.Lock()
	if s.logs[l.id] == l {
		delete(s.logs, l.id)
	}
	s.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.deleted = true
	l.truncate(0)
}

// Append queues a request. It does not wait for the disk. The store reads what
// it points to until it is done, and keeps the entries.
func (s *Store) Append(a *Append) { s.wal.add(a) }

// maxBatch bounds a batch of several requests.
func (s *Store) maxBatch() int { return int(min(maxBatch, s.opts.WALFileSize/2)) }

func (s *Store) path(parts ...string) string { return path.Join(append([]string{s.dir}, parts...)...) }
