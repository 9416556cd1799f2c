package storage

import (
	"errors"
	"sync/atomic"
	"time"

	"waybill/internal/vfs"
)

// A new WAL file is written full of zeros while the one before it fills. The
// batches of that one are synced meanwhile, and a sync waits for everything that
// is on its way to the disk: behind 4 MiB of zeros it takes tens of milliseconds
// in place of a third of one. So the zeros go there in small pieces, and the disk
// is left to the batches for a multiple of the time that each piece took. Without batches
// the pieces grow.
//
// When the current file fills too fast for that, zeros would be a second write of all that is
// written. Then the rest of the file is only allocated: its batches need no space either, but
// each sync notes in the file system's journal what is no longer blank, which makes one of 512 KiB
// take half as long again.
const (
	blankLeast = 256 << 10
	blankMost  = 1 << 20
	leaveTimes = 4
	leaveMost  = 20 * time.Millisecond
)

// nothing is what is written at once.
var nothing [1 << 20]byte

// zero writes zeros over [from, to) of f.
func zero(f vfs.File, from, to int64) error {
	for from < to {
		n := min(int64(len(nothing)), to-from)
		if _, err := f.WriteAt(nothing[:n], from); err != nil {
			return err
		}
		from += n
	}
	return nil
}

// fullness is how full the WAL file is that is being written, for the preparer.
type fullness struct{ share atomic.Int64 } // in 1/fullUnit

const fullUnit = 1 << 20

func (f *fullness) set(pos, size int64) { f.share.Store(pos * fullUnit / size) }

// isBehind reports whether a file that is blank up to at may be needed before it
// is ready.
func (f *fullness) isBehind(at, size int64) bool {
	return at*fullUnit/size < f.share.Load()
}

// blanking is a file that is being filled with zeros.
type blanking struct {
	store *Store
	file  vfs.File
	at    int64
	size  int64
	next  int64 // size of the next piece
}

// run makes the file as long as it will be; [ErrClosed] when the WAL has ended meanwhile. The last
// piece is not synced.
func (b *blanking) run() error {
	b.next = blankLeast
	if b.store.opts.Manual {
		b.next = blankMost
	}
	for {
		began, batch := time.Now(), b.store.synced.Load()
		end := min(b.at+b.next, b.size)
		if err := zero(b.file, b.at, end); err != nil {
			return err
		}
		if b.at = end; end == b.size {
			return nil
		}
		if err := b.file.SyncData(); err != nil {
			return err
		}
		if b.store.filled.isBehind(b.at, b.size) {
			err := b.file.Allocate(b.at, b.size-b.at)
			if err == nil || !errors.Is(err, errors.ErrUnsupported) {
				return err
			}
		}
		b.rest(b.judge(time.Since(began), b.store.synced.Load() != batch))
		select {
		case <-b.store.wal.done:
			return ErrClosed
		default:
		}
	}
}

// judge decides, after a piece that took so long, about the next one, and how
// long to leave the disk alone before it.
func (b *blanking) judge(took time.Duration, batches bool) (pause time.Duration) {
	switch {
	case b.store.filled.isBehind(b.at, b.size):
		b.next = blankMost
	case batches:
		b.next = blankLeast
		return min(leaveTimes*took, leaveMost)
	default:
		b.next = min(2*b.next, blankMost)
	}
	return 0
}

func (b *blanking) rest(d time.Duration) {
	if d == 0 {
		return
	}
	select {
	case <-b.store.wal.done:
	case <-time.After(d):
	}
}

// blank makes a file under a temporary name, or takes one from the pool.
func (p *preparer) blank(temp string) (vfs.File, int64, error) {
	fs := p.store.fs
	if old := p.pool.take(); old != "" {
		if err := fs.Rename(old, temp); err != nil {
			p.pool.put(old, p.store.opts.WALFileSize)
			return nil, 0, err
		}
		f, err := fs.Open(temp)
		return f, p.store.opts.WALFileSize, err
	}
	f, err := fs.Create(temp)
	if err != nil {
		return nil, 0, err
	}
	size := p.nextSize()
	b := blanking{store: p.store, file: f, size: size}
	if err = b.run(); err == nil {
		err = f.Sync()
	}
	if err != nil {
		closeClean(f)
		return nil, 0, errors.Join(err, fs.Remove(temp))
	}
	p.size = max(p.size, 2*size)
	return f, size, nil
}

// nextSize is how large the next new file is made: twice as large as the one before it, or a little
// larger than what is written to one.
func (p *preparer) nextSize() int64 {
	size := min(p.size, p.store.opts.WALFileSize)
	if early := p.early.Load(); early > 0 {
		size = min(size, max(firstWAL, alignUp(early+early/4)))
	}
	return size
}
