package catalog

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/record"
)

func drawMembership(t *rapid.T) *Command {
	id := uint64(rapid.IntRange(1, 5).Draw(t, "node"))
	flag := func(what string) bool { return rapid.Bool().Draw(t, what) }
	log := record.LogID(rapid.IntRange(1, 30).Draw(t, "log"))
	replicas := rapid.SliceOfN(rapid.Uint64Range(1, 8), 0, 3).Draw(t, "replicas")
	store := rapid.SampledFrom([]string{"a", "b"}).Draw(t, "store")
	switch rapid.IntRange(0, 10).Draw(t, "membership") {
	case 0, 1:
		return &Command{AddNode: &AddNode{ID: id, Store: store, Addr: "x"}}
	case 2:
		return &Command{RemoveNode: &RemoveNode{ID: id}}
	case 3:
		return &Command{ReplaceNode: &ReplaceNode{ID: id}}
	case 4:
		return &Command{DrainNode: &DrainNode{ID: id, End: flag("end")}}
	case 5:
		return &Command{Place: &Place{Log: log, Replicas: replicas}}
	case 6:
		return &Command{Rebalance: &Rebalance{}}
	case 7:
		return &Command{Start: &Start{Node: id, Replica: rapid.Uint64Range(1, 8).Draw(t, "replica"), Run: rapid.StringN(1, 1, 1).Draw(t, "run")}}
	case 8:
		return &Command{Rebuild: &Rebuild{Log: log, Replica: rapid.Uint64Range(1, 8).Draw(t, "damaged")}}
	case 9:
		return &Command{Return: &Return{Log: log, Replica: rapid.Uint64Range(1, 8).Draw(t, "back")}}
	default:
		return &Command{ReplicaGone: &ReplicaGone{Log: log, Replica: rapid.Uint64Range(1, 8).Draw(t, "gone")}}
	}
}

// checkPlacements: every log is placed, on replicas of members, each once; the
// counts that placement goes by are right.
func checkPlacements(t *rapid.T, c *Catalog) {
	members := map[uint64]bool{}
	for _, n := range c.Nodes() {
		if members[n.Replica] || n.Replica >= c.nextReplica {
			t.Fatalf("node %d has replica id %d, which was given before or never; the next one is %d", n.ID, n.Replica, c.nextReplica)
		}
		members[n.Replica] = n.Member()
	}
	load := map[uint64]load{}
	for _, p := range c.Placements() {
		seen := map[uint64]bool{}
		for _, id := range p.Replicas {
			if seen[id] || !members[id] {
				t.Fatalf("log %d: %+v names replica %d twice, or it is no member's", p.Log, p, id)
			}
			seen[id] = true
		}
		for _, id := range p.Leaving {
			if seen[id] {
				t.Fatalf("log %d: replica %d is wanted and leaves: %+v", p.Log, id, p)
			}
			seen[id] = true
		}
		if r := p.Rebuilding; r != nil && (slices.Contains(p.Replicas, r.Replica) || !members[r.Replica]) {
			t.Fatalf("log %d: a replica is wanted and to come back, or no member's: %+v", p.Log, p)
		}
		if len(p.Replicas) == 0 || len(p.Initial) == 0 {
			t.Fatalf("log %d is nowhere: %+v", p.Log, p)
		}
		if p.Log == LogID {
			continue
		}
		for i, id := range p.Replicas {
			l := load[id]
			l.replicas, l.held = l.replicas+1, l.held+1
			if i == 0 {
				l.leaders++
			}
			load[id] = l
		}
		for _, id := range p.Leaving {
			l := load[id]
			l.held++
			load[id] = l
		}
	}
	for id := range c.nextReplica {
		if load[id] != c.load[id] {
			t.Fatalf("replica %d carries %+v, and is counted with %+v", id, load[id], c.load[id])
		}
	}
	want := append(c.replicated(), LogID)
	slices.Sort(want)
	if got := c.placed(); !slices.Equal(got, want) {
		t.Fatalf("placed are %v, replicated are %v", got, want)
	}
}

// cluster returns a catalog that nodes 1 to n have founded.
func cluster(t testing.TB, n int) *Catalog {
	t.Helper()
	c := New()
	var founders []Node
	for id := uint64(1); id <= uint64(n); id++ {
		founders = append(founders, Node{ID: id, Replica: id, Store: fmt.Sprint("store", id)})
	}
	for _, f := range founders {
		do(t, c, Command{Start: &Start{Node: f.ID, Replica: f.Replica, Store: f.Store, Run: "first", ClusterID: "id", Coordinators: 4, Founders: founders}})
	}
	return c
}

