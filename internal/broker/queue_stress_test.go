package broker

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestQueueUnderStress lets publishers, consumers that come and go, and pulls work
// at the same queue: each message is accepted exactly once.
func TestQueueUnderStress(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 256<<10)
	defer n.stop(t)
	for name, durable := range map[string]bool{"durable": true, "memory": false} {
		t.Run(name, func(t *testing.T) {
			n.declare(t, QueueSpec{Name: name, Durable: durable})
			s := &stress{node: n, queue: name, accepted: map[uint64]int{}, done: make(chan struct{})}
			s.run(t)
		})
	}
}

const stressMessages = 6000

type stress struct {
	node  *testNode
	queue string

	mu       sync.Mutex // guards accepted
	accepted map[uint64]int
	done     chan struct{} // closed when all are accepted
}

func (s *stress) run(t *testing.T) {
	var clients sync.WaitGroup
	const publishers = 3
	for p := range publishers {
		clients.Go(func() { s.publish(t, uint64(p), publishers) })
	}
	for c := range 4 {
		clients.Go(func() { s.consume(t, rand.New(rand.NewPCG(uint64(c), 1))) })
	}
	clients.Go(func() { s.pull(t, rand.New(rand.NewPCG(99, 1))) })
	clients.Wait()
	for v, count := range s.accepted {
		if count != 1 {
			t.Errorf("%d was accepted %d times", v, count)
		}
	}
	if status := s.node.declare(t, QueueSpec{Name: s.queue, Durable: s.queue == "durable"}); status.Ready != 0 || status.Consumers != 0 {
		t.Errorf("left behind: %+v", status)
	}
	q, _ := s.node.session.vhost.queues.get(s.queue)
	if d := q.Depth(); d.Unacked != 0 {
		t.Errorf("left behind: %+v", d)
	}
	if used := s.node.budget.used.Load(); used != 0 {
		t.Errorf("%d bytes of the budget are not given back", used)
	}
}

func (s *stress) publish(t *testing.T, first, step uint64) {
	w := make(slots, 100)
	for v := first; v < stressMessages; v += step {
		w <- struct{}{}
		if err := s.node.publishValue(s.queue, v, int(v%300), w, v); err != nil {
			t.Error(err)
			return
		}
	}
	for range cap(w) {
		w <- struct{}{} // all are confirmed
	}
}

func (s *stress) accept(v uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.accepted[v]++
	if len(s.accepted) == stressMessages {
		close(s.done)
	}
}

// consume is a client that often goes away and comes back.
func (s *stress) consume(t *testing.T, rng *rand.Rand) {
	for {
		b := newBasket(1 + rng.IntN(30))
		sub := s.node.consume(t, s.queue, b)
		for range 1 + rng.IntN(200) {
			select {
			case <-s.done:
				sub.Close()
				return
			case r := <-b.ch:
				s.decide(sub, b, r, rng)
			}
		}
		canceled := make(chan struct{})
		sub.Cancel(func() { close(canceled) })
		<-canceled
		sub.Close()
	}
}

func (s *stress) decide(sub *Subscription, b *basket, r received, rng *rand.Rand) {
	if rng.IntN(4) == 0 {
		sub.Settle(Requeue, []record.Offset{r.off}, nil)
	} else {
		s.accept(r.value)
		sub.Settle(Accept, []record.Offset{r.off}, nil)
	}
	b.more(sub, 1)
}

// pull is a client that polls, and leaves some messages to the end of its subscription.
func (s *stress) pull(t *testing.T, rng *rand.Rand) {
	for {
		sub, err := s.node.session.Subscribe(testContext(t), SubscribeOptions{Queue: s.queue, Pull: true}, nil, nil)
		if err != nil {
			t.Error(err)
			return
		}
		for range 20 {
			select {
			case <-s.done:
				sub.Close()
				return
			default:
			}
			d, _, ok, err := sub.Get(testContext(t))
			if err != nil {
				t.Error(err)
				return
			}
			if ok && rng.IntN(2) == 0 {
				s.accept(valueOf(d))
				sub.Settle(Accept, []record.Offset{d.Offset}, nil)
			}
		}
		sub.Close()
	}
}

// When the host closes, everybody is answered: publishers, settlers and verbs.
func TestQueueAnswersEveryoneAtTheEnd(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 256<<10)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	b := newBasket(10)
	sub := n.consume(t, "q", b)
	const count = 2000
	answers := make(confirms, count)
	closed := make(chan struct{})
	for v := range uint64(count) {
		if v == count/2 {
			go func() {
				n.host.Close()
				close(closed)
			}()
		}
		if err := n.publishValue("q", v, 100, answers, v); err != nil {
			t.Fatal(err)
		}
	}
	settled := make(chan error, 1)
	sub.Settle(Accept, nil, func(err error) { settled <- err })
	<-closed
	for range count {
		<-answers
	}
	<-settled
	if _, err := n.session.CheckQueue(testContext(t), "q"); err == nil {
		t.Error("a verb succeeds after the end")
	}
	if used := n.budget.used.Load(); used != 0 {
		t.Errorf("%d bytes of the budget are not given back", used)
	}
	n.Close()
	if err := n.store.Close(); err != nil {
		t.Error(err)
	}
}

// The depth of the queues can be scraped and listed.
func TestQueueCollector(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 256<<10)
	defer n.stop(t)
	n.declare(t, QueueSpec{Name: "q", Durable: true, Args: record.Table{"x-queue-type": "quorum"}})
	answers := make(confirms, 1)
	if err := n.publishValue("q", 1, 100, answers, 1); err != nil {
		t.Fatal(err)
	}
	if err := <-answers; err != nil {
		t.Fatal(err)
	}
	n.declare(t, QueueSpec{Name: "q", Durable: true, Args: record.Table{"x-queue-type": "quorum"}}) // the turn is over
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(newQueueCollector(n.Broker))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, f := range families {
		values[f.GetName()] = f.GetMetric()[0].GetGauge().GetValue()
	}
	if values["waybill_queue_messages_ready"] != 1 || values["waybill_queue_message_bytes"] != 100 {
		t.Errorf("scraped %v", values)
	}
	list := n.Queues(testContext(t))
	if len(list) != 1 || list[0].Name != "q" || list[0].Type != "quorum" || list[0].Ready != 1 {
		t.Errorf("listed %+v", list)
	}
}
