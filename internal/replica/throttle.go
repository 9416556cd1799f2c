package replica

import (
	"context"
	"sync"
	"time"
)

// throttle lets so many bytes a second pass. Who took some waits for as long as they
// take at that rate, behind those who came before, so the first one waits for its own only.
type throttle struct {
	rate int64 // bytes a second; 0: no limit

	mu   sync.Mutex // guards free
	free time.Time  // when all that was taken has passed
}

// pass returns when n bytes more have passed.
func (t *throttle) pass(ctx context.Context, n int) error {
	if t.rate <= 0 || n == 0 {
		return nil
	}
	t.mu.Lock()
	now := time.Now()
	if t.free.Before(now) {
		t.free = now
	}
	t.free = t.free.Add(time.Duration(float64(n) / float64(t.rate) * float64(time.Second)))
	wait := t.free.Sub(now)
	t.mu.Unlock()
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