func do(t testing.TB, c *Catalog, cmd Command) Result {
	t.Helper()
	r := c.Apply(&cmd)
	if r.Err != nil {
		t.Fatalf("%s: %v", cmd.Append(nil), r.Err)
	}
	return r
}

func topic(t testing.TB, c *Catalog, name string, partitions int32, factor int) []*Placement {
	t.Helper()
	do(t, c, Command{CreateTopic: &CreateTopic{Name: name, ID: [16]byte{byte(len(c.topics) + 1)}, Partitions: partitions, Factor: factor}})
	var list []*Placement
	for _, log := range c.Topic(name).Partitions {
		list = append(list, c.Placement(log))
	}
	return list
}

// settle lets every move be carried out.
func settle(t testing.TB, c *Catalog) {
	t.Helper()
	for _, p := range c.Placements() {
		for _, id := range p.Leaving {
			do(t, c, Command{ReplicaGone: &ReplicaGone{Log: p.Log, Replica: id}})
		}
	}
}

// TestReturningReplica: one that had a log, gave it up and gets it again does not
// count itself among the voters it begins with; all others begin as ever.
func TestReturningReplica(t *testing.T) {
	c := cluster(t, 4)
	p := topic(t, c, "t", 1, 3)[0]
	first := p.Replicas
	var spare uint64
	for id := uint64(1); id <= 4; id++ {
		if !slices.Contains(first, id) {
			spare = id
		}
	}
	back := first[0]
	move := func(replicas ...uint64) {
		t.Helper()
		do(t, c, Command{Place: &Place{Log: p.Log, Replicas: replicas}})
		settle(t, c)
		do(t, c, Command{Place: &Place{Log: p.Log, Replicas: replicas}}) // changes nothing
		p = c.Placement(p.Log)
	}
	move(spare, first[1], first[2])
	if got := p.Voters(spare); !slices.Equal(got, first) {
		t.Errorf("a new replica begins with the voters %v, want %v", got, first)
	}
	move(back, first[1], first[2])
	if got := p.Voters(back); !slices.Equal(got, first[1:]) {
		t.Errorf("a returning replica begins with the voters %v, want %v", got, first[1:])
	}
	if got := p.Voters(first[1]); !slices.Equal(got, first) {
		t.Errorf("a replica that never left begins with the voters %v, want %v", got, first)
	}
	move(spare)
	move(back)
	if got := p.Voters(back); len(got) == 0 || slices.Contains(got, back) {
		t.Errorf("a returning replica begins with the voters %v", got)
	}
}

// TestPlaceTwice: a replica is named once, also one that the log has already.
func TestPlaceTwice(t *testing.T) {
	c := cluster(t, 3)
	p := topic(t, c, "t", 1, 2)[0]
	for _, id := range []uint64{1, 2, 3} {
		if r := c.Apply(&Command{Place: &Place{Log: p.Log, Replicas: []uint64{id, id}}}); r.Err == nil || r.Err.Kind != Invalid {
			t.Errorf("replica %d twice: %+v", id, r)
		}
	}
}

// imbalance is how much more the busiest of the nodes carries than the idlest.
func imbalance(c *Catalog) (replicas, leaders int) {
	var r, l []int
	for _, n := range c.candidates() {
		r, l = append(r, c.load[n.Replica].replicas), append(l, c.load[n.Replica].leaders)
	}
	return slices.Max(r) - slices.Min(r), slices.Max(l) - slices.Min(l)
}

// TestSpread: what is placed spreads evenly, replicas and preferred leaders alike.
func TestSpread(t *testing.T) {
	for nodes := 1; nodes <= 7; nodes++ {
		c := cluster(t, nodes)
		for i := range 40 {
			factor := i % (nodes + 1)
			for _, p := range topic(t, c, fmt.Sprint("t", i), int32(1+i%5), factor) {
				want := factor
				if factor == 0 {
					want = min(3, nodes)
				}
				if len(p.Replicas) != want || !slices.Equal(p.Initial, p.Replicas) {
					t.Fatalf("%d nodes, factor %d: %+v", nodes, factor, p)
				}
			}
			if r, l := imbalance(c); r > 1 || l > 2 {
				t.Fatalf("%d nodes, after topic %d: the busiest one has %d replicas and %d leaders more than the idlest", nodes, i, r, l)
			}
		}
	}
}

