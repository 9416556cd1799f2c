// Package vfs is the file system that storage is written against.
//
// [OS] is the operating system's. [Mem] is one in memory for tests, whose
// power can be cut at any time, and which fails as disks do:
//
//	m := vfs.NewMem()
//	m.OnSync(func(vfs.SyncPoint) { clones = append(clones, m.CrashClone(seed)) })
//	... // write, sync, rename
//	for _, c := range clones {
//		... // what was synced before must be in c
//	}
//
// Both promise the same, and no more: contents are durable after Sync or
// SyncData of the file, names after SyncDir of their directory, and both are needed to
// find a new file again. A failed sync must not be repeated: the second one
// succeeds, and the data is lost.
//
// Everything is safe for concurrent use. Mem has one lock, and calls nobody
// while it holds it.
package vfs

import (
	"errors"
	"io"
	"os"
)

// ErrLocked is returned by [FS.Lock] when another process holds the lock.
var ErrLocked = errors.New("vfs: locked by another process")

// File is an open file. WriteAt and ReadAt are safe for concurrent use.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	// Sync makes the file's contents and size durable (fsync).
	Sync() error
	// SyncData makes written contents durable, without metadata that a later
	// read does not need (fdatasync).
	SyncData() error
	// WriteOut has what was written to a range brought to the disk, and waits for it. It makes
	// nothing durable: it leaves less to do for a later sync, which others may wait for. An
	// error is that of a sync.
	WriteOut(off, n int64) error
	// Allocate sets space aside for a range behind what the file holds, which then reads as zeros:
	// a write there needs none any more. It makes nothing durable. [errors.ErrUnsupported]
	// where the file system cannot do that; then nothing has changed.
	Allocate(off, n int64) error
	// SetDirect has WriteAt go past the system's page cache, or no longer (O_DIRECT). While it does, offsets and
	// lengths are multiples of [DirectUnit], the memory is from [Aligned] or begins at such a multiple in it, and nothing is read. What is
	// written needs a sync like any other. A disk with larger sectors refuses a write with [syscall.EINVAL].
	// [errors.ErrUnsupported] where the file system cannot do that; then nothing has changed.
	SetDirect(on bool) error
	Truncate(size int64) error
	Size() (int64, error)
	Name() string
}

// FS is a file system. Paths are slash-separated. A created, renamed or
// removed name is durable only after SyncDir of its directory.
type FS interface {
	// Create makes an empty file and opens it for reading and writing; it
	// fails with [os.ErrExist] when the name is taken.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading.
	OpenRead(name string) (File, error)
	Remove(name string) error
	Rename(from, to string) error
	MkdirAll(dir string) error
	// List returns the names in dir, sorted.
	List(dir string) ([]string, error)
	Stat(name string) (os.FileInfo, error)
	SyncDir(dir string) error
	// Lock takes an exclusive lock on name, creating it when absent, until the
	// returned Closer is closed or the process ends; [ErrLocked] when taken.
	Lock(name string) (io.Closer, error)
	// Free returns the bytes that an unprivileged writer can still allocate
	// below dir, and the size of that file system.
	Free(dir string) (free, total uint64, err error)
}
