package broker

import (
	"testing"

	"waybill/internal/vfs"
)

// TestReplicaArrivesTwice: a replica came, left and came again before its shard heard of
// the first time, so that the second news finds the raft group open.
func TestReplicaArrivesTwice(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	q, ok := n.session.vhost.queues.get("q")
	if !ok {
		t.Fatal("there is no queue")
	}
	q.driver().Post(arrive{})
	confirmed := make(confirms, 1)
	if err := n.publishValue("q", 1, 8, confirmed, 1); err != nil {
		t.Fatal(err)
	}
	b := newBasket(1)
	n.consume(t, "q", b)
	if r := b.next(t); r.value != 1 {
		t.Errorf("got %d", r.value)
	}
}

// TestReplicaLeavesWhileItOpens: the move away came between the look at the placement and the opening, so that it
// has found no raft group to remove.
func TestReplicaLeavesWhileItOpens(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	q, ok := n.session.vhost.queues.get("q")
	if !ok {
		t.Fatal("there is no queue")
	}
	b, log := q.vhost.b, q.spec.Log
	q.opened()
	n.declare(t, QueueSpec{Name: "another", Durable: true}) // the catalog's shard has looked
	if !b.host.IsOpen(log) {
		t.Fatal("the replica is wanted here, and closed")
	}
	away := *b.places.get(log)
	away.Replicas = []uint64{b.cfg.Replica + 1}
	b.places.set(log, &away)
	q.opened()
	q.opened()
	n.declare(t, QueueSpec{Name: "a third", Durable: true})
	if b.host.IsOpen(log) || b.groupOf(log) != nil {
		t.Error("the replica is not wanted here, and open")
	}
}
