package broker

import (
	"sync"
	"sync/atomic"
)

// budget bounds the bytes that were published and are not durable yet.
// Publishers wait when it is spent; that stops the reading of their sockets.
type budget struct {
	limit int64
	used  atomic.Int64

	waiting atomic.Int32 // number of waiters, so that release needs no lock when there is none
	mu      sync.Mutex   // guards room and closed
	room    *sync.Cond
	closed  bool
}

func newBudget(limit int64) *budget {
	b := &budget{limit: limit}
	b.room = sync.NewCond(&b.mu)
	return b
}

// acquire waits until the budget is not spent and takes n bytes of it. One
// message may overdraw it, so that a message larger than the budget passes.
func (b *budget) acquire(n int64) {
	if b.used.Add(n) <= b.limit+n {
		return
	}
	b.used.Add(-n)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.Add(1)
	defer b.waiting.Add(-1)
	for !b.closed && b.used.Load() >= b.limit {
		b.room.Wait()
	}
	b.used.Add(n)
}

// release gives n bytes back.
func (b *budget) release(n int64) {
	if b.used.Add(-n) < b.limit && b.waiting.Load() > 0 {
		// A waiter that has counted itself in but not looked yet holds mu.
		b.mu.Lock()
		b.room.Broadcast()
		b.mu.Unlock()
	}
}

// close lets everyone through from now on.
func (b *budget) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.room.Broadcast()
}
