package broker

import (
	"encoding/binary"
	"testing"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// countingLender counts loans; it lends when lends is set.
type countingLender struct {
	lends bool
	lent  int
	back  chan struct{}
}

func (l *countingLender) Lend() bool {
	if l.lends {
		l.lent++
	}
	return l.lends
}

func (l *countingLender) GiveBack() { l.back <- struct{}{} }

// TestLentMessages: what is lent is given back once, whatever becomes of it. What is not lent,
// or goes to several queues, is copied before Publish returns.
func TestLentMessages(t *testing.T) {
	const value = 42
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	for _, q := range []QueueSpec{
		{Name: "a", Durable: true}, {Name: "b", Durable: true}, {Name: "memory"},
		{Name: "full", Durable: true, Args: record.Table{"x-max-length": int32(0), "x-overflow": "reject-publish"}},
	} {
		n.declare(t, q)
	}
	baskets := map[string]*basket{}
	for _, q := range []string{"a", "b", "memory"} {
		if err := n.session.Bind(testContext(t), Binding{Source: "amq.fanout", Destination: q}); err != nil {
			t.Fatal(err)
		}
		baskets[q] = newBasket(100)
		if _, err := n.session.Subscribe(testContext(t), SubscribeOptions{Queue: q, NoAck: true}, baskets[q], nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		exchange, key string
		lends         bool
		loans         int
		queues        []string
		refused       bool
	}{
		"one queue":         {key: "a", lends: true, loans: 1, queues: []string{"a"}},
		"too much is lent":  {key: "a", queues: []string{"a"}},
		"a queue in memory": {key: "memory", lends: true, loans: 1, queues: []string{"memory"}},
		"several queues":    {exchange: "amq.fanout", lends: true, queues: []string{"a", "b", "memory"}},
		"no queue":          {key: "nowhere", lends: true},
		"a full queue":      {key: "full", lends: true, loans: 1, queues: []string{"full"}, refused: true},
	} {
		t.Run(name, func(t *testing.T) {
			lender := &countingLender{lends: c.lends, back: make(chan struct{}, 2)}
			p := publicationTo(c.key, binary.LittleEndian.AppendUint64(nil, value))
			p.Exchange, p.Lender = c.exchange, lender
			confirmed := make(confirms, 1)
			queues, err := n.session.Publish(p, confirmed, 1)
			if err != nil || queues != len(c.queues) || lender.lent != c.loans {
				t.Fatalf("%d queues, %d loans, %v", queues, lender.lent, err)
			}
			for range c.loans {
				select {
				case <-lender.back:
				case <-testContext(t).Done():
					t.Fatal("not given back")
				}
			}
			clear(p.Stored)
			if queues > 0 {
				if err := <-confirmed; (err != nil) != c.refused {
					t.Fatal(err)
				}
			}
			for _, q := range c.queues {
				if b := baskets[q]; b != nil {
					if r := <-b.ch; r.value != value {
						t.Errorf("queue %s delivers %d", q, r.value)
					}
				}
			}
			if len(lender.back) > 0 {
				t.Error("given back twice")
			}
		})
	}
}
