package catalog

import (
	"maps"
	"slices"
)

// Node is a member of the cluster. It is replaced, never changed.
type Node struct {
	ID      uint64    `json:"id"`      // the operator's number
	Replica uint64    `json:"replica"` // of its data directory, in every raft group; never used again for another one
	Store   string    `json:"store,omitempty"`
	Run     string    `json:"run,omitempty"`   // random, of the process that began last; "": none has
	Addr    string    `json:"addr,omitempty"`  // for the other nodes
	AMQP    string    `json:"amqp,omitempty"`  // for clients, as are the next two
	Kafka   string    `json:"kafka,omitempty"` //
	HTTP    string    `json:"http,omitempty"`  //
	State   NodeState `json:"state,omitempty"`
}

// NodeState is where a node is in its life.
type NodeState string

// The states of nodes.
const (
	Active   NodeState = ""
	Joining  NodeState = "joining"  // it has not begun yet with its present data directory; nothing new is placed on it
	Draining NodeState = "draining" // it shall lead nothing; new replicas are placed on it only where they find no other node
	Removing NodeState = "removing" // its replicas are being moved to other nodes
	Removed  NodeState = "removed"  // it is no member any more; kept so that it is refused when it comes back
)

// Member reports whether the node holds, or may hold, replicas.
func (n *Node) Member() bool { return n.State != Removed }

// Hosts reports whether replicas may be placed on the node.
func (n *Node) Hosts() bool { return n.State == Active || n.State == Draining }

// Nodes lists all nodes, removed ones included, in the order of their ids.
func (c *Catalog) Nodes() []*Node {
	list := make([]*Node, 0, len(c.nodes))
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		list = append(list, c.nodes[id])
	}
	return list
}

// Node returns a node, or nil.
func (c *Catalog) Node(id uint64) *Node { return c.nodes[id] }

// start begins, or begins again, the work of a node: what lived in its memory
// is gone. A command that is repeated is known by its Run, and changes nothing
// but the node's addresses.
func (c *Catalog) start(s *Start) Result {
	if c.clusterID == "" {
		if err := s.checkFounders(); err != nil {
			return Result{Err: err}
		}
		c.found(s)
		r := Result{Changes: c.Changes()}
		began := c.begin(s, c.nodes[s.Node])
		return Result{Changes: append(r.Changes, began...)}
	}
	n := c.nodes[s.Node]
	if err := s.claim(n); err != nil {
		return Result{Err: err}
	}
	if s.Run != "" && n.Run == s.Run {
		return c.address(s, n)
	}
	return Result{Changes: c.begin(s, n)}
}

// address notes where a node is reached that has begun before.
func (c *Catalog) address(s *Start, old *Node) Result {
	n := *old
	n.AMQP, n.Kafka, n.HTTP = s.AMQP, s.Kafka, s.HTTP
	if s.Addr != "" {
		n.Addr = s.Addr
	}
	if n == *old {
		return Result{}
	}
	c.setNode(&n)
	return Result{Changes: []Change{{Node: &n}}}
}

// claim checks that who starts is the member that it says it is.
func (s *Start) claim(n *Node) *Error {
	switch {
	case n == nil:
		return errorf(Refused, "node %d is not a member of this cluster: start it with an empty data directory and --join", s.Node)
	case n.State == Removed:
		return errorf(Refused, "node %d was removed from this cluster: to add it again, start it with an empty data directory and --join", s.Node)
	case s.replica() != n.Replica || s.Store != "" && n.Store != "" && s.Store != n.Store:
		return errorf(Refused, "node %d is a member with another data directory: if that one is lost, run `waybill cluster replace %d` on a live node, and start this one with an empty data directory", s.Node, s.Node)
	}
	return nil
}

// replica is the node's replica id. Before there were clusters it was not told.
func (s *Start) replica() uint64 {
	if s.Replica == 0 {
		return s.Node
	}
	return s.Replica
}

