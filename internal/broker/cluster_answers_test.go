package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"waybill/internal/broker"
	"waybill/internal/broker/brokertest"
	"waybill/internal/record"
	"waybill/internal/record/recordtest"
)

// Kafka's error codes that a producer gets.
const (
	codeNotLeader            = 6
	codeRequestTimedOut      = 7
	codeNotEnough            = 19
	codeNotEnoughAfterAppend = 20
	codeOutOfOrder           = 45
)

func codeOf(err error) int16 {
	var e *broker.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

// appendBatch appends a batch at a node.
func appendBatch(t testing.TB, n *brokertest.Node, topic string, b record.Batch, timeout time.Duration) broker.AppendResult {
	t.Helper()
	tp, ok := n.Broker.Topic(topic)
	if !ok {
		t.Fatalf("node %d does not know topic %s", n.ID, topic)
	}
	a := make(appended, 1)
	tp.Partitions[0].Append(b, timeout, a, 0)
	return <-a
}

// strict makes a topic that wants a number of copies, and waits until all are in sync.
func strict(t *testing.T, c *brokertest.Cluster, name, copies string) *brokertest.Node {
	t.Helper()
	spec := broker.TopicSpec{Name: name, Partitions: 1, ReplicationFactor: 3, Configs: map[string]string{"min.insync.replicas": copies}}
	if _, err := c.Node(1).Broker.CreateTopic(bounded(t), spec, false); err != nil {
		t.Fatal(err)
	}
	c.Eventually("all are in sync", func() bool { return whole(t, c.Node(1), "topic '"+name+"'", 3) })
	return c.Leader(logOf(t, c.Node(1), "topic '"+name+"'").ID)
}

func follower(c *brokertest.Cluster, leader *brokertest.Node) uint64 {
	for _, n := range c.Nodes() {
		if n != leader {
			return n.ID
		}
	}
	return 0
}

// TestNotEnoughReplicas: with fewer replicas in sync than min.insync.replicas
// nothing is written, and the producer hears 19.
func TestNotEnoughReplicas(t *testing.T) {
	c := brokertest.New(t, 3)
	leader := strict(t, c, "t", "3")
	if r := appendOne(leader, "t", 0, "first", time.Minute); r.Err != nil {
		t.Fatal(r.Err)
	}
	c.Kill(follower(c, leader))
	c.Eventually("19", func() bool {
		r := appendOne(leader, "t", 0, "refused", 100*time.Millisecond)
		return codeOf(r.Err) == codeNotEnough
	})
	topic, _ := leader.Broker.Topic("t")
	last := leader.Store.Log(logOf(t, leader, "topic 't'").ID).LastIndex()
	if r := appendOne(leader, "t", 0, "refused", time.Minute); codeOf(r.Err) != codeNotEnough {
		t.Errorf("got %v", r.Err)
	}
	if now := leader.Store.Log(logOf(t, leader, "topic 't'").ID).LastIndex(); now != last {
		t.Errorf("what was refused is in the log: it ends at %d, and ended at %d", now, last)
	}
	if _, high := topic.Partitions[0].Offsets(); high > 2 {
		t.Errorf("the high watermark is %d", high)
	}
}

// TestCopiesComeLate: a copy does not come in time. As long as its replica counts as in
// sync the producer hears 7, and when it does not any more, 20. The record is in the
// log in both cases, and no consumer sees it before the copy is there.
func TestCopiesComeLate(t *testing.T) {
	c := brokertest.New(t, 3)
	leader := strict(t, c, "t", "3")
	topic, _ := leader.Broker.Topic("t")
	c.Mute(follower(c, leader))
	if r := appendOne(leader, "t", 0, "late", 50*time.Millisecond); codeOf(r.Err) != codeRequestTimedOut {
		t.Errorf("while all count as in sync: %v", r.Err)
	}
	if r := appendOne(leader, "t", 0, "later", 5*time.Second); codeOf(r.Err) != codeNotEnoughAfterAppend {
		t.Errorf("when one does not: %v", r.Err)
	}
	if _, high := topic.Partitions[0].Offsets(); high != 0 {
		t.Errorf("the high watermark passes what has two copies of three: %d", high)
	}
	c.Heal()
	c.Eventually("the copies are there", func() bool { return slices.Equal(values(t, c, "t", 0), []string{"late", "later"}) })
}

// TestStaleLeader: a leader that is cut off and does not know it yet must not tell an idempotent
// producer that it left something out: the producer would give up for good. What it
// has not heard of its successor has.
func TestStaleLeader(t *testing.T) {
	stale := 0
	for round := 0; round < 20 && stale == 0; round++ {
		c := brokertest.New(t, 3)
		create(t, c.Node(1), "t", 1, 3)
		log := logOf(t, c.Node(1), "topic 't'").ID
		old := c.Leader(log)
		send := func(n *brokertest.Node, sequence int32, timeout time.Duration) broker.AppendResult {
			return appendBatch(t, n, "t", recordtest.N(1, 7, 0, sequence), timeout)
		}
		if r := send(old, 0, time.Minute); r.Err != nil {
			t.Fatal(r.Err)
		}
		copied(t, c, "topic 't'")
		c.Mute(old.ID) // a connection that breaks it would notice
		c.Eventually("another node takes the next records", func() bool {
			for _, n := range c.Nodes() {
				if n != old && send(n, 1, time.Minute).Err == nil && send(n, 2, time.Minute).Err == nil {
					return true
				}
			}
			return false
		})
		topic, _ := old.Broker.Topic("t")
		leads := topic.Partitions[0].Err() == nil
		r := send(old, 3, time.Minute)
		if code := codeOf(r.Err); code != codeNotLeader {
			t.Fatalf("the old leader, which leads as far as it knows (%v), answers %v", leads, r.Err)
		}
		if leads {
			stale++
		}
		c.Heal()
		c.Eventually("a real gap is refused as one", func() bool {
			for _, n := range c.Nodes() {
				if code := codeOf(send(n, 9, time.Minute).Err); code == codeOutOfOrder {
					return true
				} else if code != codeNotLeader {
					t.Fatalf("a gap gets %d", code)
				}
			}
			return false
		})
		c.Stop()
	}
	t.Logf("the old leader did not know in %d rounds", stale)
}

// TestOrphanedQueue: a queue in the memory of a node that is gone can be declared anew
// elsewhere, also with other properties. One whose node is away for a moment keeps what it has.
func TestOrphanedQueue(t *testing.T) {
	c := brokertest.New(t, 3)
	declare(t, c.Node(3), "short", false)
	publish(t, c, "short", "kept")
	c.Cut(3)
	time.AfterFunc(200*time.Millisecond, c.Heal)
	status, err := session(t, c.Node(1)).DeclareQueue(bounded(t), broker.QueueSpec{Name: "short"})
	if err != nil || status.Ready != 1 {
		t.Errorf("after a moment: %+v, %v", status, err)
	}
	c.Kill(3)
	s := session(t, c.Node(1))
	if _, err := s.DeclareQueue(bounded(t), broker.QueueSpec{Name: "short", AutoDelete: true}); err != nil {
		t.Fatal(err)
	}
	publish(t, c, "short", "new")
	if status, err := session(t, c.Node(2)).CheckQueue(bounded(t), "short"); err != nil || status.Ready != 1 {
		t.Errorf("the new one: %+v, %v", status, err)
	}
	c.Start(3)
	if status, err := session(t, c.Node(3)).CheckQueue(bounded(t), "short"); err != nil || status.Ready != 1 {
		t.Errorf("the new one, seen from the node that is back: %+v, %v", status, err)
	}
}

// TestDepthsEverywhere: every node lists the true depth of every queue, whoever leads it.
func TestDepthsEverywhere(t *testing.T) {
	c := brokertest.New(t, 3)
	for i := range 6 {
		name := fmt.Sprint("q", i)
		declare(t, c.Node(uint64(1+i%3)), name, i < 3)
		for range i + 1 {
			publish(t, c, name, "m")
		}
	}
	for _, n := range c.Nodes() {
		c.Eventually(fmt.Sprintf("node %d knows", n.ID), func() bool {
			right := 0
			for _, q := range n.Broker.Queues(bounded(t)) {
				if q.Ready == int64(q.Name[1]-'0')+1 {
					right++
				}
			}
			return right == 6
		})
	}
	c.Cut(3) // what it told last stays, and nobody waits for it
	start := time.Now()
	if n := len(c.Node(1).Broker.Queues(bounded(t))); n != 6 || time.Since(start) > 5*time.Second {
		t.Errorf("%d queues after %v", n, time.Since(start))
	}
}

// TestInSyncEverywhere: all nodes say the same about who is in sync, also those that
// do not lead, and when one is lost.
func TestInSyncEverywhere(t *testing.T) {
	c := brokertest.New(t, 3)
	create(t, c.Node(1), "t", 4, 3)
	agree := func(want int) func() bool {
		return func() bool {
			for _, n := range c.Nodes() {
				topic, _ := n.Broker.Topic("t")
				for _, p := range topic.Partitions {
					s := p.State()
					if s.Leader == 0 || len(s.InSync) != want || !slices.Contains(s.InSync, s.Leader) {
						return false
					}
				}
			}
			return true
		}
	}
	c.Eventually("all are in sync", agree(3))
	c.Kill(2)
	for i := range 4 {
		appendSomewhere(t, c, "t", i, "x")
	}
	c.Eventually("two are in sync", agree(2))
	c.Start(2)
	c.Eventually("all are in sync again", agree(3))
}

// TestLeadersReturn: some time after a node is back it leads again what it is preferred for,
// and what was appended meanwhile is there; without the option nothing moves.
func TestLeadersReturn(t *testing.T) {
	for _, after := range []time.Duration{0, 100 * time.Millisecond} {
		c := brokertest.New(t, 3, brokertest.Configure(func(cfg *broker.Config) { cfg.LeadersReturn = after }))
		create(t, c.Node(1), "t", 6, 3)
		preferred := func() (n int) {
			for _, l := range c.Node(1).Broker.Logs() {
				if l.ID != 1 && l.Leader == l.Replicas[0] {
					n++
				}
			}
			return n
		}
		c.Eventually("all begin as preferred", func() bool {
			if preferred() == 10 {
				return true
			}
			if err := c.Node(1).Broker.Rebalance(bounded(t)); err != nil {
				t.Fatal(err)
			}
			return false
		})
		c.Kill(3)
		for i := range 6 {
			appendSomewhere(t, c, "t", i, "x")
		}
		c.Start(3)
		for i := range 6 {
			c.Eventually("all are in sync", func() bool { return whole(t, c.Node(1), fmt.Sprintf("partition %d of topic 't'", i), 3) })
		}
		if after == 0 {
			if n := preferred(); n == 10 {
				t.Error("leaders return although they should not")
			}
		} else {
			c.Eventually("the leaders return", func() bool { return preferred() == 10 })
		}
		for i := range 6 {
			if got := values(t, c, "t", i); !slices.Equal(got, []string{"x"}) {
				t.Errorf("partition %d: %v", i, got)
			}
		}
		c.Stop()
	}
}

// TestTransferStays: a leadership that an operator gave to a node is not taken back.
func TestTransferStays(t *testing.T) {
	c := brokertest.New(t, 3, brokertest.Configure(func(cfg *broker.Config) { cfg.LeadersReturn = 50 * time.Millisecond }))
	create(t, c.Node(1), "t", 2, 3)
	leaders := func() map[record.LogID]uint64 {
		m := map[record.LogID]uint64{}
		for _, l := range c.Node(1).Broker.Logs() {
			if len(l.InSync) == 3 && l.Leader == l.Replicas[0] {
				m[l.ID] = l.Leader
			}
		}
		return m
	}
	moved, stays := logOf(t, c.Node(1), "partition 0 of topic 't'").ID, logOf(t, c.Node(1), "partition 1 of topic 't'").ID
	var to, back uint64
	c.Eventually("both are led as preferred", func() bool {
		m := leaders()
		to, back = m[moved]%3+1, m[stays]
		return m[moved] != 0 && m[stays] != 0
	})
	if err := c.Node(1).Broker.Transfer(bounded(t), moved, to); err != nil {
		t.Fatal(err)
	}
	if err := c.Node(1).Broker.Transfer(bounded(t), stays, 0); err != nil { // to whoever: it returns
		t.Fatal(err)
	}
	c.Eventually("the other one is back", func() bool { return leaders()[stays] == back })
	c.Eventually("and the moved one where it was moved to", func() bool { return leaders()[moved] == to })
}

// TestDeclaredEverywhere: who declares and binds at one node and publishes at another one reaches the queue.
func TestDeclaredEverywhere(t *testing.T) {
	c := brokertest.New(t, 3)
	a, b := session(t, c.Node(1)), session(t, c.Node(2))
	for i := range 100 {
		name := fmt.Sprint("q", i)
		if _, err := a.DeclareQueue(bounded(t), broker.QueueSpec{Name: name, Durable: true}); err != nil {
			t.Fatal(err)
		}
		m := record.Message{TTL: record.NoTTL, RoutingKey: []byte(name), Properties: []byte{0, 0}}
		p := &broker.Publication{RoutingKey: name, Stored: m.Append(nil)}
		if queues, err := b.Publish(p, nil, 0); queues != 1 || err != nil {
			t.Fatalf("%s at another node: routed to %d queues, %v", name, queues, err)
		}
		if err := a.Bind(bounded(t), broker.Binding{Source: "amq.fanout", Destination: name}); err != nil {
			t.Fatal(err)
		}
		p = &broker.Publication{Exchange: "amq.fanout", Stored: m.Append(nil)}
		if queues, err := b.Publish(p, nil, 0); queues != i+1 || err != nil {
			t.Fatalf("%s at another node, bound: routed to %d queues, %v", name, queues, err)
		}
	}
}

// TestDeleteAtANodeThatIsBehind: what was declared while a node was cut off is deleted there, too, and
// not taken for something that does not exist.
func TestDeleteAtANodeThatIsBehind(t *testing.T) {
	c := brokertest.New(t, 3)
	behind := session(t, c.Node(3))
	a := session(t, c.Node(1))
	for i := range 5 {
		name := fmt.Sprint("q", i)
		c.Cut(3)
		if _, err := a.DeclareQueue(bounded(t), broker.QueueSpec{Name: name, Durable: true}); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(50*time.Millisecond, c.Heal)
		if _, err := behind.DeleteQueue(bounded(t), name, false, false); err != nil {
			t.Fatal(err)
		}
		if _, err := a.CheckQueue(bounded(t), name); err == nil {
			t.Errorf("%s was deleted, and is there", name)
		}
	}
}

// TestDeleteWhatWasDeclaredAnew: what a node that was cut off has known by a name was deleted and declared anew
// meanwhile. Deleting it there deletes what there is.
func TestDeleteWhatWasDeclaredAnew(t *testing.T) {
	c := brokertest.New(t, 3)
	behind := session(t, c.Node(3))
	a := session(t, c.Node(1))
	for i := range 5 {
		name := fmt.Sprint("q", i)
		declare := func() {
			if _, err := a.DeclareQueue(bounded(t), broker.QueueSpec{Name: name, Durable: true}); err != nil {
				t.Fatal(err)
			}
		}
		declare()
		if i%2 == 0 { // it was its leader, and does not know yet that it is no longer
			lead(t, c, fmt.Sprintf("queue '%s' in vhost '/'", name), 3)
		}
		c.Cut(3)
		if _, err := a.DeleteQueue(bounded(t), name, false, false); err != nil {
			t.Fatal(err)
		}
		declare()
		time.AfterFunc(50*time.Millisecond, c.Heal)
		if _, err := behind.DeleteQueue(bounded(t), name, false, false); err != nil {
			t.Fatal(err)
		}
		if _, err := a.CheckQueue(bounded(t), name); err == nil {
			t.Errorf("%s was deleted, and is there", name)
		}
	}
}

// TestUnbindAtANodeThatIsBehind: what was bound while a node was cut off is unbound there, too.
func TestUnbindAtANodeThatIsBehind(t *testing.T) {
	m := record.Message{TTL: record.NoTTL, Body: []byte("nobody is to get it")}
	c := brokertest.New(t, 3)
	behind := session(t, c.Node(3))
	a := session(t, c.Node(1))
	for i := range 5 {
		name := fmt.Sprint("q", i)
		b := broker.Binding{Source: "amq.fanout", Destination: name}
		c.Cut(3)
		if _, err := a.DeclareQueue(bounded(t), broker.QueueSpec{Name: name, Durable: true}); err != nil {
			t.Fatal(err)
		}
		if err := a.Bind(bounded(t), b); err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(50*time.Millisecond, c.Heal)
		if err := behind.Unbind(bounded(t), b); err != nil {
			t.Fatal(err)
		}
		n, err := behind.Publish(&broker.Publication{Exchange: "amq.fanout", Stored: m.Append(nil)}, nil, 0)
		if n != 0 || err != nil {
			t.Errorf("%s was unbound, and gets what is published: %d, %v", name, n, err)
		}
	}
}

// TestPublishToWhatWasDeclaredAnew: a node that was cut off publishes to a queue that was deleted and declared
// anew meanwhile. What it confirms is in the queue that there is.
func TestPublishToWhatWasDeclaredAnew(t *testing.T) {
	m := record.Message{TTL: record.NoTTL, Properties: []byte{0, 0}, Body: []byte("to be kept")}
	c := brokertest.New(t, 3)
	behind := session(t, c.Node(3))
	a := session(t, c.Node(1))
	for i := range 6 {
		name := fmt.Sprint("q", i)
		declare := func() {
			if _, err := a.DeclareQueue(bounded(t), broker.QueueSpec{Name: name, Durable: true}); err != nil {
				t.Fatal(err)
			}
		}
		declare()
		c.Cut(3)
		if _, err := a.DeleteQueue(bounded(t), name, false, false); err != nil {
			t.Fatal(err)
		}
		declare()
		done := make(confirmed, 1)
		if n, err := behind.Publish(&broker.Publication{RoutingKey: name, Stored: m.Append(nil)}, done, 0); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		c.Heal()
		if err := <-done; err != nil {
			continue // its client knows that it may have to publish it again
		}
		if status, err := a.CheckQueue(bounded(t), name); status.Ready != 1 || err != nil {
			t.Errorf("%s has %d messages, and one was confirmed: %v", name, status.Ready, err)
		}
	}
}

// TestExpiresWhereItIsNotLed: a leader that is cut off sees no consumer of its queue any more; the one
// that has replaced it has some. The queue does not end by x-expires, and no deletion is on its way.
func TestExpiresWhereItIsNotLed(t *testing.T) {
	c := brokertest.New(t, 3)
	a := session(t, c.Node(1))
	spec := broker.QueueSpec{Name: "q", Durable: true, Args: record.Table{"x-expires": int32(700)}}
	k := &keeper{got: map[string]bool{}}
	c.Eventually("it is consumed before it ends", func() bool {
		if _, err := a.DeclareQueue(bounded(t), spec); err != nil {
			t.Log(err)
			return false
		}
		_, err := a.Subscribe(bounded(t), broker.SubscribeOptions{Queue: "q", Tag: "k"}, k, nil)
		return err == nil
	})
	lead(t, c, "queue 'q'", 3)
	publish(t, c, "q", "message-001")
	c.Eventually("it is consumed at the new leader", func() bool { return k.count() == 1 })
	c.Cut(3)
	c.Eventually("another one leads", func() bool {
		l := logOf(t, c.Node(1), "queue 'q'").Leader
		return l != 0 && l != 3
	})
	publish(t, c, "q", "message-002")
	c.Eventually("node 3 does not lead any more", func() bool { return logOf(t, c.Node(3), "queue 'q'").Leader != 3 })
	c.Heal()
	for i := range 3 { // whatever node 3 has asked for comes before these
		declare(t, c.Node(3), fmt.Sprint("other", i), true)
	}
	if _, err := a.CheckQueue(bounded(t), "q"); err != nil {
		t.Error(err)
	}
	c.Eventually("both messages", func() bool { return k.count() == 2 })
}
