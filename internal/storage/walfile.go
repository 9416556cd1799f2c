package storage

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"waybill/internal/vfs"
)

const (
	walSuffix  = ".wal"
	newSuffix  = ".new" // of a file that is not ready yet: removed at Open
	firstWAL   = 8 << 20
	retryEvery = time.Second
)

// walFile is a WAL file that is being written.
type walFile struct {
	id     uint64
	file   vfs.File
	size   int64 // allocated: written once, so that a write needs no space
	pos    int64 // of the next batch
	key    uint64
	seed   uint32 // made of key
	direct bool   // it is written past the page cache
}

func newWALFile(store string, id uint64, f vfs.File, size int64) *walFile {
	key := walKey(store, id)
	return &walFile{id: id, file: f, size: size, key: key, seed: seed64(key)}
}

// extend makes room for a batch that is larger than the file.
func (f *walFile) extend(size int64) error {
	if err := zero(f.file, f.size, size); err != nil {
		return fmt.Errorf("make room in the WAL: %w", err)
	}
	if err := f.file.Sync(); err != nil {
		return fmt.Errorf("make room in the WAL: %w", mustNotRetry{err})
	}
	f.size = size
	return nil
}

// fileName is the name of a numbered file; numbers sort as text.
func fileName(n uint64, suffix string) string { return fmt.Sprintf("%012d%s", n, suffix) }

func fileNumber(name, suffix string) (uint64, bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && fileName(n, suffix) == name
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// preparer makes the next WAL file ready while the current one fills: an old
// one under a new number or, when there is none, one that is written full of
// zeros. An append never allocates disk space, so a full disk cannot
// break it half-way, and a sync has no metadata to write.
type preparer struct {
	store *Store
	next  chan *walFile
	freed chan struct{} // of one element: try again, there may be space
	done  chan struct{}

	made *walFile // of a Manual store: the next file

	id    uint64       // of the last file that was made
	early atomic.Int64 // how far the last file was written that is kept, and was left early: see keep.go; 0: it was not
	size  int64        // of the next new file: small at first, so that a small store stays small

	pool pool
}

func (p *preparer) run() {
	defer close(p.done)
	for {
		f, err := p.make()
		switch {
		case err == nil:
			p.store.setFull(causeWAL, nil)
		case noSpace(err):
			p.store.setFull(causeWAL, err)
			select {
			case <-time.After(retryEvery):
			case <-p.freed:
			case <-p.store.closing:
				return
			}
			continue
		case errors.Is(err, ErrClosed):
			return
		default:
			p.store.fail(fmt.Errorf("prepare a WAL file: %w", err))
			return
		}
		size := f.size // the WAL's own from here on
		select {
		case p.next <- f:
			p.store.filled.set(0, size)
		case <-p.store.wal.done:
			closeClean(f.file)
			return
		}
	}
}

// take waits for the next file.
func (p *preparer) take() (*walFile, error) {
	if p.store.opts.Manual {
		f := p.made
		p.made = nil
		return f, nil
	}
	select {
	case f := <-p.next:
		return f, nil
	case <-p.done:
		return nil, fmt.Errorf("%w: no space for another WAL file", ErrClosed)
	}
}

func (p *preparer) make() (*walFile, error) {
	id := p.id + 1
	temp := p.path(id, walSuffix+newSuffix)
	f, size, err := p.blank(temp)
	if err != nil {
		return nil, err
	}
	if err := p.publish(temp, id); err != nil {
		closeClean(f)
		return nil, err
	}
	p.id = id
	return newWALFile(p.store.id, id, f, size), nil
}

// publish gives a file its lasting name.
func (p *preparer) publish(temp string, id uint64) error {
	if err := p.store.fs.Rename(temp, p.path(id, walSuffix)); err != nil {
		return err
	}
	return p.store.syncDir(walName)
}

func (p *preparer) path(id uint64, suffix string) string {
	return path.Join(p.store.walDir, fileName(id, suffix))
}

// recycle takes a WAL file of so many bytes that holds nothing that is needed any more. What
// is behind its batches (see keep.go) does no harm.
func (p *preparer) recycle(name string, size int64) error {
	if !p.pool.put(name, size) {
		return p.store.remover.add(name)
	}
	p.retry()
	return nil
}

// retry has a preparer that found the disk full look again.
func (p *preparer) retry() {
	select {
	case p.freed <- struct{}{}:
	default:
	}
}
