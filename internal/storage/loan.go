package storage

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

const (
	// leastBuffer is the size from which on buffers are used again, and what
	// their sizes are multiples of, so that they fit the next piece, too.
	leastBuffer = 256 << 10
	// mostBuffer leaves out those of single large entries.
	mostBuffer = 4 << 20
)

// Loan is a part of a log that was read for somebody who says when he is done
// with it. What he read into memory is then read into again: a backlog goes through the same few
// buffers, which are neither made, nor blanked, nor collected for each piece of it.
type Loan struct {
	// Entries and the slices they hold are shared, read only, and gone after Release.
	Entries []*raftpb.Entry

	cache  *coldCache
	pieces []*piece
}

// Borrow is [Log.ReadFrom] for one who calls Release. It reads the disk where
// it has to. Who forgets to release loses nothing but the reuse of memory.
func (l *Log) Borrow(off, end record.Offset, maxBytes int) (*Loan, error) {
	loan := &Loan{cache: l.store.cold}
	entries, err := l.readFor(offsetQuery(off, end, maxBytes), true, loan)
	if err != nil {
		loan.Release(0)
		return nil, err
	}
	loan.Entries = entries
	return loan, nil
}

// Held is how much memory the loan holds on to, memtables not counted.
func (n *Loan) Held() (bytes int) {
	for _, p := range n.pieces {
		bytes += cap(p.buf)
	}
	return bytes
}

// Release gives the memory back. What lies before the offset read will not be asked
// for soon: a piece that ends there makes room for the next one, another waits in the cache. Release may be called
// again, and of nil.
func (n *Loan) Release(read record.Offset) {
	if n == nil {
		return
	}
	n.cache.mu.Lock()
	defer n.cache.mu.Unlock()
	for _, p := range n.pieces {
		p.loans--
		if p.cached && p.end() <= read {
			n.cache.drop(slices.Index(n.cache.pieces, p))
		}
		n.cache.reclaim(p)
	}
	n.Entries, n.pieces = nil, nil
	n.cache.shrink()
}

// hold notes who sees p. Under coldCache.mu.
func (n *Loan) hold(p *piece) {
	if n == nil {
		p.forGood = true
		return
	}
	p.loans++
	n.pieces = append(n.pieces, p)
}

// reclaim keeps the buffer of a piece that nobody sees any more. Under mu.
func (cc *coldCache) reclaim(p *piece) {
	if p.cached || p.loans > 0 || p.forGood || cap(p.buf) < leastBuffer || cap(p.buf) > mostBuffer {
		return
	}
	cc.free = append(cc.free, p.buf[:0])
	cc.bytes += int64(cap(p.buf))
	cc.freeBytes += int64(cap(p.buf))
	spoil(p.buf)
	p.buf, p.items = nil, nil
}

// buffer returns n bytes of anything, for loan, or for good when that is nil.
// The one that was given back last is the likeliest to be in the processor's cache.
func (cc *coldCache) buffer(n int64, loan *Loan) []byte {
	if loan == nil || n < leastBuffer/2 || n > mostBuffer {
		return make([]byte, n)
	}
	cc.mu.Lock()
	for i := len(cc.free) - 1; i >= 0; i-- {
		if size := int64(cap(cc.free[i])); n <= size && size <= 2*n {
			b := cc.takeFree(i)
			cc.mu.Unlock()
			return b[:n]
		}
	}
	cc.mu.Unlock()
	return make([]byte, n, (n+leastBuffer-1)/leastBuffer*leastBuffer)
}

// takeFree takes out a free buffer. Under mu.
func (cc *coldCache) takeFree(i int) []byte {
	b := cc.free[i]
	cc.free = slices.Delete(cc.free, i, i+1)
	cc.bytes -= int64(cap(b))
	cc.freeBytes -= int64(cap(b))
	return b
}
