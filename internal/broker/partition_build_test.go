package broker

import "testing"

// TestTogether: batches go into an entry up to its limit, at least one; one that is kept whole goes alone.
func TestTogether(t *testing.T) {
	const limit = 100
	for _, c := range []struct {
		name    string
		waiting []int // sizes; below 0: kept whole
		n, size int
	}{
		{"up to the limit", []int{40, 60, 1}, 2, 100},
		{"a large one", []int{500, 1}, 1, 500},
		{"a whole one first", []int{-50, 10}, 1, 50},
		{"a whole one behind others", []int{10, 20, -50, 10}, 2, 30},
		{"whole ones", []int{-50, -20}, 1, 50},
	} {
		var s partitionShard
		for _, size := range c.waiting {
			e := &appendEvent{}
			if size < 0 {
				e.mem = make([]byte, AppendRoom-size)
				e.batch = e.mem[AppendRoom:]
			} else {
				e.batch = make([]byte, size)
			}
			s.waiting.push(e)
		}
		if n, size := s.together(limit); n != c.n || size != c.size {
			t.Errorf("%s: %d batches, %d bytes; want %d, %d", c.name, n, size, c.n, c.size)
		}
	}
}
