package storage

import (
	"errors"
	"fmt"
	"os"
	"sort"

	"waybill/internal/record"
)

const (
	readAhead = 256 << 10 // bytes that one sequential read from a segment brings
	maxRead   = 1 << 20   // the most that one read brings, if no single block is larger
)

// readChunk adds to r what q wants of the entries of c in (after, limit].
// [ErrCold] when that needs the disk and disk is false.
func (l *Log) readChunk(r *result, q *query, c *chunk, after, limit record.Index, disk bool) error {
	marks, err := l.chunkMarks(c, disk)
	if err != nil {
		return err
	}
	for b := firstBlock(marks, q, after); b < len(marks) && !r.full; {
		p, sequential := l.store.cold.piece(c, b, r.loan)
		r.checked = p == nil // a new piece was checked a moment ago
		if p == nil {
			if !disk {
				return ErrCold
			}
			to := r.blocks(q, c, marks, b, sequential)
			if to == b {
				r.full = true
				break
			}
			if p, err = l.readBlocks(c, marks, b, to, l.store.cold.buffer(blocksLen(c, marks, b, to), r.loan)); err != nil {
				return err
			}
			l.store.cold.addPiece(p, r.loan)
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

// blocks returns the end of the blocks from b on that are to be read for q. One
// who borrows gets whole blocks that fit, so that nothing is read and checked twice; none, when he has
// something already and the next one does not fit.
func (r *result) blocks(q *query, c *chunk, marks []mark, b int, sequential bool) (to int) {
	room := int64(q.max - r.bytes)
	want := min(room, maxRead)
	if r.loan == nil {
		if sequential || b == 0 {
			want = max(want, readAhead)
		}
		return blocksEnd(c, marks, b, want)
	}
	if r.bytes == 0 {
		want = max(want, readAhead)
	}
	to = blocksEnd(c, marks, b, want)
	if to > b+1 && blocksLen(c, marks, b, to) > want {
		to--
	}
	if r.bytes > 0 && blocksLen(c, marks, b, to) > room {
		return b
	}
	return to
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

// blocksEnd returns where blocks from b on hold want bytes, or the chunk ends.
func blocksEnd(c *chunk, marks []mark, b int, want int64) (to int) {
	for to = b + 1; to < len(marks) && blocksLen(c, marks, b, to) < want; {
		to++
	}
	return to
}

// blocksLen is the length of the blocks [b, to).
func blocksLen(c *chunk, marks []mark, b, to int) int64 {
	if to == len(marks) {
		return c.data - marks[b].pos
	}
	return marks[to].pos - marks[b].pos
}

// readPiece reads blocks from b on, until they hold want bytes, for the caller alone.
func (l *Log) readPiece(c *chunk, marks []mark, b int, want int64) (*piece, error) {
	to := blocksEnd(c, marks, b, want)
	return l.readBlocks(c, marks, b, to, make([]byte, blocksLen(c, marks, b, to)))
}

// readBlocks reads the blocks [b, to) into buf, which is as long as they are.
func (l *Log) readBlocks(c *chunk, marks []mark, b, to int, buf []byte) (*piece, error) {
	pos := c.dataPos() + marks[b].pos
	if err := l.readAt(c.seg, buf, pos); err != nil {
		return nil, err
	}
	p := &piece{chunk: c, from: b, to: to, buf: buf}
	p.items, p.err = l.parseItems(buf, marks[b].base)
	if p.err != nil {
		// p.err says how far the frames were good.
		for i := range p.items {
			pos += int64(entryLen(p.items[i].e))
		}
		p.err = fmt.Errorf("%w: log %d: %s, position %d: %w", ErrDamaged, l.id, c.seg.name(), pos, p.err)
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
