package broker_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"waybill/internal/broker"
	"waybill/internal/broker/brokertest"
)

// placed waits until every log is on as many nodes as wanted, all of them up to
// date, and none of them is on the node that is left.
func placed(c *brokertest.Cluster, factor int, left uint64) {
	c.Eventually("the moves are done", func() bool {
		for _, n := range c.Nodes() {
			if n.ID == left {
				continue
			}
			for _, l := range n.Broker.Logs() {
				leader := c.Nodes()[0]
				for _, x := range c.Nodes() {
					if x.ID == l.Leader {
						leader = x
					}
				}
				if l.Moving || l.ID != 1 && len(l.Replicas) != factor || slices.Contains(l.Replicas, left) {
					return false
				}
				i := slices.IndexFunc(leader.Broker.Logs(), func(other broker.Log) bool { return other.ID == l.ID })
				if i < 0 || len(leader.Broker.Logs()[i].InSync) < min(factor, len(l.Replicas)) {
					return false
				}
			}
		}
		return true
	})
}

func create(t *testing.T, n *brokertest.Node, name string, partitions int32, factor int16) {
	t.Helper()
	if _, err := n.Broker.CreateTopic(bounded(t), broker.TopicSpec{Name: name, Partitions: partitions, ReplicationFactor: factor}, false); err != nil {
		t.Fatal(err)
	}
}

// TestGrow: a single node becomes a cluster of three; then the first one dies,
// and everything is still there.
func TestGrow(t *testing.T) {
	c := brokertest.New(t, 1)
	create(t, c.Node(1), "t", 2, -1)
	var acked []string
	for i := range 50 {
		v := fmt.Sprint(i)
		appendSomewhere(t, c, "t", 0, v)
		acked = append(acked, v)
	}
	c.Join(2)
	c.Join(3)
	if err := c.Node(3).Broker.Rebalance(bounded(t)); err != nil {
		t.Fatal(err)
	}
	placed(c, 3, 0)
	c.Kill(1)
	appendSomewhere(t, c, "t", 0, "last")
	if got := slices.Compact(values(t, c, "t", 0)); !slices.Equal(got, append(acked, "last")) {
		t.Fatalf("%d were acknowledged, found: %v", len(acked), got)
	}
}

// TestRemoveNode: a node that is removed gives everything away first, and
// its copies are deleted only then.
func TestRemoveNode(t *testing.T) {
	c := brokertest.New(t, 4)
	create(t, c.Node(1), "t", 6, 3)
	for p := range 6 {
		appendSomewhere(t, c, "t", p, fmt.Sprint(p))
	}
	if err := c.Node(1).Broker.RemoveNode(bounded(t), 2); err != nil {
		t.Fatal(err)
	}
	c.Eventually("node 2 is no member", func() bool {
		return !slices.ContainsFunc(c.Node(1).Broker.Nodes(), func(n broker.Node) bool { return n.ID == 2 })
	})
	placed(c, 3, 2)
	c.Eventually("the copies are deleted", func() bool { return len(c.Node(2).Store.Logs()) <= 1 })
	c.Kill(2)
	for p := range 6 {
		if got := values(t, c, "t", p); !slices.Equal(got, []string{fmt.Sprint(p)}) {
			t.Errorf("partition %d: %v", p, got)
		}
	}
}

// TestReplaceNode: a node that lost its disk comes back under a new replica id,
// and is whole again: the other two can die.
func TestReplaceNode(t *testing.T) {
	c := brokertest.New(t, 3)
	create(t, c.Node(1), "t", 3, 3)
	for p := range 3 {
		appendSomewhere(t, c, "t", p, fmt.Sprint(p))
	}
	c.Kill(3)
	c.Wipe(3)
	if _, err := c.Node(1).Broker.AddNode(bounded(t), 3, "another store", ""); err == nil {
		t.Fatal("another data directory is admitted as node 3")
	}
	for range 2 {
		if err := c.Node(1).Broker.ReplaceNode(bounded(t), 3); err != nil {
			t.Fatal(err)
		}
	}
	c.Join(3)
	if id := c.Node(3).Replica; id != 4 {
		t.Errorf("it came back as replica %d", id)
	}
	placed(c, 3, 0)
	c.Kill(1)
	for p := range 3 {
		appendSomewhere(t, c, "t", p, "more")
		if got := slices.Compact(values(t, c, "t", p)); !slices.Equal(got, []string{fmt.Sprint(p), "more"}) {
			t.Errorf("partition %d: %v", p, got)
		}
	}
}

