package kafka

import (
	"context"
	"sync"
	"sync/atomic"
)

const (
	// inFlightBytes of Produce requests may wait for their acknowledgement
	// before connections are not read any more.
	inFlightBytes = 256 << 20
	// fetchBytes of Fetch responses may wait to be sent.
	fetchBytes = 512 << 20
)

// flight counts the bytes of requests that are not answered yet, and holds up
// the readers while there are too many. Requests in flight always end by themselves,
// so whoever waits gets on.
type flight struct {
	max   int64
	bytes atomic.Int64

	mu     sync.Mutex
	opened chan struct{} // closed and replaced when bytes falls below max
}

func (f *flight) init(limit int64) {
	f.max = limit
	f.opened = make(chan struct{})
}

func (f *flight) add(n int) { f.bytes.Add(int64(n)) }

func (f *flight) done(n int) {
	if n == 0 {
		return
	}
	if after := f.bytes.Add(-int64(n)); after < f.max && after+int64(n) >= f.max {
		f.mu.Lock()
		close(f.opened)
		f.opened = make(chan struct{})
		f.mu.Unlock()
	}
}

// wait returns once there is room, or false when ctx ends before.
func (f *flight) wait(ctx context.Context) bool {
	for f.bytes.Load() >= f.max {
		f.mu.Lock()
		opened := f.opened
		f.mu.Unlock()
		if f.bytes.Load() < f.max { // it may have been opened just before the look
			return true
		}
		select {
		case <-opened:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// budget is a number of bytes that many share. It is never waited for: who
// comes when little is left gets little.
type budget struct{ free atomic.Int64 }

// take grants up to want bytes: never more than a quarter of what is free, and
// never less than least.
func (b *budget) take(want, least int) int {
	n := max(min(int64(want), b.free.Load()/4), int64(least))
	b.free.Add(-n)
	return int(n)
}

func (b *budget) give(n int) { b.free.Add(int64(n)) }
