package queue

import (
	"slices"
	"sort"

	"waybill/internal/record"
)

// Offsets is a set of offsets kept as sorted ranges: its memory grows with the
// number of gaps, not of offsets. The zero value is an empty set.
//
// The ranges lie in chunks of bounded size, so that a change costs the same
// with ten ranges and ten million. Clone shares the chunks; whoever changes a shared
// one copies it first.
type Offsets struct {
	chunks []*chunk // none is empty, save a single one
	count  int64
	owner  *token
}

// token is the identity of a set that may write to its chunks.
type token struct{ _ byte }

type chunk struct {
	owner  *token
	ranges []span
}

// span is the range of offsets from, from+1, …, to-1; it is never empty.
type span struct{ from, to record.Offset }

// chunkSize is the number of ranges at which a chunk is split.
const chunkSize = 256

// place is the position of a range: its chunk and where it is in the chunk.
type place struct{ chunk, at int }

// Count is the number of offsets in the set.
func (s *Offsets) Count() int64 { return s.count }

// Clone returns a set with the same offsets, which does not change with s. It may be
// used by another goroutine than s.
func (s *Offsets) Clone() *Offsets {
	s.owner = nil // no chunk is written in place any more, by either
	return &Offsets{chunks: slices.Clone(s.chunks), count: s.count}
}

// Reset empties the set.
func (s *Offsets) Reset() {
	s.count = 0
	if len(s.chunks) == 0 {
		return
	}
	c := s.chunks[0]
	if c.owner != s.owner || s.owner == nil {
		s.chunks = nil
		return
	}
	clear(s.chunks[1:])
	c.ranges, s.chunks = c.ranges[:0], s.chunks[:1]
}

// First returns the smallest offset.
func (s *Offsets) First() (off record.Offset, ok bool) {
	if s.count == 0 {
		return 0, false
	}
	return s.chunks[0].ranges[0].from, true
}

// Next returns the first range of the set that ends after off, cut at off.
func (s *Offsets) Next(off record.Offset) (from, to record.Offset, ok bool) {
	p := s.find(off + 1)
	if !s.valid(p) {
		return 0, 0, false
	}
	r := s.chunks[p.chunk].ranges[p.at]
	return max(r.from, off), r.to, true
}

// Contains reports whether off is in the set.
func (s *Offsets) Contains(off record.Offset) bool {
	return s.Intersects(off, off+1)
}

// Intersects reports whether any offset of [from, to) is in the set.
func (s *Offsets) Intersects(from, to record.Offset) bool {
	if from >= to {
		return false
	}
	first, _, ok := s.Next(from)
	return ok && first < to
}

// Ranges calls yield for each range in order, until it returns false.
func (s *Offsets) Ranges(yield func(from, to record.Offset) bool) {
	for _, c := range s.chunks {
		for _, r := range c.ranges {
			if !yield(r.from, r.to) {
				return
			}
		}
	}
}

// Add adds [from, to) and returns how many of them were not in the set before.
func (s *Offsets) Add(from, to record.Offset) int64 {
	if from >= to {
		return 0
	}
	before := s.count
	p := s.find(from) // the first range that ends at from or later
	if !s.valid(p) {
		s.append(span{from, to})
		return s.count - before
	}
	r := s.chunks[p.chunk].ranges[p.at]
	if r.from > to {
		s.insert(p, span{from, to})
		return s.count - before
	}
	merged := span{min(from, r.from), max(to, r.to)}
	s.set(p, merged)
	for q := s.after(p); s.valid(q); q = s.after(p) {
		next := s.chunks[q.chunk].ranges[q.at]
		if next.from > merged.to {
			break
		}
		s.delete(q)
		if next.to > merged.to {
			merged.to = next.to
		}
		s.set(p, merged)
	}
	return s.count - before
}

// Remove removes [from, to) and returns how many of them were in the set.
func (s *Offsets) Remove(from, to record.Offset) int64 {
	if from >= to {
		return 0
	}
	before := s.count
	for {
		p := s.find(from + 1) // the first range that ends after from
		if !s.valid(p) {
			break
		}
		r := s.chunks[p.chunk].ranges[p.at]
		if r.from >= to {
			break
		}
		switch {
		case r.from < from && r.to > to:
			s.set(p, span{r.from, from})
			s.insert(place{p.chunk, p.at + 1}, span{to, r.to})
		case r.from < from:
			s.set(p, span{r.from, from})
		case r.to > to:
			s.set(p, span{to, r.to})
		case p.at == 0 && s.dropChunks(p.chunk, to):
		default:
			s.delete(p)
		}
	}
	return before - s.count
}