// TestFactor: a topic that cannot have its replicas is refused; a queue gets as
// many as there are nodes.
func TestFactor(t *testing.T) {
	c := cluster(t, 3)
	if r := c.Apply(&Command{CreateTopic: &CreateTopic{Name: "t", Partitions: 1, Factor: 4}}); r.Err == nil || r.Err.Kind != TooFewNodes {
		t.Fatalf("got %v", r.Err)
	}
	do(t, c, Command{DeclareQueue: &DeclareQueue{VHost: "/", Queue: Queue{Name: "q", Durable: true}, Factor: 5}})
	if p := c.Placement(c.VHost("/").Queue("q").Log); len(p.Replicas) != 3 {
		t.Fatalf("%+v", p)
	}
	id := [16]byte{7}
	do(t, c, Command{CreateTopic: &CreateTopic{Name: "t", ID: id, Partitions: 1}})
	if r := do(t, c, Command{CreateTopic: &CreateTopic{Name: "t", ID: id, Partitions: 1}}); len(r.Changes) > 0 {
		t.Fatal("the same command again changed something")
	}
}

// TestGrow: a single node becomes a cluster. The catalog and the coordinators
// follow by themselves, the rest when it is asked for.
func TestGrow(t *testing.T) {
	c := cluster(t, 1)
	old := topic(t, c, "old", 2, 0)[0].Log
	for id := uint64(2); id <= 5; id++ {
		add := Command{AddNode: &AddNode{ID: id, Store: fmt.Sprint("s", id), Addr: "x"}}
		n := do(t, c, add).Node
		if again := do(t, c, add).Node; n.Replica != id || *again != *n {
			t.Fatalf("node %d is %+v, and %+v the second time", id, n, again)
		}
		if got := c.Placement(LogID).Replicas; len(got) != int(id) {
			t.Fatalf("the catalog is on %v", got)
		}
		if len(c.Placement(old).Replicas) != 1 || c.coordinatorFactor() != min(int(id)-1, 3) {
			t.Fatalf("node %d gets replicas before it has begun", id)
		}
		do(t, c, Command{Start: &Start{Node: id, Replica: n.Replica, Store: n.Store, Run: "r"}})
	}
	for _, log := range c.coordinators {
		if p := c.Placement(log); len(p.Replicas) != 5 {
			t.Fatalf("a coordinator is on %v", p.Replicas)
		}
	}
	for range 3 {
		do(t, c, Command{Rebalance: &Rebalance{}})
		settle(t, c)
	}
	if n := len(c.Placement(old).Replicas); n != 3 {
		t.Fatalf("after rebalancing an old topic has %d replicas", n)
	}
	if r, l := imbalance(c); r > 1 || l > 1 {
		t.Fatalf("after rebalancing the busiest node has %d replicas and %d leaders more than the idlest", r, l)
	}
}

// TestRemove: a node that is removed leads nowhere first and is a member to
// the last; the catalog's own replica goes at the end.
func TestRemove(t *testing.T) {
	c := cluster(t, 4)
	for i := range 10 {
		topic(t, c, fmt.Sprint("t", i), 3, 3)
	}
	do(t, c, Command{RemoveNode: &RemoveNode{ID: 2}})
	for _, p := range c.Placements() {
		if p.Log != LogID && (slices.Contains(p.Replicas, 2) || len(p.Replicas) != 3) {
			t.Fatalf("%+v", p)
		}
	}
	if c.Node(2).State != Removing || !slices.Contains(c.Placement(LogID).Replicas, 2) {
		t.Fatalf("node 2 is %s, the catalog on %+v", c.Node(2).State, c.Placement(LogID))
	}
	settle(t, c)
	if c.Node(2).State != Removed || slices.Contains(c.Placement(LogID).Replicas, 2) {
		t.Fatalf("node 2 is %s, the catalog on %+v", c.Node(2).State, c.Placement(LogID))
	}
	if r := c.Apply(&Command{Start: &Start{Node: 2, Replica: 2, Run: "again"}}); r.Err == nil {
		t.Fatal("a removed node may start")
	}
	if r := c.Apply(&Command{AddNode: &AddNode{ID: 2, Store: "store2"}}); r.Err == nil {
		t.Fatal("a removed node is admitted with its old data directory")
	}
	if n := do(t, c, Command{AddNode: &AddNode{ID: 2, Store: "fresh"}}).Node; n.Replica != 5 {
		t.Fatalf("it comes back as %+v", n)
	}
}

