package kafka

import "sync/atomic"

// fetchBytes of Fetch responses may wait to be sent.
const fetchBytes = 512 << 20

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
