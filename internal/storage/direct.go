package storage

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/raft/v3/raftpb"
)

// DirectIO says when WAL files are written past the page cache.
//
// The system's page cache is for what is read again. Entries are in memtables, and where consumers keep
// up they have read what is in a WAL file before it is full: nobody will read that soon. Then the next file is written past
// the page cache (direct I/O). That saves a copy of all that is written, and the search for memory in which to keep
// it. When consumers lag, or there are none, what they will come back for is written through the page cache,
// so that they need not read it from the disk; and for a while longer, as those who lag once, such as a job that comes
// every few minutes, do so again. But who lags by more than the page cache can hold ([Options.CacheBytes]) will find nothing there
// of what is written now; it would only push out what he is about to read.
//
// It is a guess, of how the last file was read. Nothing but the speed depends on it.
type DirectIO uint8

const (
	AutoDirect   DirectIO = iota // while consumers keep up, or are far behind
	AlwaysDirect                 // whoever reads
	NeverDirect
)

const (
	followedShare = 3.0 / 4   // of what was appended, at least: it was read while it was in memory
	behindShare   = 1.0 / 8   // of what was appended, at most: so much was read from files, not far behind
	behindTime    = time.Hour // so long after more was read from files, all goes through the page cache
)

// following is what was read while a WAL file was written. Counted are bytes of data.
type following struct {
	appended int64        // of entries that hold messages; protected by wal.turn
	read     atomic.Int64 // of them, by consumers, from memory, for the first time; and all of logs that are read far behind
	behind   atomic.Int64 // by consumers and other replicas, from files, not far behind
	files    atomic.Int64 // counts WAL files

	// Protected by wal.turn.
	cachedUntil time.Time // no file is written past the page cache until then
	refused     bool      // nor ever: it cannot be done
}

// decide says whether the next file is to be written past the page cache, and begins to count anew.
func (f *following) decide(now time.Time) bool {
	appended, read, behind := float64(f.appended), float64(f.read.Swap(0)), float64(f.behind.Swap(0))
	f.appended = 0
	f.files.Add(1)
	if behind > behindShare*appended {
		f.cachedUntil = now.Add(behindTime)
	}
	return !now.Before(f.cachedUntil) && appended > 0 && read >= followedShare*appended
}

// wrote counts entries of l that a batch holds.
func (f *following) wrote(l *Log, entries []*raftpb.Entry) {
	bytes := int64(0)
	for _, e := range entries {
		if _, count := offsets(e, 0); count > 0 {
			bytes += int64(len(e.Data))
		}
	}
	f.appended += bytes
	if l.readFarBehind() {
		f.read.Add(bytes)
	}
}

// readFarBehind reports whether somebody read the log far behind its end while the WAL file was written, or the one before it.
func (l *Log) readFarBehind() bool { return l.far.Load() > l.store.following.files.Load() }

// lag counts what was read of chunk c from its file.
func (l *Log) lag(c *chunk, bytes int64) {
	f := &l.store.following
	if cache := l.store.opts.CacheBytes; cache > 0 && l.behind(c, cache) {
		l.far.Store(f.files.Load() + 2)
		return
	}
	f.behind.Add(bytes)
}

// behind reports whether more than so many bytes lie in the chunks after c.
func (l *Log) behind(c *chunk, bytes int64) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := len(l.chunks) - 1; i >= 0 && l.chunks[i].first > c.first; i-- {
		if bytes -= l.chunks[i].data; bytes < 0 {
			return true
		}
	}
	return false
}

// follow counts entries that a consumer read from memory.
func (l *Log) follow(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	last := entries[len(entries)-1].GetIndex()
	for {
		seen := l.seen.Load()
		if last <= seen {
			return
		}
		if !l.seen.CompareAndSwap(seen, last) {
			continue // another consumer came further meanwhile
		}
		bytes := 0
		for i := len(entries) - 1; i >= 0 && entries[i].GetIndex() > seen; i-- {
			bytes += len(entries[i].Data)
		}
		if l.readFarBehind() {
			return // they count already
		}
		l.store.following.read.Add(int64(bytes))
		return
	}
}

// setDirect has the file written past the page cache, or no longer.
func (f *walFile) setDirect(on bool) error {
	if f.direct == on {
		return nil
	}
	if err := f.file.SetDirect(on); err != nil {
		return fmt.Errorf("direct I/O of %s: %w", f.file.Name(), err)
	}
	f.direct = on
	return nil
}

// writeBatch writes whole sectors of aligned memory at the file's end. Where the file system or the disk, which may have larger
// sectors, cannot do direct I/O they go through the page cache, and so does all that follows.
func (w *wal) writeBatch(b []byte) error {
	f := w.file
	_, err := f.file.WriteAt(b, f.pos)
	if err != nil && f.direct && noDirect(err) {
		w.refused(err)
		if err := f.setDirect(false); err != nil {
			return err
		}
		_, err = f.file.WriteAt(b, f.pos)
	}
	if err != nil {
		return fmt.Errorf("write to the WAL, %s: %w", f.file.Name(), err)
	}
	return nil
}

// noDirect reports whether the error of a write may be one of direct I/O alone.
func noDirect(err error) bool {
	return errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported)
}

// refused has everything go through the page cache from now on.
func (w *wal) refused(err error) {
	w.store.following.refused = true
	w.store.opts.Logger.Info("this disk or file system cannot do direct I/O: the write-ahead log goes through the page cache", "dir", w.store.walDir, "error", err)
}

// chooseCache decides how a new file is written.
func (w *wal) chooseCache(f *walFile) {
	s := w.store
	direct := s.following.decide(s.opts.Now())
	if s.following.refused || s.opts.DirectIO == NeverDirect || s.opts.DirectIO == AutoDirect && !direct {
		return
	}
	if err := f.setDirect(true); err != nil { // a file system that cannot, or a sandbox that does not allow it
		w.refused(err)
	}
}
