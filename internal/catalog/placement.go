package catalog

import (
	"cmp"
	"maps"
	"slices"

	"waybill/internal/record"
)

// Placement says where the replicas of a log are. It is replaced, never
// changed. Its numbers are replica ids.
type Placement struct {
	Log      record.LogID `json:"log"`
	Initial  []uint64     `json:"initial"`           // the voters when the log came into being
	Replicas []uint64     `json:"replicas"`          // the voters that are wanted; the first one is preferred as the leader
	Leaving  []uint64     `json:"leaving,omitempty"` // not wanted any more, but may be a voter or hold a copy still
	Gone     []uint64     `json:"gone,omitempty"`    // were voters once, and have deleted their copy
	Factor   int          `json:"factor,omitempty"`  // the number that was asked for; 0: the cluster's default

	Rebuilding *Rebuilding `json:"rebuilding,omitempty"` // leaves, or has left, to come back; nil: none
}

// Rebuilding is a replica that begins anew because its copy is damaged.
type Rebuilding struct {
	Replica uint64 `json:"replica"`
	Place   int    `json:"place"` // in Placement.Replicas, where it comes back
}

// Holds reports whether a replica has a copy, or shall get one.
func (p *Placement) Holds(replica uint64) bool {
	return slices.Contains(p.Replicas, replica) || slices.Contains(p.Leaving, replica)
}

// Voters returns the voters that an empty copy on that replica begins with, before it
// has learned of any change. One that had the log once and comes back does not
// count itself: it has forgotten what it acknowledged, and must not vote until
// the log tells it that it is a member again.
func (p *Placement) Voters(replica uint64) []uint64 {
	if !slices.Contains(p.Gone, replica) {
		return p.Initial
	}
	others := func(ids []uint64) []uint64 {
		return slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return id == replica })
	}
	if voters := others(p.Initial); len(voters) > 0 {
		return voters
	}
	// The log was its own. Whoever has it now comes to the same members by the same changes.
	return others(slices.Concat(p.Replicas, p.Leaving))
}

// load is what a replica id has to carry; the catalog's own log does not count.
type load struct {
	replicas int // in Placement.Replicas
	leaders  int // as the first one there
	held     int // in Replicas or Leaving
}

// Placement returns where a log is, or nil. Logs in the memory of one node
// have none.
func (c *Catalog) Placement(log record.LogID) *Placement { return c.placements[log] }

// Placements lists all placements in the order of their logs.
func (c *Catalog) Placements() []*Placement {
	list := make([]*Placement, 0, len(c.placements))
	for _, log := range c.placed() {
		list = append(list, c.placements[log])
	}
	return list
}

func (c *Catalog) placed() []record.LogID { return slices.Sorted(maps.Keys(c.placements)) }

// standardFactor is the number of replicas of what asks for none, with at
// least five nodes for what everything depends on.
const (
	standardFactor = 3
	largeFactor    = 5
)

// DefaultFactor is the number of replicas of what does not ask for one, with
// that many nodes that can hold them.
func DefaultFactor(nodes int) int { return max(1, min(standardFactor, nodes)) }

func (c *Catalog) defaultFactor() int { return DefaultFactor(len(c.candidates())) }

func (c *Catalog) coordinatorFactor() int {
	if n := len(c.candidates()); n >= largeFactor {
		return largeFactor
	}
	return c.defaultFactor()
}

// factor is the number of replicas that a placement with that Factor should have.
func (c *Catalog) factor(p *Placement) int {
	switch {
	case slices.Contains(c.coordinators, p.Log):
		return c.coordinatorFactor()
	case p.Factor == 0:
		return c.defaultFactor()
	}
	return max(1, min(p.Factor, len(c.candidates())))
}

// candidates lists the nodes that replicas can be placed on: those that work
// or, without any, those that are expected.
func (c *Catalog) candidates() []*Node {
	if list := slices.DeleteFunc(c.Nodes(), func(n *Node) bool { return !n.Hosts() }); len(list) > 0 {
		return list
	}
	return slices.DeleteFunc(c.Nodes(), func(n *Node) bool { return n.State != Joining })
}

// checkFactor refuses a number of replicas for which there are not enough nodes.
func (c *Catalog) checkFactor(factor int) *Error {
	if n := len(c.candidates()); factor > n {
		return errorf(TooFewNodes, "a replication factor of %d needs as many nodes; there are %d", factor, n)
	}
	return nil
}

// checkReplicas checks where n new partitions are to be placed; nothing said
// leaves it to the catalog.
func (c *Catalog) checkReplicas(replicas [][]uint64, n int) *Error {
	if len(replicas) == 0 {
		return nil
	}
	if len(replicas) != n {
		return errorf(Invalid, "%d partitions need as many assignments, not %d", n, len(replicas))
	}
	for _, list := range replicas {
		hosts := map[uint64]bool{}
		for _, n := range c.candidates() {
			hosts[n.Replica] = true
		}
		for _, id := range list {
			if !hosts[id] {
				return errorf(Invalid, "a partition is assigned twice to the same node, or to one that cannot hold data")
			}
			delete(hosts, id)
		}
		if len(list) == 0 {
			return errorf(Invalid, "a partition needs at least one replica")
		}
	}
	return nil
}

