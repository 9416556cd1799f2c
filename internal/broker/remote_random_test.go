package broker

import (
	"context"
	"flag"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"waybill/internal/record"
	"waybill/test/check"
)

var forwardSeed = flag.Uint64("forward.seed", 0, "seed of TestForwardingUnderFaults, 0 for several by chance")

// TestForwardingUnderFaults lets clients of three nodes publish to one queue
// and consume from it, while the leader moves and connections are cut, and
// checks what they saw.
func TestForwardingUnderFaults(t *testing.T) {
	if *forwardSeed != 0 {
		forwardUnderFaults(t, *forwardSeed)
		return
	}
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		forwardUnderFaults(t, rand.Uint64())
	}
}

func forwardUnderFaults(t *testing.T, seed uint64) {
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(seed, 0))
		r := newRig(t, 3, 2+rng.IntN(2), nil)
		r.rng = rand.New(rand.NewPCG(seed, 1))
		r.lead(1)
		defer r.stop()
		w := &faultyWorld{rig: r, over: make(chan struct{}), fresh: map[check.Value]int{}, came: map[check.Value]bool{}}
		for i := range r.nodes {
			w.publishers.Go(func() { w.publish(t, uint32(i), rand.New(rand.NewPCG(seed, uint64(10+i)))) })
			w.consumers.Go(func() { w.consume(t, i, rand.New(rand.NewPCG(seed, uint64(20+i)))) })
		}
		w.trouble(rng)
		w.publishers.Wait()
		// All is well from here on, and everything comes.
		for deadline := time.Now().Add(5 * time.Minute); w.queue.Missing() > 0 || !w.drained(); {
			if time.Now().After(deadline) {
				t.Errorf("seed %d: %d acked messages did not come; %+v", seed, w.queue.Missing(), r.nodes[0].queue.Depth())
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		close(w.over)
		w.consumers.Wait()
		report := w.queue.Report()
		if err := report.Err(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		w.checkTogether(t, seed)
		if report.Acked < report.Attempted/4 {
			t.Errorf("seed %d: hardly anything was confirmed: %v", seed, report)
		}
		t.Log(report)
	})
}

type faultyWorld struct {
	*rig
	queue      check.Queue
	publishers sync.WaitGroup
	consumers  sync.WaitGroup
	over       chan struct{}

	mu       sync.Mutex // guards the rest
	fresh    map[check.Value]int
	came     map[check.Value]bool
	together [][]check.Value
}

// checkTogether: what was published together is there, or nothing of it.
func (w *faultyWorld) checkTogether(t *testing.T, seed uint64) {
	all, none := 0, 0
	for _, unit := range w.together {
		n := 0
		for _, v := range unit {
			if w.came[v] {
				n++
			}
		}
		switch n {
		case len(unit):
			all++
		case 0:
			none++
		default:
			t.Errorf("seed %d: of %d messages from %v on that were published together %d came", seed, len(unit), unit[0], n)
		}
	}
	t.Logf("%d times all came that was published together, %d times nothing", all, none)
}

// received tells the checker. A leader may have sent a message for the first time, and lost its
// place, and the next leader's message, which is flagged, comes to another
// client before: that one without a flag may be late, but there is one at most.
func (w *faultyWorld) received(v check.Value, redelivered bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.came[v] = true
	if !redelivered {
		w.fresh[v]++
	}
	w.queue.Received(v, redelivered || w.fresh[v] == 1)
}

// trouble moves the leader and cuts connections for a while, and mends everything.
func (w *faultyWorld) trouble(rng *rand.Rand) {
	hosts := 0
	for _, n := range w.nodes {
		if n.raft != nil {
			hosts++
		}
	}
	for range 30 {
		time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
		switch rng.IntN(4) {
		case 0, 1:
			w.lead(0)
			time.Sleep(time.Duration(rng.IntN(50)) * time.Millisecond)
			w.lead(uint64(1 + rng.IntN(hosts)))
		case 2:
			a := uint64(1 + rng.IntN(3))
			w.hangUp(a, a%3+1, rng.IntN(2) == 0)
		case 3:
			for a := range uint64(3) {
				w.hangUp(a+1, (a+1)%3+1, false)
			}
		}
	}
	for a := range uint64(3) {
		w.hangUp(a+1, (a+1)%3+1, false)
	}
	w.lead(1)
}

func (w *faultyWorld) drained() bool {
	d := w.nodes[0].queue.Depth()
	return d.Ready+d.Unacked == 0
}

// outcomes is a Publisher that tells the checker.
type outcomes struct {
	w        *faultyWorld
	producer uint32
	slots    chan struct{}
}