func (s *Start) checkFounders() *Error {
	if len(s.Founders) == 0 {
		return nil
	}
	for i := range s.Founders {
		if f := &s.Founders[i]; f.ID == s.Node && f.Replica == s.replica() {
			return nil
		}
	}
	return errorf(Refused, "node %d is not one of the founders of this cluster", s.Node)
}

// found makes the cluster: its first nodes, and what exists from the start.
func (c *Catalog) found(s *Start) {
	c.clusterID = s.ClusterID
	founders := s.Founders
	if len(founders) == 0 {
		founders = []Node{{ID: s.Node, Replica: s.replica(), Store: s.Store, Addr: s.Addr}}
	}
	for _, n := range founders {
		n.State, n.Run = Active, ""
		c.setNode(&n)
	}
	c.setPlacement(&Placement{Log: LogID, Initial: c.members(), Replicas: c.members()})
	for range s.Coordinators {
		id := c.newLog()
		c.coordinators = append(c.coordinators, id)
		c.place(id, 0, c.coordinatorFactor(), 0)
	}
	v := newVHost(DefaultVHost)
	c.vhosts[v.name] = v
	for _, x := range predeclared {
		v.exchanges[x.Name] = &x
	}
}

// begin notes who the node is now, and drops what lived in its memory.
func (c *Catalog) begin(s *Start, old *Node) []Change {
	n := *old
	n.Run, n.AMQP, n.Kafka, n.HTTP = s.Run, s.AMQP, s.Kafka, s.HTTP
	if s.Store != "" {
		n.Store = s.Store
	}
	if s.Addr != "" {
		n.Addr = s.Addr
	}
	if n.State == Joining {
		n.State = Active
	}
	c.setNode(&n)
	changes := []Change{{Node: &n}}
	if old.State == Joining {
		changes = append(changes, c.grow()...)
	}
	return append(changes, c.dropNode(n.ID)...)
}

// dropNode removes what lived in the memory of a node.
func (c *Catalog) dropNode(id uint64) (changes []Change) {
	for _, name := range c.VHosts() {
		changes = append(changes, c.vhosts[name].dropNode(id)...)
	}
	return changes
}

// addNode admits a node, or tells who it is when it was admitted before.
func (c *Catalog) addNode(a *AddNode) Result {
	old := c.nodes[a.ID]
	switch {
	case a.ID == 0 || a.Store == "":
		return Result{Err: errorf(Invalid, "a node needs an id from 1 on, and the id of its store")}
	case old != nil && old.State == Removed && old.Store == a.Store:
		return Result{Err: errorf(Refused, "node %d was removed from this cluster: to add it again, start it with an empty data directory", a.ID)}
	case old == nil || old.State == Removed:
		n := &Node{ID: a.ID, Replica: c.nextReplica, Store: a.Store, Addr: a.Addr, State: Joining}
		return c.joined(n)
	case old.Store == "" && old.State == Joining: // replaced: this is its new data directory
		n := *old
		n.Store, n.Addr = a.Store, a.Addr
		return c.joined(&n)
	case old.Store != a.Store:
		return Result{Err: errorf(Refused, "node %d is a member with another data directory: if its disk is lost, run `waybill cluster replace %d` on a live node, and start this one again", a.ID, a.ID)}
	}
	return Result{Node: old}
}

func (c *Catalog) joined(n *Node) Result {
	c.setNode(n)
	changes := append([]Change{{Node: n}}, c.grow()...)
	return Result{Node: n, Changes: changes}
}

