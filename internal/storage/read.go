package storage

import (
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"

	"waybill/internal/record"
)

const (
	readAhead  = 256 << 10 // bytes that one sequential read from a segment brings
	maxRead    = 1 << 20   // the most that one read brings, if no single block is larger
	coldPieces = 16 << 20  // bytes of pieces that are kept
	coldMarks  = 64        // chunks of which the marks are kept
)

// piece is a run of blocks of a chunk in memory, parsed and checked. A block is
// what lies between two marks.
type piece struct {
	chunk    *chunk
	from, to int // marks
	bytes    int64
	items    []item
	err      error // why items end before to
}

// coldCache keeps what was read from segments last: pieces, so that a reader
// who takes small bites reads each byte once, and marks. It is small, so lists searched in
// order do; the last used is at the end.
type coldCache struct {
	mu     sync.Mutex
	pieces []*piece
	bytes  int64
	marks  []chunkMarks
}

type chunkMarks struct {
	chunk *chunk
	marks []mark
}

// piece returns the piece that holds block b of c, if it is there; after tells
// whether the block before b is, which makes a reader of b a sequential one.
func (cc *coldCache) piece(c *chunk, b int) (p *piece, after bool) {
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
			return p, true
		}
		after = after || p.to == b
	}
	return nil, after
}

func (cc *coldCache) addPiece(p *piece) {
	cc.mu.Lock()
	defer cc.mu.Unlock()
	cc.pieces = append(cc.pieces, p)
	cc.bytes += p.bytes
	n := 0
	for cc.bytes > coldPieces && n < len(cc.pieces)-1 {
		cc.bytes -= cc.pieces[n].bytes
		n++
	}
	cc.pieces = append(cc.pieces[:0], cc.pieces[n:]...)
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

// readChunk adds to r what q wants of the entries of c in (after, limit].
// [ErrCold] when that needs the disk and disk is false.
func (l *Log) readChunk(r *result, q *query, c *chunk, after, limit record.Index, disk bool) error {
	marks, err := l.chunkMarks(c, disk)
	if err != nil {
		return err
	}
	for b := firstBlock(marks, q, after); b < len(marks) && !r.full; {
		p, sequential := l.store.cold.piece(c, b)
		if p == nil {
			if !disk {
				return ErrCold
			}
			want := min(int64(q.max-r.bytes), maxRead)
			if sequential || b == 0 {
				want = max(want, readAhead)
			}
			if p, err = l.readPiece(c, marks, b, want); err != nil {
				return err
			}
			l.store.cold.addPiece(p)
		}
		items := between(p.items, after, limit)
		if n := len(items); n > 0 {
			after = items[n-1].index() // the next piece may begin before this one ends
		}
		if bad := r.take(q, q.seek(items)); bad != nil {
			return l.rots(fmt.Errorf("%w: log %d, index %d: its memory does not match its checksum", ErrDamaged, l.id, bad.index()))
		}
		if p.err != nil && !r.full {
			return l.rots(p.err)
		}
		b = p.to
	}
	return nil
}

// firstBlock returns the block in which what q wants beyond after begins, or
// at the end of which it would have to be.
func firstBlock(marks []mark, q *query, after record.Index) int {
	n := sort.Search(len(marks), func(n int) bool {
		m := &marks[n]
		if q.byOffset {
			return uint64(m.base) > q.from && m.index > after
		}
		return uint64(m.index) > q.from && m.index > after
	})
	return max(n-1, 0)
}

// between returns the items with indexes in (after, limit].
func between(items []item, after, limit record.Index) []item {
	lo := sort.Search(len(items), func(n int) bool { return items[n].index() > after })
	hi := sort.Search(len(items), func(n int) bool { return items[n].index() > limit })
	return items[lo:hi]
}

// rots remembers the first damage that a read found, for Damaged.
func (l *Log) rots(err error) error {
	l.mu.Lock()
	first := l.rotten == nil
	if first {
		l.rotten = err
	}
	l.mu.Unlock()
	if first {
		l.store.opts.Logger.Error("damaged segment", "log", l.id, "error", err)
	}
	return err
}

// chunkMarks returns the marks of a chunk whose segment is retained.
func (l *Log) chunkMarks(c *chunk, disk bool) ([]mark, error) {
	if marks := l.store.cold.marksOf(c); marks != nil {
		return marks, nil
	}
	if !disk {
		return nil, ErrCold
	}
	b := make([]byte, int(c.marks)*markLen+4)
	if err := l.readAt(c.seg, b, c.marksPos()); err != nil {
		return nil, err
	}
	marks, err := parseMarks(b, c)
	if err != nil {
		return nil, l.rots(fmt.Errorf("%w: log %d: %s, position %d: marks: %w", ErrDamaged, l.id, c.seg.name(), c.marksPos(), err))
	}
	l.store.cold.addMarks(c, marks)
	return marks, nil
}

// readAt fills b from a segment that is retained. An error of the disk is
// damage; that the store is closed is not.
func (l *Log) readAt(s *segment, b []byte, pos int64) error {
	f, err := s.handle()
	if err == nil {
		_, err = f.ReadAt(b, pos)
		if errors.Is(err, os.ErrClosed) {
			return ErrClosed
		}
	} else if errors.Is(err, ErrClosed) {
		return err
	} else if !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("storage: open %s: %w", s.name(), err)
	}
	if err != nil {
		return l.rots(fmt.Errorf("%w: log %d: %s, position %d: %w", ErrDamaged, l.id, s.name(), pos, err))
	}
	return nil
}

// readPiece reads blocks from b on, until they hold want bytes.
func (l *Log) readPiece(c *chunk, marks []mark, b int, want int64) (*piece, error) {
	from, to := marks[b].pos, b+1
	end := func(to int) int64 {
		if to == len(marks) {
			return c.data
		}
		return marks[to].pos
	}
	for to < len(marks) && end(to)-from < want {
		to++
	}
	buf := make([]byte, end(to)-from)
	if err := l.readAt(c.seg, buf, c.dataPos()+from); err != nil {
		return nil, err
	}
	p := &piece{chunk: c, from: b, to: to, bytes: int64(len(buf))}
	p.items, p.err = l.parseItems(buf, marks[b].base)
	if p.err != nil {
		// p.err says how far the frames were good.
		good := int64(0)
		for i := range p.items {
			good += int64(entryLen(p.items[i].e))
		}
		p.err = fmt.Errorf("%w: log %d: %s, position %d: %w", ErrDamaged, l.id, c.seg.name(), c.dataPos()+from+good, p.err)
	}
	return p, nil
}

// parseItems reads frames, up to the first that does not match its checksum.
// The entries alias buf.
func (l *Log) parseItems(buf []byte, base record.Offset) (items []item, err error) {
	n := 0
	for rest := buf; len(rest) > 0; n++ {
		if _, rest, err = nextFrame(rest); err != nil {
			break
		}
	}
	items, block := make([]item, n), make(entryBlock, n)
	for i, rest := 0, buf; i < n; i++ {
		var f frame
		f, rest, _ = nextFrame(rest)
		if !f.valid(l.seed) {
			return items[:i], errCRC
		}
		it := &items[i]
		it.e, it.crc = block.set(i, &f), f.crc
		it.base, it.count = offsets(it.e, base)
		base = it.end()
	}
	return items, err
}