func (o *outcomes) Published(tag uint64, err error) {
	if err == nil {
		o.w.queue.Acked(check.Value{Producer: o.producer, Counter: uint32(tag)})
	}
	<-o.slots
}

func (w *faultyWorld) publish(t *testing.T, producer uint32, rng *rand.Rand) {
	o := &outcomes{w: w, producer: producer, slots: make(chan struct{}, 20)}
	for counter := uint32(0); counter < 400; {
		n := uint32(1)
		if rng.IntN(4) == 0 {
			n += rng.Uint32N(8)
		}
		w.publishTogether(t, o, counter, n, func() int {
			if n > 1 && rng.IntN(4) == 0 {
				return 20_000 // together they are larger than an entry, and than a frame
			}
			return rng.IntN(200)
		})
		counter += n
		if rng.IntN(10) == 0 {
			time.Sleep(time.Duration(rng.IntN(100)) * time.Millisecond)
		}
	}
	for range cap(o.slots) {
		o.slots <- struct{}{}
	}
}

// publishTogether publishes n messages, together when they are several.
func (w *faultyWorld) publishTogether(t *testing.T, o *outcomes, counter, n uint32, size func() int) {
	session := w.nodes[o.producer].session
	gather := session.Together()
	var unit []check.Value
	for range n {
		o.slots <- struct{}{}
		v := check.Value{Producer: o.producer, Counter: counter}
		w.queue.Attempt(v)
		unit = append(unit, v)
		p := w.lend(publicationTo("q", v.Payload(size())))
		publish := gather.Publish
		if n == 1 {
			publish = session.Publish
		}
		if queues, err := publish(p, o, uint64(counter)); queues != 1 || err != nil {
			t.Errorf("%d queues, %v", queues, err)
		}
		counter++
	}
	gather.Post()
	if n > 1 {
		w.mu.Lock()
		w.together = append(w.together, unit)
		w.mu.Unlock()
	}
}

// client is a Sink with a prefetch window. It settles at random.
type client struct {
	w   *faultyWorld
	sub *Subscription

	mu     sync.Mutex // guards the rest
	window int
	held   []record.Offset // not settled
	paused bool
	wake   chan struct{} // capacity 1: something was delivered
}

func (c *client) Take(*Subscription, int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = len(c.held) >= c.window
	return !c.paused
}

func (c *client) Room(*Subscription) (messages, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = len(c.held) >= c.window
	return c.window - len(c.held), 1 << 20
}

func (c *client) Deliver(_ *Subscription, d *Delivery) {
	v, err := check.ParsePayload(d.Message.Body)
	if err != nil {
		c.w.queue.Malformed(err)
	} else {
		c.w.received(v, d.Redelivered)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = append(c.held, d.Offset)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *client) Lost(*Subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = nil
	if c.paused {
		c.paused = false
		c.sub.Resume()
	}
}

func (c *client) Canceled(*Subscription) { panic("the queue is not gone") }

// settle settles something, and resumes.
func (c *client) settle(rng *rand.Rand) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.held) == 0 {
		return
	}
	n := 1 + rng.IntN(len(c.held))
	outcome := Accept
	if rng.IntN(5) == 0 {
		outcome = Requeue
	}
	c.sub.Settle(outcome, c.held[:n:n], nil)
	c.held = append([]record.Offset(nil), c.held[n:]...)
	if c.paused {
		c.paused = false
		c.sub.Resume()
	}
}

// consume is an application that often starts again.
func (w *faultyWorld) consume(t *testing.T, node int, rng *rand.Rand) {
	for {
		c := &client{w: w, window: 1 + rng.IntN(10), wake: make(chan struct{}, 1)}
		opened := func(s *Subscription) { c.sub = s }
		_, err := w.nodes[node].session.Subscribe(context.Background(), SubscribeOptions{Queue: "q"}, c, opened)
		if err != nil {
			continue // no leader for ten seconds
		}
		for range 1 + rng.IntN(200) {
			select {
			case <-w.over:
				c.sub.Close()
				return
			case <-c.wake:
				if rng.IntN(3) == 0 {
					time.Sleep(time.Duration(rng.IntN(20)) * time.Millisecond)
				}
				c.settle(rng)
				c.mu.Lock()
				more := len(c.held) > 0
				c.mu.Unlock()
				if more {
					select {
					case c.wake <- struct{}{}:
					default:
					}
				}
			case <-time.After(time.Second):
			}
		}
		if rng.IntN(2) == 0 {
			canceled := make(chan struct{})
			c.sub.Cancel(func() { close(canceled) })
			<-canceled
		}
		c.sub.Close()
	}
}
