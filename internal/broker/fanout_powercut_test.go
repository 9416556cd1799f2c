package broker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestFanOutLosesNothingInAPowerCut publishes to an exchange with some queues,
// which share each message on disk, and cuts the power at a random sync: every
// queue has all that was confirmed, in order.
func TestFanOutLosesNothingInAPowerCut(t *testing.T) {
	const queues = 5
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 256<<10)
	for i := range queues {
		name := fmt.Sprint("q", i)
		n.declare(t, QueueSpec{Name: name, Durable: true})
		if err := n.session.Bind(testContext(t), Binding{Source: "amq.fanout", Destination: name}); err != nil {
			t.Fatal(err)
		}
	}
	n.stop(t)
	w := &cutWorld{confirmed: map[uint64]bool{}}
	for range 10 {
		fs = w.fanOutLife(t, fs, rng)
		n := startTestNode(t, fs, 256<<10)
		for i := range queues {
			w.hasAll(t, n, fmt.Sprint("q", i))
		}
		n.stop(t)
		if t.Failed() {
			return
		}
	}
}

// fanOutLife publishes until the power is cut, and returns what the disk holds.
func (w *cutWorld) fanOutLife(t *testing.T, fs *vfs.Mem, rng *rand.Rand) (clone *vfs.Mem) {
	n := startTestNode(t, fs, 256<<10)
	w.over = false
	after, cutSeed, dead := 1+rng.IntN(60), rng.Uint64(), make(chan struct{})
	var syncs sync.Mutex // guards after and clone
	fs.OnSync(func(vfs.SyncPoint) {
		syncs.Lock()
		defer syncs.Unlock()
		if after--; after != 0 {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		clone, w.over = fs.CrashClone(cutSeed), true
		close(dead)
	})
	p := &cutPublisher{w, make(chan struct{}, 50)}
	for alive := true; alive; {
		select {
		case <-dead:
			alive = false
		case p.slots <- struct{}{}:
			w.next++
			m := record.Message{Time: time.Now().UnixMilli(), TTL: record.NoTTL, Exchange: []byte("amq.fanout"), Properties: []byte{0, 0},
				Body: fmt.Appendf(make([]byte, rng.IntN(2000)), "%20d", w.next)}
			if _, err := n.session.Publish(&Publication{Exchange: "amq.fanout", Stored: m.Append(nil)}, p, w.next); err != nil {
				t.Error(err)
			}
		}
	}
	fs.OnSync(nil)
	n.stop(t)
	return clone
}

// hasAll empties a queue into a check of what it must hold; nothing is settled.
func (w *cutWorld) hasAll(t *testing.T, n *testNode, queue string) {
	ready := n.declare(t, QueueSpec{Name: queue, Durable: true}).Ready
	bodies := make(chan string, ready)
	s := n.consumeBodies(t, queue, bodies, ready)
	defer s.Close()
	held, last := map[uint64]bool{}, uint64(0)
	for range ready {
		body := <-bodies
		var v uint64
		if _, err := fmt.Sscan(body[len(body)-20:], &v); err != nil || v <= last || v > w.next {
			t.Errorf("%s: %q after %d", queue, body[len(body)-20:], last)
		}
		held[v], last = true, v
	}
	for v := range w.confirmed {
		if !held[v] {
			t.Errorf("%s: %d was confirmed and is gone", queue, v)
		}
	}
}

// bodySink takes the bodies of so many messages.
type bodySink struct {
	mu   sync.Mutex // guards left
	left int
	to   chan string
}

func (b *bodySink) Take(*Subscription, int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left--
	return b.left >= 0
}

func (b *bodySink) Deliver(_ *Subscription, d *Delivery) { b.to <- string(d.Message.Body) }

func (b *bodySink) Room(*Subscription) (messages, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(b.left, 0), 1 << 30
}

func (b *bodySink) Lost(*Subscription) {}

func (b *bodySink) Canceled(*Subscription) {}

func (n *testNode) consumeBodies(t *testing.T, queue string, to chan string, count int) *Subscription {
	t.Helper()
	s, err := n.session.Subscribe(testContext(t), SubscribeOptions{Queue: queue}, &bodySink{left: count, to: to}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
