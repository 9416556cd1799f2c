package storage

import (
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/vfs"
)

// The system's page cache is for what is read again. Entries are in memtables, and when the consumers of a
// node keep up they have read what is in a WAL file before it is full: nobody will read that soon. Such files are written past
// the page cache (direct I/O). That saves a copy of all that is written, and the search for memory in which to keep
// it, and a sync has nothing left to look for. When consumers lag, or there are none, what they will come
// back for is written through the page cache, so that they need not read it from the disk.
//
// How it was with the file before decides about the next one. In the file itself nothing differs.
const (
	followedShare = 3.0 / 4 // of what was appended, at least: it was read while it was in memory
	behindShare   = 1.0 / 8 // of what was appended, at most: so much was read from files
)

// following is what consumers have read while a WAL file was written.
type following struct {
	appended int64        // bytes of data; owned by who holds wal.turn
	read     atomic.Int64 // of those that were read from memory for the first time
	behind   atomic.Int64 // bytes that were read from files
	direct   atomic.Bool  // the file that is being written now is written past the page cache
}

// roll decides about the file that comes next.
func (f *following) roll() (direct bool) {
	appended := float64(f.appended)
	f.appended = 0
	read, behind := float64(f.read.Swap(0)), float64(f.behind.Swap(0))
	direct = appended > 0 && read >= followedShare*appended && behind <= behindShare*appended
	f.direct.Store(direct)
	return direct
}

// writeAt is WriteAt of f, past the page cache if direct.
func writeAt(f vfs.File, b []byte, pos int64, direct bool) error {
	write := f.WriteAt
	if direct {
		write = f.WriteDirect
	}
	_, err := write(b, pos)
	return err
}

// follow notes entries that a consumer read from memory.
func (l *Log) follow(entries []*raftpb.Entry) {
	if len(entries) == 0 {
		return
	}
	last := entries[len(entries)-1].GetIndex()
	before := l.seen.Load()
	if last <= before || !l.seen.CompareAndSwap(before, last) { // another consumer was here
		return
	}
	bytes := 0
	for i := len(entries) - 1; i >= 0 && entries[i].GetIndex() > before; i-- {
		bytes += len(entries[i].Data)
	}
	l.store.following.read.Add(int64(bytes))
}
