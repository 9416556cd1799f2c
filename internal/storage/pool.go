package storage

import (
	"fmt"
	"sync"
	"time"
)

// Of the WAL files that hold nothing that is needed any more poolLeast are kept for another use whatever the
// disk looks like: no more are under way at once, and one that was thrown away would have to be filled with
// zeros again.
//
// More are kept as long as all together take no more than a part of what is free besides: a disk that was
// written before takes a batch in half to two thirds of the time that new space does. So a topic whose records expire as
// fast as new ones come is written to the space of the old ones. What was not wanted for a while goes back to the file system.
const (
	poolLeast  = maxSealed + 2
	poolShare  = 16 // of the free space
	poolUnused = 10 * time.Minute
)

// pool holds the WAL files that are to be used again. What is taken is what came last, so those that
// are not needed stay in front.
type pool struct {
	store *Store

	mu    sync.Mutex
	files []pooled
}

// pooled is a file of the full size, or a little more.
type pooled struct {
	name  string
	since time.Time // in the pool
}

// most is how many files the pool may hold.
func (p *pool) most() int {
	if p.store.Low() {
		return poolLeast
	}
	share := p.store.metrics.free.Load() / poolShare / uint64(p.store.opts.WALFileSize)
	return max(poolLeast, int(share))
}

// put adds a file; false: it is not wanted.
func (p *pool) put(name string, size int64) bool {
	full, most := p.store.opts.WALFileSize, p.most()
	if size < full || size > full+full/8 {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.files) >= most {
		return false
	}
	p.files = append(p.files, pooled{name, p.store.opts.Now()})
	p.count()
	return true
}

// take returns a file, or "".
func (p *pool) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.files)
	if n == 0 {
		return ""
	}
	name := p.files[n-1].name
	p.files = p.files[:n-1]
	p.count()
	return name
}

// excess takes out the files that are too many, and those that were not wanted for long.
func (p *pool) excess() (names []string) {
	most, now := p.most(), p.store.opts.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.files); n > poolLeast; n-- {
		if n <= most && now.Sub(p.files[0].since) < poolUnused {
			break
		}
		names = append(names, p.files[0].name)
		p.files = p.files[1:]
	}
	p.count()
	return names
}

// count is for the metrics. Under mu.
func (p *pool) count() {
	p.store.metrics.spare.Store(int64(len(p.files)) * p.store.opts.WALFileSize)
}

// len is how many files there are.
func (p *pool) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.files)
}

// shed removes what is too much.
func (p *pool) shed() error {
	for _, name := range p.excess() {
		if err := p.store.remover.add(name); err != nil {
			return fmt.Errorf("remove a WAL file: %w", err)
		}
	}
	return nil
}
