// Package storage keeps the raft logs of a node on its disk: one write-ahead
// log shared by all of them, memtables, segments and checkpoints.
package storage

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

var (
	// ErrNotFound: the log holds no entry with that index or offset (it is
	// beyond the end, or was dropped as dead).
	ErrNotFound = errors.New("storage: not found")
	// ErrCold: the entry is on disk only, and the call was told not to read the disk.
	ErrCold = errors.New("storage: entry is not in memory")
	// ErrDamaged: what is stored does not match its checksum.
	ErrDamaged = errors.New("storage: damaged")
	// ErrClosed: the store was closed, or failed.
	ErrClosed = errors.New("storage: closed")
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
	// Append is ever completed.
	Fatal func(error)

	// Reserve is the free disk space, in bytes, below which Low reports true.
	Reserve uint64

	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
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
}

// Append is one request to the WAL: what one MsgStorageAppend carries.
type Append struct {
	Log       *Log
	HardState *raftpb.HardState // nil: unchanged
	Entries   []*raftpb.Entry   // contiguous; an index that exists replaces it and all after it
	Snapshot  *raftpb.Snapshot  // nil, or replaces the whole log up to its index
	// Sync asks for Done only after a sync. Without it (a changed commit index
	// alone) the request rides along with the next batch and Done comes at once.
	Sync bool
	// Done is called once it is durable, from the WAL goroutine, in the order
	// of the requests; it must not block.
	Done Completion
}

// Completion receives finished appends.
type Completion interface{ AppendDone(*Append) }

// Store is the storage of one node.
type Store struct{}

// Open opens the store in dir, creating it when dir is empty, and recovers:
// it reads the newest checkpoint and the WAL files after it, writes the recovered tail
// again to a new WAL file, and syncs it before it returns.
func Open(fs vfs.FS, dir string, opts Options) (*Store, error) { panic("storage.Open") }

// Start starts the flusher. Until then no checkpoint is asked for; the owners
// of the recovered logs are set up between Open and Start.
func (s *Store) Start() {}

// Close syncs what is pending, stops all goroutines and closes all files.
func (s *Store) Close() error { panic("storage.Close") }

// Log returns the log with that id, an empty one when there is none yet.
func (s *Store) Log(id record.LogID) *Log { panic("storage.Log") }

// Logs lists the logs that hold anything, in increasing order.
func (s *Store) Logs() []record.LogID { panic("storage.Logs") }

// Delete drops the log and all it holds. Its id must not be used again. It
// returns at once; the deletion is written to the WAL with the next batch.
func (s *Store) Delete(id record.LogID) { panic("storage.Delete") }

// Append queues a request. It does not wait for the disk.
func (s *Store) Append(a *Append) { panic("storage.Append") }

// Low reports whether the disk has less free space than the reserve.
// The store looks at least every second.
func (s *Store) Low() bool { panic("storage.Low") }

// Log is one raft log. Its methods are safe for concurrent use; entries become
// readable when their Append is done. An empty log has FirstIndex 2, LastIndex
// 1 and Term(1) = 1.
type Log struct{}

// ID names the log.
func (l *Log) ID() record.LogID { panic("storage") }

// State returns what recovery found: the hard state, and the last checkpoint
// (nil when the log never had one).
func (l *Log) State() (*raftpb.HardState, *Checkpoint) { panic("storage") }

// FirstIndex is the index after the last checkpoint's Applied: the first entry
// that raft may still read.
func (l *Log) FirstIndex() record.Index { panic("storage") }

// LastIndex is the index of the last entry.
func (l *Log) LastIndex() record.Index { panic("storage") }

// Term returns the term of the entry at i, FirstIndex-1 ≤ i ≤ LastIndex.
func (l *Log) Term(i record.Index) (uint64, error) { panic("storage") }

// Entries returns the entries of [lo, hi), at least one and then no more than
// maxBytes of data. They and the slices they hold are shared: read only.
// [ErrNotFound] when lo is below FirstIndex; ErrCold when lo is not in memory
// and disk is false.
func (l *Log) Entries(lo, hi record.Index, maxBytes uint64, disk bool) ([]*raftpb.Entry, error) {
	panic("storage")
}

// ReadFrom returns the entries that hold the offsets from off on, up to but
// not including the offset end: the first one holds off itself or, where it
// was dropped, the next offset after it that exists; entries without offsets are left out; at
// least one entry and then no more than maxBytes of data. It returns no entry
// when none is left below end. ErrCold when the first entry is not in memory
// and disk is false. Every entry is checked against its CRC.
func (l *Log) ReadFrom(off, end record.Offset, maxBytes int, disk bool) ([]*raftpb.Entry, error) {
	panic("storage")
}
