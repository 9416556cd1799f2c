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
			to := r.blocks(q, marks, b, sequential)
			if to == b {
				r.full = true
				break
			}
			if p, err = l.readBlocks(c, marks, b, to, l.store.cold.buffer(blocksLen(marks, b, to), r.loan)); err != nil {
				return err
			}
			l.store.cold.addPiece(p, r.loan)
			l.lag(c, int64(len(p.buf)))
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
func (r *result) blocks(q *query, marks []mark, b int, sequential bool) (to int) {
	room := int64(q.max - r.bytes)
	want := min(room, maxRead)
	if r.loan == nil {
		if sequential || b == 0 {
			want = max(want, readAhead)
		}
		return blocksEnd(marks, b, want)
	}
	if r.bytes == 0 {
		want = max(want, readAhead)
	}
	to = blocksEnd(marks, b, want)
	if to > b+1 && blocksLen(marks, b, to) > want {
		to--
	}
	if r.bytes > 0 && blocksLen(marks, b, to) > room {
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
	b := make([]byte, c.marksLen())
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

// bridged is how much may lie between two blocks that are read at once. In a segment nothing does; in
// a WAL file that is kept what else was written meanwhile.
const bridged = 4 << 10

// gap is what is read between block b and the next; far: that is read by itself.
func gap(marks []mark, b int) (n int64, far bool) {
	n = marks[b+1].pos - marks[b].end()
	if n > bridged || marks[b].alone {
		return 0, true
	}
	return n, false
}

// blocksEnd returns where blocks from b on hold want bytes, or the chunk ends.
func blocksEnd(marks []mark, b int, want int64) (to int) {
	n := marks[b].len
	for to = b + 1; to < len(marks) && n < want; to++ {
		between, _ := gap(marks, to-1)
		n += between + marks[to].len
	}
	return to
}

// blocksLen is how much memory the blocks [b, to) take when they are read.
func blocksLen(marks []mark, b, to int) (n int64) {
	for ; b < to; b++ {
		n += marks[b].len
		if b+1 < to {
			between, _ := gap(marks, b)
			n += between
		}
	}
	return n
}

// readPiece reads blocks from b on, until they hold want bytes, for the caller alone.
func (l *Log) readPiece(c *chunk, marks []mark, b int, want int64) (*piece, error) {
	to := blocksEnd(marks, b, want)
	return l.readBlocks(c, marks, b, to, make([]byte, blocksLen(marks, b, to)))
}

// readBlocks reads the blocks [b, to) into buf, which is as long as blocksLen says. What lies
// near each other is one read.
func (l *Log) readBlocks(c *chunk, marks []mark, b, to int, buf []byte) (*piece, error) {
	if c.shared {
		return l.gather(c, marks, b, to, buf)
	}
	begin, at := b, int64(0)
	for i := b; i < to; i++ {
		if i+1 < to {
			if _, far := gap(marks, i); !far {
				continue
			}
		}
		n := marks[i].end() - marks[begin].pos
		if err := l.readRun(c, marks[begin:i+1], buf[at:at+n]); err != nil {
			return nil, err
		}
		begin, at = i+1, at+n
	}
	return l.newPiece(c, marks, b, to, buf), nil
}

// newPiece is a piece of the blocks [b, to), which are in buf as frames. It ends with the first one that is damaged: those behind it
// are another piece's.
func (l *Log) newPiece(c *chunk, marks []mark, b, to int, buf []byte) *piece {
	p := &piece{chunk: c, from: b, to: to, buf: buf}
	items, whole, pos, err := l.parseBlocks(marks[b:to], buf)
	if p.items = items; err != nil {
		p.to, p.err = b+whole+1, l.damaged(c, pos, err)
	}
	return p
}

// damaged is the error of a chunk that is not as it was written.
func (l *Log) damaged(c *chunk, pos int64, err error) error {
	return fmt.Errorf("%w: log %d: %s, position %d: %w", ErrDamaged, l.id, c.seg.name(), c.dataPos()+pos, err)
}

// readRun reads blocks that lie near each other, at once; when that fails, each by itself: what lies
// between them is not the log's.
func (l *Log) readRun(c *chunk, marks []mark, buf []byte) error {
	start := marks[0].pos
	if !c.kept || len(marks) == 1 {
		return l.readAt(c.seg, buf, c.dataPos()+start)
	}
	if f, err := c.seg.handle(); err == nil {
		if _, err := f.ReadAt(buf, start); err == nil {
			return nil
		}
	}
	for _, m := range marks {
		if err := l.readAt(c.seg, buf[m.pos-start:m.end()-start], m.pos); err != nil {
			return err
		}
	}
	return nil
}

// parseBlocks reads the frames of blocks, up to the first that does not match its checksum or is not the one that
// a mark says; pos is where it is, behind so many whole blocks. The entries alias buf.
func (l *Log) parseBlocks(marks []mark, buf []byte) (items []item, whole int, pos int64, err error) {
	n := 0
	eachBlock(marks, buf, func(_ *mark, b []byte) bool {
		for rest := b; len(rest) > 0; n++ {
			var err error
			if _, rest, err = nextFrame(rest); err != nil {
				return false
			}
		}
		return true
	})
	items, block := make([]item, 0, n), make(entryBlock, n)
	eachBlock(marks, buf, func(m *mark, b []byte) bool {
		base := m.base
		for rest := b; len(rest) > 0; {
			begins := len(rest) == len(b)
			if pos = m.pos; m.raw == 0 {
				pos = m.end() - int64(len(rest))
			}
			var f frame
			f, rest, err = nextFrame(rest)
			switch {
			case err != nil:
				return false
			case !f.valid(l.seed):
				err = errCRC
				return false
			case begins && f.index != m.index:
				err = fmt.Errorf("%w: index %d, where %d should be", errFrame, f.index, m.index)
				return false
			}
			it := item{e: block.set(len(items), &f), crc: f.crc}
			it.base, it.count = offsets(it.e, base)
			base = it.end()
			items = append(items, it)
		}
		whole++
		return true
	})
	return items, whole, pos, err
}

// eachBlock calls fn for the blocks that readBlocks has read into buf, as long as it returns true.
func eachBlock(marks []mark, buf []byte, fn func(m *mark, b []byte) bool) {
	at := int64(0)
	for i := range marks {
		m := &marks[i]
		if !fn(m, buf[at:at+m.len]) {
			return
		}
		if at += m.len; i+1 < len(marks) {
			between, _ := gap(marks, i)
			at += between
		}
	}
}