// TestHandOver: leadership goes where it is asked to, away from a node that
// drains, and away from one that is about to stop.
func TestHandOver(t *testing.T) {
	c := brokertest.New(t, 3)
	create(t, c.Node(1), "t", 6, 3)
	log := c.Node(1).Broker.Logs()[5].ID
	c.Leader(log)
	for _, to := range []uint64{1, 2, 3, 1} {
		if err := c.Node(2).Broker.Transfer(bounded(t), log, to); err != nil {
			t.Fatalf("to node %d: %v", to, err)
		}
		if got := c.Leader(log).ID; got != to {
			t.Fatalf("transferred to node %d, node %d leads", to, got)
		}
	}
	leads := func(id uint64) (n int) {
		for _, l := range c.Node(1).Broker.Logs() {
			if l.Leader == id {
				n++
			}
		}
		return n
	}
	if err := c.Node(1).Broker.DrainNode(bounded(t), 2, false); err != nil {
		t.Fatal(err)
	}
	c.Eventually("node 2 leads nothing", func() bool { return leads(2) == 0 })
	if err := c.Node(1).Broker.DrainNode(bounded(t), 2, true); err != nil {
		t.Fatal(err)
	}
	if err := c.Node(1).Broker.Rebalance(bounded(t)); err != nil {
		t.Fatal(err)
	}
	c.Eventually("leaders are back", func() bool { return leads(2) > 0 })
	if err := c.Node(1).Broker.HandOver(bounded(t)); err != nil {
		t.Fatal(err)
	}
	c.Eventually("node 1 leads nothing", func() bool { return leads(1) == 0 })
}

// TestMinInsync: with too few replicas nothing is written, and the client is
// told so; a batch whose copies do not come in time is answered too.
func TestMinInsync(t *testing.T) {
	c := brokertest.New(t, 3)
	if _, err := c.Node(1).Broker.CreateTopic(bounded(t), broker.TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: 3,
		Configs: map[string]string{"min.insync.replicas": "3"}}, false); err != nil {
		t.Fatal(err)
	}
	appendSomewhere(t, c, "t", 0, "one")
	leader := c.Leader(logOf(t, c.Node(1), "topic 't'").ID).ID
	down := 1 + leader%3
	c.Kill(down)
	code := func() int16 {
		var e *broker.Error
		if err := appendOne(c.Node(leader), "t", 0, "two", 100*time.Millisecond).Err; !errors.As(err, &e) {
			t.Fatalf("appended with two of three: %v", err)
		}
		return e.Code
	}
	c.Eventually("it is refused", func() bool {
		got := code()
		if got != 19 && got != 20 && got != 7 && got != 6 {
			t.Fatalf("code %d", got)
		}
		return got == 19
	})
	c.Start(down)
	appendSomewhere(t, c, "t", 0, "three")
}

// TestMemoryOfNodes: what lives in the memory of a node goes with it, for all
// nodes, and with no other.
func TestMemoryOfNodes(t *testing.T) {
	c := brokertest.New(t, 3)
	s, err := c.Node(1).Broker.OpenSession("/")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.DeclareQueue(bounded(t), broker.QueueSpec{Name: "transient"}); err != nil {
		t.Fatal(err)
	}
	here := func(n *brokertest.Node) bool {
		return slices.ContainsFunc(n.Broker.Queues(bounded(t)), func(q broker.QueueInfo) bool { return q.Name == "transient" })
	}
	c.Eventually("node 3 knows the queue", func() bool { return here(c.Node(3)) })
	c.Kill(2)
	c.Start(2)
	if !here(c.Node(2)) || !here(c.Node(1)) {
		t.Fatal("the queue of node 1 went with node 2")
	}
	c.Kill(1)
	c.Start(1)
	c.Eventually("the queue is gone everywhere", func() bool { return !here(c.Node(1)) && !here(c.Node(2)) && !here(c.Node(3)) })
}
