package kafka

import (
	"runtime/debug"
	"sync/atomic"
)

// budget is a number of bytes that all Fetch responses share, from their
// reading until they are sent. It is never waited for: who comes when little
// is left gets little, or nothing for now.
type budget struct{ free atomic.Int64 }

// memoryLimit is GOMEMLIMIT, in bytes. The process may hold its heap with a limit of its own later, which is none.
var memoryLimit = debug.SetMemoryLimit(-1)

// fetchBytes is the size of the budget: a quarter of a gigabyte, or an eighth of
// GOMEMLIMIT when that is less.
func fetchBytes() int64 {
	const standard, floor = 256 << 20, 8 << 20
	return max(floor, min(standard, memoryLimit/8))
}

// leastGrant is the smallest share that is worth a response.
const leastGrant = 1 << 20

// take grants up to want bytes: no more than a quarter of what is free, unless
// that is very little; 0 when there is nothing to grant.
func (b *budget) take(want int) int {
	for {
		free := b.free.Load()
		n := min(int64(want), max(free/4, leastGrant))
		if n > free {
			return 0
		}
		if b.free.CompareAndSwap(free, free-n) {
			return int(n)
		}
	}
}

func (b *budget) give(n int) { b.free.Add(int64(n)) }