// place puts a new log on n nodes, as many as there are of those that carry least. factor
// is what was asked for, near the node that is to lead if possible; 0: none.
func (c *Catalog) place(log record.LogID, factor, n int, near uint64) {
	replicas := c.fill(nil, nil, n)
	c.preferLeast(replicas)
	c.preferNear(replicas, near)
	c.setPlacement(&Placement{Log: log, Initial: replicas, Replicas: replicas, Factor: factor})
}

// fill adds replicas on the nodes that carry least, until there are n. Those
// in but are not taken.
func (c *Catalog) fill(replicas, but []uint64, n int) []uint64 {
	for len(replicas) < n {
		best := c.least(replicas, but)
		if best == 0 {
			break
		}
		replicas = append(replicas, best)
	}
	return replicas
}

// least is the replica id that carries least and is in neither list; 0 when there
// is none.
func (c *Catalog) least(replicas, but []uint64) uint64 {
	var best *Node
	weight := func(n *Node) (draining bool, replicas, leaders int) {
		l := c.load[n.Replica]
		return n.State == Draining, l.replicas, l.leaders
	}
	for _, n := range c.candidates() {
		if slices.Contains(replicas, n.Replica) || slices.Contains(but, n.Replica) {
			continue
		}
		if best == nil {
			best = n
			continue
		}
		d, r, l := weight(n)
		bd, br, bl := weight(best)
		if d != bd && bd || d == bd && (r < br || r == br && l < bl) {
			best = n
		}
	}
	if best == nil {
		return 0
	}
	return best.Replica
}

// preferLeast brings the replica to the front that is preferred least often;
// one on a node that leads nothing is the last choice.
func (c *Catalog) preferLeast(replicas []uint64) {
	if len(replicas) == 0 {
		return
	}
	passive := map[uint64]int{}
	for _, n := range c.nodes {
		if n.State != Active {
			passive[n.Replica] = 1
		}
	}
	first := slices.MinFunc(replicas, func(a, b uint64) int {
		return cmp.Or(cmp.Compare(passive[a], passive[b]), cmp.Compare(c.load[a].leaders, c.load[b].leaders), cmp.Compare(a, b))
	})
	toFront(replicas, first)
}

// nearSlack is how many more logs a node may be preferred for than another one because
// they were declared there.
const nearSlack = 10

// preferNear brings the replica of a node to the front: whoever declares a queue is likely to
// use it, and what a leader's own clients do needs no forwarding. Not when the
// node leads much more than the one that is in front.
func (c *Catalog) preferNear(replicas []uint64, near uint64) {
	n := c.nodes[near]
	if n == nil || n.State != Active || !slices.Contains(replicas, n.Replica) {
		return
	}
	if c.load[n.Replica].leaders < c.load[replicas[0]].leaders+nearSlack {
		toFront(replicas, n.Replica)
	}
}

func toFront(replicas []uint64, id uint64) {
	i := slices.Index(replicas, id)
	copy(replicas[1:i+1], replicas[:i])
	replicas[0] = id
}

// move makes other replicas the wanted ones.
func (c *Catalog) move(p *Placement, replicas []uint64) Change {
	n := *p
	n.Replicas = replicas
	n.Leaving = nil
	if n.Rebuilding != nil && slices.Contains(replicas, n.Rebuilding.Replica) {
		n.Rebuilding = nil
	}
	for _, id := range slices.Concat(p.Leaving, p.Replicas) {
		if !slices.Contains(replicas, id) && !slices.Contains(n.Leaving, id) {
			n.Leaving = append(n.Leaving, id)
		}
	}
	c.setPlacement(&n)
	return Change{Placement: &n}
}

// grow puts the catalog on every member, and the coordinators on as many nodes as they
// should be on.
func (c *Catalog) grow() (changes []Change) {
	if p := c.placements[LogID]; p != nil && !slices.Equal(p.Replicas, c.members()) {
		changes = append(changes, c.move(p, c.members()))
	}
	for _, log := range c.coordinators {
		p := c.placements[log]
		if p.Rebuilding != nil {
			continue // it has them when that one is back
		}
		if replicas := c.fill(slices.Clone(p.Replicas), p.Leaving, c.coordinatorFactor()); len(replicas) > len(p.Replicas) {
			changes = append(changes, c.move(p, replicas))
		}
	}
	return changes
}