// TestReplace: a node that lost its disk gets a new replica id in all places.
// Its old data directory is refused from then on.
func TestReplace(t *testing.T) {
	c := cluster(t, 3)
	log := topic(t, c, "t", 1, 3)[0].Log
	if r := c.Apply(&Command{AddNode: &AddNode{ID: 3, Store: "empty"}}); r.Err == nil || r.Err.Kind != Refused {
		t.Fatalf("another data directory of a member: %v", r.Err)
	}
	for range 2 {
		do(t, c, Command{ReplaceNode: &ReplaceNode{ID: 3, Replica: 3}})
	}
	if p := c.Placement(log); !slices.Contains(p.Replicas, 4) || slices.Contains(p.Replicas, 3) || !slices.Equal(p.Leaving, []uint64{3}) {
		t.Fatalf("%+v", p)
	}
	if r := c.Apply(&Command{Start: &Start{Node: 3, Replica: 3, Store: "store3", Run: "old"}}); r.Err == nil {
		t.Fatal("the old data directory may start")
	}
	n := do(t, c, Command{AddNode: &AddNode{ID: 3, Store: "empty"}}).Node
	if n.Replica != 4 {
		t.Fatalf("%+v", n)
	}
	do(t, c, Command{Start: &Start{Node: 3, Replica: 4, Store: "empty", Run: "new"}})
	settle(t, c)
	if p := c.Placement(log); len(p.Leaving) > 0 || len(p.Replicas) != 3 {
		t.Fatalf("%+v", p)
	}
}

// TestStartIsRepeated: the same Start again, because its answer got lost, does not
// drop what was declared meanwhile.
func TestStartIsRepeated(t *testing.T) {
	c := cluster(t, 3)
	do(t, c, Command{DeclareQueue: &DeclareQueue{VHost: "/", Queue: Queue{Name: "q", Node: 1}}})
	do(t, c, Command{Start: &Start{Node: 1, Replica: 1, Run: "first"}})
	do(t, c, Command{Start: &Start{Node: 2, Replica: 2, Run: "second"}})
	if c.VHost("/").Queue("q") == nil {
		t.Fatal("the queue is gone")
	}
	do(t, c, Command{Start: &Start{Node: 1, Replica: 1, Run: "second"}})
	if c.VHost("/").Queue("q") != nil {
		t.Fatal("the queue outlives its node")
	}
}

// TestOldSnapshot: a state from before there were clusters is that of one node.
func TestOldSnapshot(t *testing.T) {
	old := `{"version":1,"cluster_id":"id","next_log":20,"next_producer":5,"coordinators":[16,17],"vhosts":[{"name":"/","exchanges":[],
		"queues":[{"name":"q","durable":true,"log":18},{"name":"m","log":19,"node":1}],"bindings":[]}],"topics":[]}`
	c := New()
	if err := c.Restore([]byte(old)); err != nil {
		t.Fatal(err)
	}
	for _, log := range []record.LogID{LogID, 16, 17, 18} {
		if p := c.Placement(log); p == nil || !slices.Equal(p.Initial, []uint64{1}) || !slices.Equal(p.Replicas, []uint64{1}) {
			t.Errorf("log %d: %+v", log, p)
		}
	}
	if c.Placement(19) != nil {
		t.Error("a queue in memory is placed")
	}
	do(t, c, Command{Start: &Start{Node: 1, Replica: 1, Store: "s", Run: "r"}})
	if n := c.Node(1); n.Store != "s" || n.Replica != 1 {
		t.Errorf("%+v", n)
	}
}

// TestNear: a queue is led where it was declared, as long as that node does not lead much
// more than the others; a node that drains leads nothing.
func TestNear(t *testing.T) {
	c := cluster(t, 3)
	leader := func(name string, near uint64) uint64 {
		do(t, c, Command{DeclareQueue: &DeclareQueue{VHost: "/", Queue: Queue{Name: name, Durable: true}, Near: near}})
		return c.Placement(c.VHost("/").Queue(name).Log).Replicas[0]
	}
	third := c.nodes[3].Replica
	for i := range nearSlack / 2 {
		if got := leader(fmt.Sprint("a", i), 3); got != third {
			t.Fatalf("queue %d is led by replica %d, not by %d", i, got, third)
		}
	}
	for i := range 300 {
		leader(fmt.Sprint("b", i), 3)
	}
	for _, n := range c.Nodes() {
		if extra := c.load[third].leaders - c.load[n.Replica].leaders; extra > nearSlack {
			t.Errorf("node 3 is preferred for %d logs more than node %d", extra, n.ID)
		}
	}
	if c.load[third].leaders <= c.load[c.nodes[1].Replica].leaders {
		t.Error("node 3 is not preferred although all was declared there")
	}
	do(t, c, Command{DrainNode: &DrainNode{ID: 3}})
	if got := leader("c", 3); got == third {
		t.Error("a node that drains leads a new queue")
	}
}
