package broker

import (
	"math/rand/v2"
	"sync"
	"testing"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestDurableQueueLosesNothingInAPowerCut publishes and consumes while the
// power is cut at a random sync, many times on the same disk: what was confirmed and
// not settled is there afterwards, once, in order, and flagged if it
// was delivered; what was settled durably is not.
func TestDurableQueueLosesNothingInAPowerCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 256<<10)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	n.stop(t)
	w := &cutWorld{confirmed: map[uint64]bool{}, settled: map[uint64]bool{}, delivered: map[uint64]bool{}}
	for range 20 {
		clone := w.life(t, fs, rng)
		if fs = clone; t.Failed() {
			return
		}
		w.inspect(t, fs)
	}
}

// cutWorld is what the clients know, over all lives of the disk.
type cutWorld struct {
	mu        sync.Mutex // guards the maps and next
	next      uint64
	confirmed map[uint64]bool
	settled   map[uint64]bool // durably
	settling  map[uint64]bool // or perhaps
	delivered map[uint64]bool
	over      bool // the power is cut: what is answered now does not count
}

type cutPublisher struct {
	w     *cutWorld
	slots chan struct{}
}

func (p *cutPublisher) Published(tag uint64, err error) {
	p.w.mu.Lock()
	if err == nil && !p.w.over {
		p.w.confirmed[tag] = true
	}
	p.w.mu.Unlock()
	<-p.slots
}

func (w *cutWorld) life(t *testing.T, fs *vfs.Mem, rng *rand.Rand) *vfs.Mem {
	n := startTestNode(t, fs, 256<<10)
	w.over, w.settling = false, map[uint64]bool{}
	after := 1 + rng.IntN(40)
	cutSeed := rng.Uint64()
	dead := make(chan struct{})
	var once sync.Once
	var clone *vfs.Mem
	var syncs sync.Mutex // guards after
	fs.OnSync(func(vfs.SyncPoint) {
		syncs.Lock()
		after--
		cut := after == 0
		syncs.Unlock()
		if cut {
			once.Do(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				clone = fs.CrashClone(cutSeed)
				w.over = true
				close(dead)
			})
		}
	})
	var clients sync.WaitGroup
	clients.Go(func() { w.publish(n, dead) })
	clients.Go(func() { w.consume(t, n, dead) })
	clients.Wait()
	fs.OnSync(nil)
	n.stop(t)
	return clone
}

func (w *cutWorld) publish(n *testNode, dead chan struct{}) {
	p := &cutPublisher{w, make(chan struct{}, 50)}
	for {
		select {
		case <-dead:
			return
		case p.slots <- struct{}{}:
		}
		w.mu.Lock()
		w.next++
		v := w.next
		w.mu.Unlock()
		if err := n.publishValue("q", v, 100+int(v%1000), p, v); err != nil {
			panic(err)
		}
	}
}

func (w *cutWorld) consume(t *testing.T, n *testNode, dead chan struct{}) {
	b := newBasket(20)
	s := n.consume(t, "q", b)
	for {
		var r received
		select {
		case <-dead:
			return
		case r = <-b.ch:
		}
		w.mu.Lock()
		if !w.over {
			if w.settled[r.value] {
				t.Errorf("%d comes again, though its settlement was durable", r.value)
			}
			if w.delivered[r.value] && !r.again {
				t.Errorf("%d comes again without the flag", r.value)
			}
			w.delivered[r.value] = true
			w.settling[r.value] = true
		}
		w.mu.Unlock()
		var done func(error)
		if r.value%7 == 0 {
			done = func(err error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if err == nil && !w.over {
					w.settled[r.value] = true
				}
			}
		}
		s.Settle(Accept, []record.Offset{r.off}, done)
		b.more(s, 1)
	}
}

// inspect looks at all that the queue holds, and leaves it there.
func (w *cutWorld) inspect(t *testing.T, fs *vfs.Mem) {
	n := startTestNode(t, fs, 256<<10)
	ready := n.declare(t, QueueSpec{Name: "q", Durable: true}).Ready
	b := newBasket(ready + 1)
	n.consume(t, "q", b)
	held := map[uint64]bool{}
	last := uint64(0)
	for range ready {
		r := b.next(t)
		if r.value <= last || r.value > w.next {
			t.Errorf("%d after %d", r.value, last)
		}
		if w.settled[r.value] {
			t.Errorf("%d is there, though its settlement was durable", r.value)
		}
		if w.delivered[r.value] && !r.again {
			t.Errorf("%d comes again without the flag", r.value)
		}
		last = r.value
		held[r.value] = true
		w.delivered[r.value] = true
	}
	for v := range w.confirmed {
		switch {
		case held[v], w.settled[v]:
		case w.settling[v]:
			w.settled[v] = true // it was decided by the power cut
		default:
			t.Errorf("%d was confirmed, never settled, and is gone", v)
		}
	}
	n.stop(t)
}
