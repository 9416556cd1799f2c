package storage

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// liveRead gathers what LiveEntries answers.
type liveRead struct {
	log     *Log
	live    func(from, to record.Offset) bool
	through record.Index
	max     int

	next    record.Index // all up to here was looked at
	entries []*raftpb.Entry
	bytes   int
	verifier
}

// LiveEntries reads entries with index in (after, through] of which live needs
// an offset, in order, for a replica that is too far behind: about maxBytes of
// data, and at least one entry unless none is left. All up to next was looked at; the
// caller goes on from there until it is through. What a checkpoint dropped meanwhile, because
// it is dead by now, is left out. Chunks and blocks without anything live are not read.
func (l *Log) LiveEntries(after, through record.Index, live func(from, to record.Offset) bool, maxBytes int) (entries []*raftpb.Entry, next record.Index, err error) {
	if live == nil {
		return nil, max(after, through), nil
	}
	r := &liveRead{log: l, live: live, through: through, max: maxBytes, next: after, verifier: verifier{seed: l.seed}}
	for err == nil && r.next < through && !r.full() {
		err = r.more()
	}
	if err != nil && len(r.entries) == 0 {
		return nil, after, err
	}
	return r.entries, r.next, nil // the next call meets an error again
}

func (r *liveRead) full() bool { return r.bytes >= r.max && len(r.entries) > 0 }

// more looks at one chunk, or at all that is in memory.
func (r *liveRead) more() error {
	l, q := r.log, indexQuery(r.next+1, r.through+1, 0)
	l.mu.RLock()
	if err := l.readable(); err != nil {
		l.mu.RUnlock()
		return err
	}
	c := l.findChunk(&q, r.next)
	if c == nil || c.first > r.through {
		runs := l.findItems(nil, &q, r.next)
		l.mu.RUnlock()
		return r.memory(runs)
	}
	limit := min(c.last, r.through)
	c.seg.retain()
	l.mu.RUnlock()
	defer c.seg.release()
	if c.base == c.end || !r.live(c.base, c.end) {
		r.next = limit
		return nil
	}
	return r.chunk(c, limit)
}

// chunk reads the blocks of a chunk that hold something live.
func (r *liveRead) chunk(c *chunk, limit record.Index) error {
	marks, err := r.log.chunkMarks(c, true)
	if err != nil {
		return err
	}
	q := indexQuery(r.next+1, limit+1, 0)
	for b := firstBlock(marks, &q, r.next); b < len(marks) && r.next < limit && !r.full(); {
		end := c.end
		if b+1 < len(marks) {
			end = marks[b+1].base
		}
		if marks[b].base == end || !r.live(marks[b].base, end) {
			b++
			r.passed(marks, b, limit)
			continue
		}
		// Not into the cache, which is for those who read the same again.
		p, err := r.log.readPiece(c, marks, b, int64(min(r.max-r.bytes, maxRead)))
		if err != nil {
			return err
		}
		if err := r.take(between(p.items, r.next, limit)); err != nil {
			return err
		}
		if p.err != nil {
			return r.log.rots(p.err)
		}
		b = p.to
		r.passed(marks, b, limit)
	}
	return nil
}

// passed notes that the blocks before b were looked at.
func (r *liveRead) passed(marks []mark, b int, limit record.Index) {
	if b == len(marks) {
		r.next = limit
	} else {
		r.next = min(limit, max(r.next, marks[b].index-1))
	}
}

func (r *liveRead) memory(runs [][]item) error {
	for _, items := range runs {
		for len(items) > 0 {
			n := 0
			for n < len(items) && items[n].index() <= r.through && n < 64 {
				n++
			}
			if n == 0 { // the first of them lies beyond
				r.next = r.through
				return nil
			}
			if err := r.take(items[:n]); err != nil || r.full() {
				return err
			}
			items = items[n:]
		}
	}
	r.next = r.through
	return nil
}

// take adds those of the items that are live.
func (r *liveRead) take(items []item) error {
	for i := range items {
		it := &items[i]
		if it.count > 0 && r.live(it.base, it.end()) {
			if !r.valid(it) {
				return r.log.rots(fmt.Errorf("%w: log %d, index %d: its memory does not match its checksum", ErrDamaged, r.log.id, it.index()))
			}
			r.entries = append(r.entries, it.e)
			r.bytes += len(it.e.Data)
		}
		r.next = it.index()
	}
	return nil
}
