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
