package queue

import (
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/record"
)

// check fails the test when the set breaks its own rules or differs from want.
func (s *Offsets) check(t *rapid.T, want map[record.Offset]bool) {
	t.Helper()
	var last record.Offset = -2
	var count int64
	for i, c := range s.chunks {
		if len(c.ranges) == 0 && len(s.chunks) > 1 {
			t.Fatalf("chunk %d of %d is empty", i, len(s.chunks))
		}
		if len(c.ranges) >= chunkSize {
			t.Fatalf("chunk %d has %d ranges", i, len(c.ranges))
		}
		for _, r := range c.ranges {
			if r.from <= last || r.to <= r.from {
				t.Fatalf("range [%d, %d) after %d", r.from, r.to, last)
			}
			for off := r.from; off < r.to; off++ {
				if !want[off] {
					t.Fatalf("%d is in the set", off)
				}
			}
			last = r.to
			count += int64(r.to - r.from)
		}
	}
	if count != s.count || count != int64(len(want)) {
		t.Fatalf("count %d, in ranges %d, want %d", s.count, count, len(want))
	}
}

func TestOffsetsAgainstMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{20, 300, 3000}).Draw(t, "size")
		var s Offsets
		model := map[record.Offset]bool{}
		var frozen *Offsets
		var frozenModel map[record.Offset]bool
		if size == 3000 { // many gaps, hence many chunks
			for off := record.Offset(0); off < 3000; off += 2 {
				s.Add(off, off+1)
				model[off] = true
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(t *rapid.T) {
				s.check(t, model)
				if frozen != nil {
					frozen.check(t, frozenModel)
				}
			},
			"change": func(t *rapid.T) {
				from := record.Offset(rapid.IntRange(0, size).Draw(t, "from"))
				n := rapid.OneOf(rapid.IntRange(0, 3), rapid.IntRange(0, size)).Draw(t, "n")
				to := from + record.Offset(n)
				add := rapid.Bool().Draw(t, "add")
				var changed int64
				for off := from; off < to; off++ {
					if model[off] != add {
						changed++
					}
					if add {
						model[off] = true
					} else {
						delete(model, off)
					}
				}
				op := s.Remove
				if add {
					op = s.Add
				}
				if got := op(from, to); got != changed {
					t.Fatalf("changed %d, want %d", got, changed)
				}
			},
			"next": func(t *rapid.T) {
				off := record.Offset(rapid.IntRange(0, size+1).Draw(t, "off"))
				want := off
				for want <= record.Offset(2*size) && !model[want] {
					want++
				}
				from, to, ok := s.Next(off)
				if ok != model[want] || ok && (from != want || model[to] || !model[to-1]) {
					t.Fatalf("Next(%d) = [%d, %d) %v, want from %d", off, from, to, ok, want)
				}
			},
			"clone": func(t *rapid.T) {
				frozen, frozenModel = s.Clone(), map[record.Offset]bool{}
				for off := range model {
					frozenModel[off] = true
				}
			},
		})
	})
}

// A queue that is consumed as fast as it is filled must not allocate for it.
func TestOffsetsSteadyStateDoesNotAllocate(t *testing.T) {
	var s Offsets
	var next record.Offset
	step := func() {
		s.Add(next, next+16)
		for range 16 {
			off, _ := s.First()
			s.Remove(off, off+1)
		}
		next += 16
	}
	step()
	if n := testing.AllocsPerRun(1000, step); n != 0 {
		t.Fatalf("%v allocations per step", n)
	}
}

func BenchmarkOffsetsHeadAndTail(b *testing.B) {
	b.ReportAllocs()
	var s Offsets
	s.Add(0, 1000)
	for i := range b.N {
		off := record.Offset(i)
		s.Add(off+1000, off+1001)
		s.Remove(off, off+1)
	}
}

// BenchmarkOffsetsManyGaps settles every other of a million offsets from the middle on.
func BenchmarkOffsetsManyGaps(b *testing.B) {
	b.ReportAllocs()
	var s Offsets
	for i := range b.N {
		off := record.Offset(i%500_000) * 2
		if i%1_000_000 < 500_000 {
			s.Add(1_000_000-off, 1_000_001-off)
		} else {
			s.Remove(1_000_000-off, 1_000_001-off)
		}
	}
}