// replaceNode gives up the data directory of a node, which is lost: the node
// gets a new replica id, and that one takes the place of the old one everywhere.
// It is for whoever comes next under the node's id with an empty data directory.
func (c *Catalog) replaceNode(r *ReplaceNode) Result {
	old := c.nodes[r.ID]
	switch {
	case old == nil || !old.Member():
		return Result{Err: errorf(NotFound, "node %d is not a member of this cluster", r.ID)}
	case r.Replica != 0 && old.Replica != r.Replica:
		return Result{Node: old} // done before
	case old.State == Removing:
		return Result{Err: errorf(InUse, "node %d is being removed: add it again when that is done", r.ID)}
	}
	n := &Node{ID: old.ID, Replica: c.nextReplica, Addr: old.Addr, State: Joining}
	c.setNode(n)
	changes := []Change{{Node: n}}
	for _, log := range c.placed() {
		p := c.placements[log]
		if i := slices.Index(p.Replicas, old.Replica); i >= 0 {
			replicas := slices.Clone(p.Replicas)
			replicas[i] = n.Replica
			changes = append(changes, c.move(p, replicas))
		}
	}
	changes = append(changes, c.giveUpRebuilding(old.Replica, n.Replica)...)
	return Result{Node: n, Changes: append(changes, c.dropNode(n.ID)...)}
}

// drainNode makes a node give its leaders away, or take some again.
func (c *Catalog) drainNode(d *DrainNode) Result {
	old := c.nodes[d.ID]
	from, to := Active, Draining
	if d.End {
		from, to = to, from
	}
	switch {
	case old == nil || !old.Member():
		return Result{Err: errorf(NotFound, "node %d is not a member of this cluster", d.ID)}
	case old.State == to:
		return Result{Node: old}
	case old.State != from:
		return Result{Err: errorf(InUse, "node %d is %s", d.ID, old.State)}
	}
	n := *old
	n.State = to
	c.setNode(&n)
	return Result{Node: &n, Changes: []Change{{Node: &n}}}
}

// removeNode moves the replicas of a node elsewhere; when the last of them is gone
// the node is no member any more.
func (c *Catalog) removeNode(r *RemoveNode) Result {
	old := c.nodes[r.ID]
	switch {
	case old == nil:
		return Result{Err: errorf(NotFound, "node %d is not a member of this cluster", r.ID)}
	case old.State == Removing || old.State == Removed:
		return Result{Node: old}
	case !slices.ContainsFunc(c.Nodes(), func(n *Node) bool { return n.ID != r.ID && n.Hosts() }):
		return Result{Err: errorf(InUse, "node %d is the only one that holds data: add another node first", r.ID)}
	}
	n := *old
	n.State = Removing
	c.setNode(&n)
	changes := []Change{{Node: &n}}
	for _, log := range c.placed() {
		p := c.placements[log]
		if log == LogID || !slices.Contains(p.Replicas, n.Replica) {
			continue
		}
		replicas := slices.DeleteFunc(slices.Clone(p.Replicas), func(id uint64) bool { return id == n.Replica })
		replicas = c.fill(replicas, p.notNow(), len(p.Replicas))
		if len(replicas) == 0 {
			replicas = c.fill(nil, nil, 1) // back to where it was leaving
		}
		changes = append(changes, c.move(p, replicas))
	}
	changes = append(changes, c.giveUpRebuilding(n.Replica, 0)...)
	changes = append(changes, c.retire()...)
	return Result{Node: c.nodes[r.ID], Changes: changes}
}

// retire ends the membership of nodes that are being removed and hold nothing
// any more but a replica of the catalog. That one goes last: without it the node
// would not hear what became of the others.
func (c *Catalog) retire() (changes []Change) {
	for _, old := range c.Nodes() {
		if old.State != Removing || c.load[old.Replica].held > 0 {
			continue
		}
		n := *old
		n.State = Removed
		c.setNode(&n)
		changes = append(changes, Change{Node: &n})
		changes = append(changes, c.dropNode(n.ID)...)
		changes = append(changes, c.grow()...)
	}
	return changes
}

func (c *Catalog) setNode(n *Node) {
	c.nodes[n.ID] = n
	c.nextReplica = max(c.nextReplica, n.Replica+1)
}

// members lists the replica ids of the members, in the order of their nodes.
func (c *Catalog) members() (ids []uint64) {
	for _, n := range c.Nodes() {
		if n.Member() {
			ids = append(ids, n.Replica)
		}
	}
	return ids
}
