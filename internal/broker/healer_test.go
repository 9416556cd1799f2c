package broker

import (
	"errors"
	"testing"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/vfs"
)

// What was wrong with a copy goes with it. The replica comes back a moment before its new copy is open; was the
// damage of the last one still believed then, it would leave at once, and the copy that is being opened with it.
func TestDamageGoesWithTheCopy(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	const log record.LogID = 999
	n.healer.opened(log, errors.New("damaged"))
	if n.healer.damage(log, nil) == nil {
		t.Fatal("the damage is not known")
	}
	leaving := &catalog.Placement{Log: log, Replicas: []uint64{2, 3}, Leaving: []uint64{1}, Rebuilding: &catalog.Rebuilding{Replica: 1}}
	n.healer.look(testContext(t), leaving, nil)
	if n.healer.damage(log, nil) == nil {
		t.Error("the damage is forgotten before the copy is deleted")
	}
	left := &catalog.Placement{Log: log, Replicas: []uint64{2, 3}, Rebuilding: &catalog.Rebuilding{Replica: 1}}
	n.healer.look(testContext(t), left, nil)
	if err := n.healer.damage(log, nil); err != nil {
		t.Errorf("the copy is deleted, and still: %v", err)
	}
}
