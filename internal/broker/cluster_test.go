package broker_test

import (
	"context"
	"encoding/binary"
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

func bounded(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), brokertest.Patience)
	t.Cleanup(cancel)
	return ctx
}

// appended receives the answers to appends.
type appended chan broker.AppendResult

func (a appended) Appended(_ int, r broker.AppendResult) { a <- r }

// appendOne appends one record at a node.
func appendOne(n *brokertest.Node, topic string, partition int, value string, timeout time.Duration) broker.AppendResult {
	t, ok := n.Broker.Topic(topic)
	if !ok {
		return broker.AppendResult{Err: fmt.Errorf("node %d does not know topic %s", n.ID, topic)}
	}
	a := make(appended, 1)
	b := recordtest.Batch{Time: time.Now().UnixMilli(), Values: [][]byte{[]byte(value)}}
	t.Partitions[partition].Append(b.Encode(), timeout, a, 0)
	return <-a
}

// append appends one record at whoever leads, until it is acknowledged.
func appendSomewhere(t *testing.T, c *brokertest.Cluster, topic string, partition int, value string) record.Offset {
	t.Helper()
	var at record.Offset
	c.Eventually("append "+value, func() bool {
		for _, n := range c.Nodes() {
			if r := appendOne(n, topic, partition, value, time.Minute); r.Err == nil {
				at = r.Base
				return true
			}
		}
		return false
	})
	return at
}

// values reads a partition at its leader.
func values(t *testing.T, c *brokertest.Cluster, topic string, partition int) (list []string) {
	t.Helper()
	c.Eventually("read "+topic, func() bool {
		for _, n := range c.Nodes() {
			list = nil
			tp, ok := n.Broker.Topic(topic)
			if !ok || tp.Partitions[partition].Err() != nil {
				continue
			}
			p := tp.Partitions[partition]
			_, high := p.Offsets()
			for off := record.Offset(0); off < high; {
				r, err := p.Read(off, 1<<20)
				if err != nil {
					t.Logf("node %d, offset %d: %v", n.ID, off, err)
					return false // another one may lead by now
				}
				for _, run := range r.Batches {
					for len(run) > 0 {
						b, rest, err := record.NextBatch(run)
						if err != nil {
							t.Fatal(err)
						}
						list = append(list, valueOf(b))
						off, run = b.End(), rest
					}
				}
			}
			return true
		}
		return false
	})
	return list
}

// valueOf is the value of a batch's only record, which has no key.
func valueOf(b record.Batch) string {
	rest := b[record.BatchHeaderLen:]
	next := func() int64 {
		v, n := binary.Varint(rest)
		rest = rest[n:]
		return v
	}
	next()          // length
	rest = rest[1:] // attributes
	next()          // timestamp delta
	next()          // offset delta
	next()          // no key
	n := next()
	return string(rest[:n])
}

// TestDeclaredAnywhere: what is declared at one node is there at all of them,
// has a leader, and can be used at once.
func TestDeclaredAnywhere(t *testing.T) {
	c := brokertest.New(t, 3)
	for i := range 9 {
		at := c.Node(uint64(1 + i%3))
		name := fmt.Sprint("t", i)
		topic, err := at.Broker.CreateTopic(bounded(t), broker.TopicSpec{Name: name, Partitions: 3, ReplicationFactor: -1}, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range c.Nodes() {
			there, ok := n.Broker.Topic(name)
			if !ok || there.ID != topic.ID {
				t.Fatalf("%s was created at node %d, node %d has %v", name, at.ID, n.ID, there)
			}
			for p := range there.Partitions {
				s := there.Partitions[p].State()
				if s.Leader == 0 || len(s.Replicas) != 3 {
					t.Errorf("node %d says of %s/%d: %+v", n.ID, name, p, s)
				}
				if r := appendOne(c.Node(s.Leader), name, p, "x", time.Minute); r.Err != nil {
					t.Errorf("%s/%d at its leader: %v", name, p, r.Err)
				}
			}
		}
	}
	leads := map[uint64]int{}
	c.Eventually("every log has a leader", func() bool { // no client has waited for those of the coordinators
		clear(leads)
		for _, l := range c.Node(1).Broker.Logs() {
			leads[l.Leader]++
		}
		return leads[0] == 0
	})
	if len(leads) != 3 {
		t.Errorf("leaders: %v", leads)
	}
	ids := map[int64]bool{}
	for i := range 30 {
		id, err := c.Node(uint64(1 + i%3)).Broker.NewProducerID(bounded(t))
		if err != nil || ids[id] {
			t.Fatalf("producer id %d (known: %v): %v", id, ids[id], err)
		}
		ids[id] = true
	}
	if err := c.Node(2).Broker.DeleteTopic(bounded(t), "t0"); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes() {
		if _, ok := n.Broker.Topic("t0"); ok {
			t.Errorf("node %d still has t0", n.ID)
		}
	}
}

// TestFactorNeedsNodes: more replicas than nodes, or more min.insync.replicas
// than replicas, are refused.
func TestFactorNeedsNodes(t *testing.T) {
	c := brokertest.New(t, 2)
	for _, test := range []struct {
		factor int16
		min    string
		code   int16
	}{{3, "1", 38}, {1, "2", 40}, {-1, "3", 40}, {2, "2", 0}} {
		_, err := c.Node(1).Broker.CreateTopic(bounded(t), broker.TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: test.factor,
			Configs: map[string]string{"min.insync.replicas": test.min}}, false)
		var e *broker.Error
		if got := errors.As(err, &e); got != (test.code != 0) || got && e.Code != test.code {
			t.Errorf("factor %d, min.insync.replicas %s: %v", test.factor, test.min, err)
		}
	}
}

// TestLeaderDies: each node dies in turn and comes back. What was acknowledged
// is there, in order, and what is declared meanwhile too.
func TestLeaderDies(t *testing.T) {
	c := brokertest.New(t, 3)
	if _, err := c.Node(1).Broker.CreateTopic(bounded(t), broker.TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: 3}, false); err != nil {
		t.Fatal(err)
	}
	var acked []string
	write := func(round string) {
		for i := range 20 {
			v := fmt.Sprint(round, i)
			appendSomewhere(t, c, "t", 0, v)
			acked = append(acked, v)
		}
	}
	for round := range 4 {
		write(fmt.Sprint("before", round, "-"))
		topic, _ := c.Node(1).Broker.Topic("t")
		var leader uint64
		c.Eventually("a leader", func() bool { leader = topic.Partitions[0].State().Leader; return leader != 0 })
		c.Kill(leader)
		write(fmt.Sprint("without", round, "-"))
		other := c.Nodes()[0]
		if _, err := other.Broker.CreateTopic(bounded(t), broker.TopicSpec{Name: fmt.Sprint("made", round), Partitions: 2, ReplicationFactor: 3}, false); err != nil {
			t.Fatalf("create a topic while a node is down: %v", err)
		}
		c.Start(leader)
		if _, ok := c.Node(leader).Broker.Topic(fmt.Sprint("made", round)); !ok {
			t.Fatalf("a topic that was made while node %d was down is not there when it is up", leader)
		}
	}
	// A try whose answer got lost may be there as well; none that was acknowledged is missing, or out of order.
	got := slices.Compact(values(t, c, "t", 0))
	if !slices.Equal(got, acked) {
		t.Fatalf("acknowledged were %d, found %d:\n%v\n%v", len(acked), len(got), acked, got)
	}
}
