package check

import (
	"iter"
	"maps"
	"slices"
)

const chunkLen = 1 << 10

// table maps numbers that are dense in places to T: counters of a producer,
// offsets of a partition. Its memory does not depend on how large they are.
type table[T any] struct {
	chunks map[uint64]*[chunkLen]T
	last   *[chunkLen]T // the chunk that was used last, whose number is lastNo
	lastNo uint64
}

// at returns the place of k, which is zero at first.
func (t *table[T]) at(k uint64) *T {
	no := k / chunkLen
	if t.last == nil || t.lastNo != no {
		if t.chunks == nil {
			t.chunks = make(map[uint64]*[chunkLen]T)
		}
		if t.chunks[no] == nil {
			t.chunks[no] = new([chunkLen]T)
		}
		t.last, t.lastNo = t.chunks[no], no
	}
	return &t.last[k%chunkLen]
}

// get returns what at returned for k, or zero.
func (t *table[T]) get(k uint64) (v T) {
	if c := t.chunks[k/chunkLen]; c != nil {
		v = c[k%chunkLen]
	}
	return v
}

// all goes over every place of the chunks that are there, in increasing order.
func (t *table[T]) all() iter.Seq2[uint64, *T] {
	return func(yield func(uint64, *T) bool) {
		for _, no := range slices.Sorted(maps.Keys(t.chunks)) {
			c := t.chunks[no]
			for i := range c {
				if !yield(no*chunkLen+uint64(i), &c[i]) {
					return
				}
			}
		}
	}
}