// placeLog says which replicas of a log are wanted.
func (c *Catalog) placeLog(cmd *Place) Result {
	p := c.placements[cmd.Log]
	switch {
	case p == nil:
		return Result{Err: errorf(NotFound, "log %d is not replicated", cmd.Log)}
	case cmd.Log == LogID:
		return Result{Err: errorf(Refused, "the catalog is on every node")}
	case len(cmd.Replicas) == 0:
		return Result{Err: errorf(Invalid, "a log needs at least one replica")}
	case p.Rebuilding != nil:
		return Result{Err: errorf(InUse, "a damaged replica of log %d is being rebuilt: try again when that is done", cmd.Log)}
	}
	may := map[uint64]bool{} // a node that leaves holds what it has until it is told otherwise
	for _, id := range p.Replicas {
		may[id] = true
	}
	for _, n := range c.candidates() {
		may[n.Replica] = true
	}
	for _, id := range cmd.Replicas {
		if !may[id] {
			return Result{Err: errorf(Invalid, "replica %d is named twice, or is not one of a node that can hold data", id)}
		}
		delete(may, id)
	}
	if slices.Equal(p.Replicas, cmd.Replicas) {
		return Result{}
	}
	return Result{Changes: []Change{c.move(p, slices.Clone(cmd.Replicas))}}
}

// replicaGone: a replica that was leaving is no voter any more.
func (c *Catalog) replicaGone(cmd *ReplicaGone) Result {
	p := c.placements[cmd.Log]
	if p == nil || !slices.Contains(p.Leaving, cmd.Replica) {
		return Result{} // done before, or the replica is wanted again
	}
	n := *p
	n.Leaving = slices.DeleteFunc(slices.Clone(p.Leaving), func(id uint64) bool { return id == cmd.Replica })
	if !slices.Contains(p.Gone, cmd.Replica) {
		n.Gone = append(slices.Clone(p.Gone), cmd.Replica)
	}
	c.setPlacement(&n)
	changes := []Change{{Placement: &n}}
	return Result{Changes: append(changes, c.retire()...)}
}

// rebalance spreads replicas and preferred leaders evenly over the nodes, and
// gives what has fewer replicas than it should have the missing ones.
func (c *Catalog) rebalance() (r Result) {
	for _, log := range c.placed() {
		p := c.placements[log]
		if log == LogID || p.Rebuilding != nil {
			continue
		}
		replicas := c.fill(slices.Clone(p.Replicas), p.Leaving, c.factor(p))
		if len(replicas) == len(p.Replicas) {
			c.spread(p, replicas)
		}
		if !slices.Equal(replicas, p.Replicas) {
			r.Changes = append(r.Changes, c.move(p, replicas))
		}
	}
	for _, log := range c.placed() {
		p := c.placements[log]
		if log == LogID {
			continue
		}
		replicas := slices.Clone(p.Replicas)
		c.setPlacement(&Placement{Log: log, Initial: p.Initial, Leaving: p.Leaving, Factor: p.Factor}) // so that it does not count
		c.preferLeast(replicas)
		if c.load[replicas[0]].leaders == c.load[p.Replicas[0]].leaders && c.leads(p.Replicas[0]) {
			replicas = p.Replicas // no better
		}
		n := *p
		n.Replicas = replicas
		c.setPlacement(&n)
		if !slices.Equal(replicas, p.Replicas) {
			r.Changes = append(r.Changes, Change{Placement: &n})
		}
	}
	return r
}

// leads reports whether a replica is on a node that shall lead.
func (c *Catalog) leads(replica uint64) bool {
	for _, n := range c.nodes {
		if n.Replica == replica {
			return n.State == Active
		}
	}
	return false
}

// spread moves replicas, in place, from nodes that carry at least two more
// than another one.
func (c *Catalog) spread(p *Placement, replicas []uint64) {
	for i, id := range replicas {
		to := c.least(replicas, p.Leaving)
		if to != 0 && c.load[id].replicas >= c.load[to].replicas+2 {
			replicas[i] = to
			return // one at a time: the load is counted anew
		}
	}
}

// setPlacement replaces the placement of a log and keeps count.
func (c *Catalog) setPlacement(p *Placement) {
	c.count(c.placements[p.Log], -1)
	c.placements[p.Log] = p
	c.count(p, 1)
}

// unplace forgets a log that was deleted.
func (c *Catalog) unplace(log record.LogID) {
	c.count(c.placements[log], -1)
	delete(c.placements, log)
}

func (c *Catalog) count(p *Placement, n int) {
	if p == nil || p.Log == LogID {
		return
	}
	add := func(id uint64, d load) {
		l := c.load[id]
		l.replicas, l.leaders, l.held = l.replicas+n*d.replicas, l.leaders+n*d.leaders, l.held+n*d.held
		c.load[id] = l
	}
	for i, id := range p.Replicas {
		d := load{replicas: 1, held: 1}
		if i == 0 {
			d.leaders = 1
		}
		add(id, d)
	}
	for _, id := range p.Leaving {
		add(id, load{held: 1})
	}
}
