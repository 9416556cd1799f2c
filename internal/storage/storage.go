// Package storage keeps the raft logs of a node on its disk: one write-ahead
// log shared by all of them, memtables, segments and checkpoints.
//
// # Promise
//
// When Append.Done is called, what was appended survives a power cut. After a
// restart every log is as the appends that were done left it; of what
// was not done it may hold a whole number of requests, never half of one. What
// the disk damages of that is reported by [ErrDamaged] and never skipped.
//
// # The way of an entry
//
//	Append → queue → WAL goroutine: one write, one sync for all that waits
//	       → memtable (readable) → Done
//	WAL file full → flusher: live entries to segments, checkpoint, WAL file recycled
//	             or, when most of it is live: checkpoint, WAL file kept as a segment
//
// An entry that is dead when its WAL file is full was written exactly once, and so was one in a file that is kept.
// The files and their bytes are described in docs/storage.md.
//
// # Goroutines
//
//   - the WAL goroutine (wal.go) writes batches, syncs them, and is the only one that changes what a log
//     holds at its end;
//   - while it syncs, another one (ahead.go) writes the batches that come next;
//   - the flusher (flush.go) moves entries from memtables to segments, rewrites
//     segments, and is the only one that changes what a log holds at its beginning;
//   - the preparer (walfile.go) makes the next WAL file ready;
//   - the remover (remover.go) removes files that no checkpoint needs any more, and cuts some off;
//   - the monitor (space.go) looks at the free space, on which depends how many free WAL files the pool (pool.go) keeps.
//
// Any goroutine may read. With Options.Manual there are none of these, and
// Store.Step (manual.go) does their work.
//
// # Locks
//
// In the order in which they may be taken:
//
//   - Store.mu protects the map of logs.
//   - Log.mu protects all that a log holds. Nobody does I/O or computes a
//     checksum under it: a reader takes slices and references under a read
//     lock and works on them after. This is sound because what it takes never changes: the items of
//     a table are only ever appended, a truncation caps the slice so that the next
//     append moves to a new array, and a chunk is immutable but for its upper limit, which is
//     read under the lock.
//   - segments.mu protects the open files and reference counts of segments.
//   - wal.turn is held by whoever makes a batch, from the queue to the file. What is written is
//     synced and applied without it.
//   - The queues of the WAL and of the remover, the pool, the cache of cold pieces and the metrics have leaf locks.
//
// What a read returns is never changed, but for what was borrowed ([Log.Borrow]): its memory is
// read into again after [Loan.Release].
package storage

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

var (
	// ErrNotFound: the log holds no entry with that index or offset (it is
	// beyond the end, or was dropped as dead).
	ErrNotFound = errors.New("storage: not found")
	// ErrCold: the entry is on disk only, and the call was told not to read the disk.
	ErrCold = errors.New("storage: entry is not in memory")
	// ErrDamaged: what is stored does not match its checksum. It is wrapped
	// in an error that names the file and the position.
	ErrDamaged = errors.New("storage: damaged")
	// ErrClosed: the store was closed, or failed.
	ErrClosed = errors.New("storage: closed")
	// ErrForeign: the directory is not empty and not a store, or one of a
	// format that this version cannot read.
	ErrForeign = errors.New("storage: not a directory of this store")
)

// Options configure a Store. The zero value of a field means its default.
type Options struct {
	WALFileSize int64 // bytes of one WAL file, 128 MiB
	SegmentSize int64 // bytes at which a log starts a new segment, 256 MiB

	// Checkpoint asks the owner of a log for its state. The flusher goroutine
	// calls it for each log that changed since the last checkpoint, and waits;
	// ok is false when the log has no owner at the moment: its previous
	// checkpoint stays and all its entries are kept.
	Checkpoint func(record.LogID) (c Checkpoint, ok bool)

	// Fatal is called once when the disk failed in a way that must not be
	// retried (a failed sync); it must end the process. After it no
	// Append is ever completed. nil: panic.
	Fatal func(error)

	// Reserve is the free disk space, in bytes, below which Low reports true;
	// by default three WAL files.
	Reserve uint64

	// DirectIO says when the WAL is written past the system's page cache; see direct.go.
	DirectIO DirectIO
	// CacheBytes is how much the page cache is taken to hold of what consumers have not read yet; 0: everything.
	CacheBytes int64

	// Manual leaves out the goroutines: the store works when Step is called. For
	// simulations, in which one seed must give one run.
	Manual bool
	Now    func() time.Time // default time.Now

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not registered

	proveAfter time.Duration // how long the WAL is idle before it proves its last batch; 1 s
}

func (o *Options) setDefaults() {
	if o.WALFileSize <= 0 {
		o.WALFileSize = 128 << 20
	}
	o.WALFileSize = alignUp(o.WALFileSize)
	if o.SegmentSize <= 0 {
		o.SegmentSize = 256 << 20
	}
	if o.Checkpoint == nil {
		o.Checkpoint = func(record.LogID) (Checkpoint, bool) { return Checkpoint{}, false }
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.Reserve == 0 {
		o.Reserve = 3 * uint64(o.WALFileSize)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.proveAfter == 0 {
		o.proveAfter = time.Second
	}
}

// Checkpoint is the state of one log's machine, complete up to Applied.
type Checkpoint struct {
	Applied   record.Index
	Term      uint64            // term of the entry at Applied
	ConfState *raftpb.ConfState // membership at Applied
	State     []byte            // the machine's snapshot
	// Live reports whether any offset in [from, to) is still needed. Entries
	// at or below Applied in which nothing is live are dropped. It is a frozen
	// view: the flusher and the compactor call it from their own goroutines,
	// until the next checkpoint of the log. nil: nothing at or below Applied is.
	Live func(from, to record.Offset) bool
	// Retain is the lowest index that raft may still read, although the machine
	// has applied it, because a follower lags: entries from there on are kept,
	// whole and in memory or on disk, until a later checkpoint lets them go or the
	// store is opened again. 0 or above Applied: Applied+1.
	Retain record.Index
}

// Append is one request to the WAL: what one MsgStorageAppend carries.
type Append struct {
	Log       *Log
	HardState *raftpb.HardState // nil: unchanged
	Entries   []*raftpb.Entry   // contiguous; an index that exists replaces it and all after it
	Shared    [][]Span          // nil, or what of each of Entries other logs hold, too; in order, without overlap
	Snapshot  *raftpb.Snapshot  // nil, or replaces the whole log up to its index
	Stage     *Stage            // nil, or sealed: replaces the log as a snapshot does, and brings the entries that are still needed
	// Sync asks for Done only after a sync. Without it (a changed commit index
	// alone) the request rides along with the next batch and Done comes at once.
	// A request with entries, a snapshot or a stage is always synced.
	Sync bool
	// Done is called once it is durable, from the WAL goroutine, in the order
	// of the requests; it must not block.
	Done Completion

	// Err is set before Done is called: nil, or why nothing was stored: ErrDamaged
	// when the log is damaged, ErrNotFound when it was deleted, ErrHeld when a stage
	// has nothing that the log lacks.
	Err error

	deletion bool
	room     int // that it takes in a batch, at most
}

// Completion receives finished appends.
type Completion interface{ AppendDone(*Append) }

// sync reports whether somebody waits for the disk.
func (a *Append) sync() bool {
	return a.Sync || a.deletion || len(a.Entries) > 0 || a.Snapshot != nil || a.Stage != nil
}
