package amqp

import (
	"context"
	"sync/atomic"
	"time"
)

// pending counts the publications and settlements of a connection whose effect
// is not there yet. A client may expect that what it does next on the
// connection sees what it did before: a message that it published and then
// asks for with basic.get, one that it rejected and then counts. The methods
// that look at a queue wait for that.
type pending struct {
	n       atomic.Int64
	idle    chan struct{} // capacity 1: n became 0
	settled func(error)   // p.done as the broker wants it
}

func newPending() *pending {
	p := &pending{idle: make(chan struct{}, 1)}
	p.settled = func(error) { p.done() }
	return p
}

func (p *pending) add() { p.n.Add(1) }

func (p *pending) done() {
	if p.n.Add(-1) == 0 {
		signal(p.idle)
	}
}

// maxPendingWait bounds the waiting: a queue that cannot make progress must not keep a
// client from looking at another one.
const maxPendingWait = 5 * time.Second

// wait returns when nothing is pending, or ctx is done, or it took too long.
func (p *pending) wait(ctx context.Context) {
	if p.n.Load() == 0 {
		return
	}
	timeout := time.NewTimer(maxPendingWait)
	defer timeout.Stop()
	for p.n.Load() > 0 {
		select {
		case <-p.idle:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}
