package storage

import (
	"slices"
	"sync"

	"waybill/internal/record"
)

const (
	coldPieces = 16 << 20 // bytes of pieces that are kept, and of buffers for the next ones
	coldMarks  = 64       // chunks of which the marks are kept
)

// piece is a run of blocks of a chunk in memory, parsed and checked. A block is
// what lies between two marks.
type piece struct {
	chunk    *chunk
	from, to int    // marks
	buf      []byte // what was read; the items alias it
	items    []item
	err      error // why items end before to

	// Protected by coldCache.mu.
	cached  bool
	loans   int  // that hold it
	forGood bool // somebody was given its entries for good: buf is never used again
}

// end is the offset after the last one that the piece holds.
func (p *piece) end() record.Offset {
	if len(p.items) == 0 {
		return 0
	}
	return p.items[len(p.items)-1].end()
}

// coldCache keeps what was read from segments last: pieces, so that a reader
// who takes small bites reads each byte once, and marks. It is small, so lists searched in
// order do; the last used is at the end.
//
// The buffer of a piece that nobody can see any more is read into again. That
// is known of pieces that were only lent (see [Loan]); any other is left to the garbage collector.
type coldCache struct {
	mu        sync.Mutex
	pieces    []*piece
	free      [][]byte // the one that was used last at the end, too
	bytes     int64    // of both
	freeBytes int64
	marks     []chunkMarks
}

type chunkMarks struct {
	chunk *chunk
	marks []mark
}

// piece returns the piece that holds block b of c, if it is there, and notes
// who has it now: loan, or somebody for good when that is nil. after tells whether the
// block before b is there, which makes a reader of b a sequential one.
func (cc *coldCache) piece(c *chunk, b int, loan *Loan) (p *piece, after bool) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	for i := len(cc.pieces) - 1; i >= 0; i-- {
		p := cc.pieces[i]
		if p.chunk != c {
			continue
		}
		if p.from <= b && b < p.to {
			copy(cc.pieces[i:], cc.pieces[i+1:])
			cc.pieces[len(cc.pieces)-1] = p
			loan.hold(p)
			return p, true
		}
		after = after || p.to == b
	}
	return nil, after
}

// addPiece adds a piece that was read for loan, or for good when that is nil.
func (cc *coldCache) addPiece(p *piece, loan *Loan) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	loan.hold(p)
	p.cached = true
	cc.pieces = append(cc.pieces, p)
	cc.bytes += int64(cap(p.buf))
	cc.shrink()
}

// shrink keeps the bound on what is cached, of which free buffers are no more
// than half. Under mu.
func (cc *coldCache) shrink() {
	for cc.bytes > coldPieces {
		switch {
		case cc.freeBytes > coldPieces/2:
			cc.takeFree(0)
		case len(cc.pieces) > 1:
			cc.drop(0)
		default:
			return // a single large entry
		}
	}
}

// drop takes a piece out of the cache. Under mu.
func (cc *coldCache) drop(i int) {
	p := cc.pieces[i]
	cc.pieces = slices.Delete(cc.pieces, i, i+1)
	cc.bytes -= int64(cap(p.buf))
	p.cached = false
	cc.reclaim(p)
}

func (cc *coldCache) marksOf(c *chunk) []mark {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	for i := len(cc.marks) - 1; i >= 0; i-- {
		if m := cc.marks[i]; m.chunk == c {
			copy(cc.marks[i:], cc.marks[i+1:])
			cc.marks[len(cc.marks)-1] = m
			return m.marks
		}
	}
	return nil
}

func (cc *coldCache) addMarks(c *chunk, marks []mark) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	if len(cc.marks) == coldMarks {
		cc.marks = append(cc.marks[:0], cc.marks[1:]...)
	}
	cc.marks = append(cc.marks, chunkMarks{c, marks})
}
