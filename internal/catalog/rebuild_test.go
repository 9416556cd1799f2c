package catalog

import (
	"slices"
	"testing"
)

// TestRebuild: a damaged replica leaves, is gone, and comes back in its place,
// as one that does not count itself among the voters.
func TestRebuild(t *testing.T) {
	c := cluster(t, 3)
	before := topic(t, c, "t", 1, 3)[0]
	hurt := before.Replicas[0]
	rebuild := Command{Rebuild: &Rebuild{Log: before.Log, Replica: hurt}}
	back := Command{Return: &Return{Log: before.Log, Replica: hurt}}
	for range 2 { // every command can be repeated
		do(t, c, rebuild)
	}
	p := c.Placement(before.Log)
	if !slices.Equal(p.Replicas, before.Replicas[1:]) || !slices.Equal(p.Leaving, []uint64{hurt}) {
		t.Fatalf("it does not leave: %+v", p)
	}
	if do(t, c, back); c.Placement(before.Log) != p {
		t.Fatal("it is back before it has left")
	}
	do(t, c, Command{ReplicaGone: &ReplicaGone{Log: p.Log, Replica: hurt}})
	if p = c.Placement(before.Log); p.Holds(hurt) {
		t.Fatalf("its copy would not be deleted: %+v", p)
	}
	do(t, c, Command{Rebalance: &Rebalance{}})
	if c.Placement(before.Log).Holds(hurt) {
		t.Fatal("it gets the log again before its copy is deleted")
	}
	if r := c.Apply(&Command{Place: &Place{Log: p.Log, Replicas: before.Replicas}}); r.Err == nil || r.Err.Kind != InUse {
		t.Fatalf("it is placed before its copy is deleted: %+v", r)
	}
	for range 2 {
		do(t, c, back)
	}
	if p = c.Placement(before.Log); !slices.Equal(p.Replicas, before.Replicas) || len(p.Leaving) > 0 || p.Rebuilding != nil {
		t.Fatalf("it is not back: %+v", p)
	}
	if got := p.Voters(hurt); !slices.Equal(got, before.Replicas[1:]) {
		t.Errorf("it begins with the voters %v", got)
	}
}

// TestRebuildRefused: a copy without which the others are no majority stays
// where it is, and so does the second one of a log.
func TestRebuildRefused(t *testing.T) {
	c := cluster(t, 3)
	for factor := 1; factor <= 2; factor++ {
		p := topic(t, c, string(rune('a'+factor)), 1, factor)[0]
		if r := c.Apply(&Command{Rebuild: &Rebuild{Log: p.Log, Replica: p.Replicas[0]}}); r.Err == nil || r.Err.Kind != InUse {
			t.Errorf("of %d replicas: %+v", factor, r)
		}
	}
	p := topic(t, c, "t", 1, 3)[0]
	do(t, c, Command{Rebuild: &Rebuild{Log: p.Log, Replica: p.Replicas[0]}})
	if r := c.Apply(&Command{Rebuild: &Rebuild{Log: p.Log, Replica: p.Replicas[1]}}); r.Err == nil || r.Err.Kind != InUse {
		t.Errorf("a second one at the same time: %+v", r)
	}
	if r := c.Apply(&Command{Rebuild: &Rebuild{Log: LogID, Replica: 1}}); r.Err == nil || r.Err.Kind != Refused {
		t.Errorf("the catalog: %+v", r)
	}
}

// TestRebuildGivenUp: a node that is replaced or removed does not come back
// under the id that it had, and the log gets its replicas all the same.
func TestRebuildGivenUp(t *testing.T) {
	for _, gone := range []bool{false, true} {
		for what, cmd := range map[string]Command{
			"replace": {ReplaceNode: &ReplaceNode{ID: 2}},
			"remove":  {RemoveNode: &RemoveNode{ID: 2}},
		} {
			c := cluster(t, 4)
			do(t, c, Command{CreateTopic: &CreateTopic{Name: "t", ID: [16]byte{1}, Partitions: 1, Replicas: [][]uint64{{1, 2, 3}}}})
			log := c.Topic("t").Partitions[0]
			do(t, c, Command{Rebuild: &Rebuild{Log: log, Replica: 2}})
			if gone {
				do(t, c, Command{ReplicaGone: &ReplicaGone{Log: log, Replica: 2}})
			}
			do(t, c, cmd)
			do(t, c, Command{Return: &Return{Log: log, Replica: 2}})
			want := map[string][]uint64{"replace": {1, 5, 3}, "remove": {1, 3, 4}}[what]
			if p := c.Placement(log); !slices.Equal(p.Replicas, want) || p.Rebuilding != nil {
				t.Errorf("%s, gone %v: %+v", what, gone, p)
			}
		}
	}
}
