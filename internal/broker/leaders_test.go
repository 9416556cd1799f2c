package broker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// TestLeaderOfADamagedCopy: a copy is held offline soon after its node has begun, when the leader has told that it leads and
// raft has said the same, or nothing yet. Nobody tells it again: the node goes on to know it, or
// the copy would never be rebuilt, and clients here would find no leader.
func TestLeaderOfADamagedCopy(t *testing.T) {
	const me, leader, term, log = 3, 1, 2, 20
	for _, raftTold := range []bool{false, true} {
		b := &Broker{cfg: Config{Node: me, Replica: me, Now: time.Now}, leaders: NewLeaders(), log: slog.New(slog.DiscardHandler), metrics: newMetrics(nil)}
		b.directory, b.reconciler, b.herald, b.healer = newDirectory(b), newReconciler(b), newHerald(b), newHealer(b)
		b.groups.Store(record.LogID(log), new(replica.Group))
		news := binary.AppendUvarint(nil, leader)
		for _, n := range []uint64{log, term, 2, leader, 2} {
			news = binary.AppendUvarint(news, n)
		}
		if raftTold {
			b.leaders.Set(log, leader, term)
		}
		if _, err := b.serveLeads(context.Background(), leader, news); err != nil {
			t.Fatal(err)
		}
		if raftTold {
			b.leaders.Set(log, 0, term) // the group is halted
		}
		b.groups.Delete(record.LogID(log))
		b.healer.opened(log, errors.New("held offline"))
		p := &catalog.Placement{Log: log, Replicas: []uint64{leader, 2, me}}
		b.healer.look(context.Background(), p, nil)
		if got := b.leaders.get(log); got != (leaderOf{leader, term}) {
			t.Errorf("raft has told %v: the leader is %+v", raftTold, got)
		}
		if err := b.spare(p, me); err != nil {
			t.Errorf("raft has told %v: %v", raftTold, err)
		}
	}
}

// TestSnapshotTellsWhoHasBegun: a node that has begun anew hears who leads what is not on it
// also from a leader that has missed its Start, and gets the catalog as a snapshot. (sim, seed 28739991542)
func TestSnapshotTellsWhoHasBegun(t *testing.T) {
	var founders []Node
	for id := uint64(1); id <= 4; id++ {
		founders = append(founders, Node{ID: id, Replica: id})
	}
	c := catalog.New()
	start := func(node uint64, run string) {
		r := c.Apply(&catalog.Command{Start: &catalog.Start{
			Node: node, Replica: node, Store: fmt.Sprint("store", node), Run: fmt.Sprint(run, node), ClusterID: "c", Coordinators: 1, Founders: founders,
		}})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	for _, n := range founders {
		start(n.ID, "first")
	}
	old := catalog.New()
	if err := old.Restore(c.Snapshot(nil)); err != nil {
		t.Fatal(err)
	}
	var place *catalog.Placement // of a log that one node does not hold
	for _, change := range old.Changes() {
		if change.Coordinator != 0 {
			place = old.Placement(change.Coordinator)
		}
	}
	leader, other := place.Replicas[0], uint64(0)
	for _, n := range founders {
		if !slices.Contains(place.Replicas, n.Replica) {
			other = n.ID
		}
	}
	start(other, "second")

	b := &Broker{cfg: Config{Node: leader, Replica: leader, Now: time.Now}, leaders: NewLeaders(), log: slog.New(slog.DiscardHandler)}
	b.directory, b.reconciler, b.herald = newDirectory(b), newReconciler(b), newHerald(b)
	b.directory.catalog, b.directory.following = old, true
	b.members.follow(old)
	b.places.set(place.Log, place)
	b.leaders.Set(place.Log, leader, 2)
	if err := b.directory.Restore(c.Snapshot(nil)); err != nil {
		t.Fatal(err)
	}
	if _, told := b.herald.news[other][place.Log]; !told {
		t.Errorf("node %d, which has begun anew, is not told that node %d leads log %d", other, leader, place.Log)
	}
	if n := b.members.load().byID[other]; n.Run != fmt.Sprint("second", other) {
		t.Errorf("node %d is known as %s", other, n.Run)
	}
}
