package sim

import (
	"sync"
	"testing/synctest"
	"time"
)

// bubble is how a World with brokers lives with their goroutines, in a bubble of
// testing/synctest: the time in there stands still as long as any goroutine can run. Before
// every event the World waits until none can (settle). What they have for
// the World, a message to send, a shard to be stepped, they post. So everything that the World decides
// it decides in between, at a moment that the seed gives.
type bubble struct {
	timer *time.Timer

	mu     sync.Mutex // guards posted
	posted []func()
	wake   chan struct{} // capacity 1: something was posted
}

func (b *bubble) init() {
	b.timer = time.NewTimer(time.Hour)
	b.wake = make(chan struct{}, 1)
}

// post has do run on the goroutine of the World, now. It may be called from any goroutine.
func (w *World) post(do func()) {
	b := &w.bubble
	b.mu.Lock()
	b.posted = append(b.posted, do)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// settle waits until no goroutine can go on, and does what they have posted.
func (w *World) settle() {
	b := &w.bubble
	for !w.failed() {
		synctest.Wait()
		w.now = time.Now()
		b.mu.Lock()
		posted := b.posted
		b.posted = nil
		b.mu.Unlock()
		if len(posted) == 0 {
			return
		}
		for _, do := range posted {
			do()
		}
	}
}

// sleep lets time pass until at; false when something was posted before.
func (w *World) sleep(at time.Time) bool {
	d := at.Sub(w.now)
	if d <= 0 {
		return true
	}
	b := &w.bubble
	b.timer.Reset(d)
	select {
	case <-b.timer.C:
		w.now = time.Now()
		return true
	case <-b.wake:
		w.now = time.Now()
		return false
	}
}

// time is what passes for all. It may be asked for from any goroutine.
func (w *World) time() time.Time {
	if w.cfg.Broker {
		return time.Now()
	}
	return w.now
}