// find returns the place of the first range whose end is at least off.
func (s *Offsets) find(off record.Offset) place {
	n := len(s.chunks)
	if n == 0 {
		return place{}
	}
	ci := 0
	if n > 1 && s.chunks[0].end() < off {
		ci = sort.Search(n, func(i int) bool { return s.chunks[i].end() >= off })
		if ci == n {
			return place{n, 0}
		}
	}
	ranges := s.chunks[ci].ranges
	if len(ranges) == 0 || ranges[0].to >= off {
		return place{ci, 0}
	}
	at := sort.Search(len(ranges), func(i int) bool { return ranges[i].to >= off })
	return place{ci, at}
}

// end is the end of the last range of a chunk that has one.
func (c *chunk) end() record.Offset { return c.ranges[len(c.ranges)-1].to }

func (s *Offsets) valid(p place) bool {
	return p.chunk < len(s.chunks) && p.at < len(s.chunks[p.chunk].ranges)
}

// after is the place of the range that follows the one at p.
func (s *Offsets) after(p place) place {
	if p.at+1 < len(s.chunks[p.chunk].ranges) {
		return place{p.chunk, p.at + 1}
	}
	return place{p.chunk + 1, 0}
}

// writable returns a chunk that only this set has.
func (s *Offsets) writable(ci int) *chunk {
	c := s.chunks[ci]
	if s.owner == nil {
		s.owner = new(token)
	}
	if c.owner != s.owner {
		ranges := make([]span, len(c.ranges), max(len(c.ranges)+1, 4))
		copy(ranges, c.ranges)
		c = &chunk{owner: s.owner, ranges: ranges}
		s.chunks[ci] = c
	}
	return c
}

// set replaces the range at p.
func (s *Offsets) set(p place, r span) {
	c := s.writable(p.chunk)
	old := c.ranges[p.at]
	s.count += int64(r.to-r.from) - int64(old.to-old.from)
	c.ranges[p.at] = r
}

// append adds a range behind all others.
func (s *Offsets) append(r span) {
	n := len(s.chunks)
	if n == 0 {
		if s.owner == nil {
			s.owner = new(token)
		}
		s.chunks = append(s.chunks, &chunk{owner: s.owner})
		n = 1
	}
	s.insert(place{n - 1, len(s.chunks[n-1].ranges)}, r)
}

// insert puts a range before the one at p.
func (s *Offsets) insert(p place, r span) {
	c := s.writable(p.chunk)
	c.ranges = slices.Insert(c.ranges, p.at, r)
	s.count += int64(r.to - r.from)
	if len(c.ranges) < chunkSize {
		return
	}
	// Appending is by far the most frequent: then the full chunk is left full.
	cut := len(c.ranges) / 2
	if p.chunk == len(s.chunks)-1 && p.at == len(c.ranges)-1 {
		cut = len(c.ranges) - 1
	}
	right := &chunk{owner: s.owner, ranges: slices.Clone(c.ranges[cut:])}
	c.ranges = c.ranges[:cut]
	s.chunks = slices.Insert(s.chunks, p.chunk+1, right)
}

// delete takes out the range at p.
func (s *Offsets) delete(p place) {
	r := s.chunks[p.chunk].ranges[p.at]
	s.count -= int64(r.to - r.from)
	if len(s.chunks[p.chunk].ranges) == 1 && len(s.chunks) > 1 {
		s.removeChunks(p.chunk, p.chunk+1)
		return
	}
	c := s.writable(p.chunk)
	c.ranges = slices.Delete(c.ranges, p.at, p.at+1)
}

// dropChunks takes out all chunks from ci on that end at or before to, and
// reports whether there were any. The last chunk of the set stays.
func (s *Offsets) dropChunks(ci int, to record.Offset) bool {
	last := ci
	for last < len(s.chunks)-1 && s.chunks[last].end() <= to {
		for _, r := range s.chunks[last].ranges {
			s.count -= int64(r.to - r.from)
		}
		last++
	}
	s.removeChunks(ci, last)
	return last > ci
}

func (s *Offsets) removeChunks(from, to int) {
	if from == 0 {
		s.chunks = s.chunks[to:] // a queue is drained from its head
		return
	}
	s.chunks = slices.Delete(s.chunks, from, to)
}
