package broker

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// Cluster is how the broker reaches the other nodes, by their node ids.
type Cluster interface {
	// Call sends one request and returns the answer, or the error that was answered.
	Call(ctx context.Context, node uint64, service string, request []byte) ([]byte, error)
	// Dial opens a stream of its own.
	Dial(ctx context.Context, node uint64, service string) (net.Conn, error)
}

// Node is a member of the cluster.
type Node = catalog.Node

// Addresses are where a node is reached; "" is not told.
type Addresses struct {
	Cluster           string // by other nodes
	AMQP, Kafka, HTTP string // by clients
}

// service is what a node does for others under a name; one of the two is set.
type service struct {
	call   func(ctx context.Context, from uint64, request []byte) ([]byte, error)
	stream func(from uint64, c net.Conn)
}

// services lists what this broker does for other nodes.
func (b *Broker) services() map[string]service {
	return map[string]service{
		"catalog":    {call: b.serveCatalog},
		"leads":      {call: b.serveLeads},
		"transfer":   {call: b.serveTransfer},
		"seen":       {call: b.serveSeen},
		"depths":     {call: b.serveDepths},
		queueService: {stream: b.serveQueues},
	}
}

// Services lists the names that ServeCall and ServeStream know.
func (b *Broker) Services() (calls, streams []string) {
	for name, s := range b.services() {
		if s.call != nil {
			calls = append(calls, name)
		} else {
			streams = append(streams, name)
		}
	}
	return calls, streams
}

// ServeCall answers a Call of another node.
func (b *Broker) ServeCall(ctx context.Context, from uint64, name string, request []byte) ([]byte, error) {
	s := b.serving[name]
	if s.call == nil {
		return nil, fmt.Errorf("broker: node %d asks for the unknown service %q", b.cfg.Node, name)
	}
	return s.call(ctx, from, request)
}

// ServeStream serves a stream that another node has dialed; it returns when that is
// over, and closes it.
func (b *Broker) ServeStream(from uint64, name string, c net.Conn) {
	s := b.serving[name]
	if s.stream == nil {
		b.log.Error("a node dials an unknown service", "from", from, "service", name)
		_ = c.Close() // nothing was exchanged
		return
	}
	s.stream(from, c)
}

// membership is an immutable view of the nodes.
type membership struct {
	nodes     []*Node
	parting   []Node // see Broker.Parting
	byID      map[uint64]*Node
	byReplica map[uint64]*Node
}

// membershipView is read from everywhere; the directory changes it.
type membershipView struct {
	now atomic.Pointer[membership]
}

func (v *membershipView) load() *membership {
	if m := v.now.Load(); m != nil {
		return m
	}
	return &membership{}
}

// follow replaces the view by what the catalog knows.
func (v *membershipView) follow(c *catalog.Catalog) { v.set(c.Nodes(), c.Placement(catalog.LogID)) }

// set replaces the view. p is where the catalog itself is, or nil.
func (v *membershipView) set(nodes []*Node, p *catalog.Placement) {
	m := &membership{nodes: nodes, byID: map[uint64]*Node{}, byReplica: map[uint64]*Node{}}
	for _, n := range m.nodes {
		m.byID[n.ID] = n
		m.byReplica[n.Replica] = n
	}
	if p != nil {
		for _, id := range p.Leaving {
			if n := m.byReplica[id]; n != nil && !n.Member() {
				parting := *n
				parting.State = catalog.Removing
				m.parting = append(m.parting, parting)
			}
		}
	}
	v.now.Store(m)
}

// followNodes makes the view follow changes of the catalog. On the catalog's
// shard; also before the registries follow, as nodes have to be reached for that.
func (b *Broker) followNodes(changes []catalog.Change) {
	before := b.members.load()
	some := false
	for _, c := range changes {
		if c.Node == nil && (c.Placement == nil || c.Placement.Log != catalog.LogID) {
			continue
		}
		if !some {
			some = true
			b.members.follow(b.directory.catalog)
		}
		if c.Node == nil {
			continue
		}
		if old := before.byID[c.Node.ID]; old == nil || old.Run != c.Node.Run {
			b.herald.greet(c.Node.ID)
		}
	}
	if some {
		b.tellNodes()
	}
}

// tellNodes says which nodes have to be reached.
func (b *Broker) tellNodes() {
	if b.cfg.OnNodes != nil {
		b.cfg.OnNodes(slices.Concat(b.Nodes(), b.Parting()))
	}
}

// Nodes lists the members of the cluster in the order of their ids.
func (b *Broker) Nodes() []Node {
	var list []Node
	for _, n := range b.members.load().nodes {
		if n.Member() {
			list = append(list, *n)
		}
	}
	return list
}

// Parting lists the nodes that hold nothing any more but a vote in the raft group of the
// catalog. To the catalog they are removed; without that vote those that stay may be no
// majority, so to everybody else they are still being removed.
func (b *Broker) Parting() []Node { return b.members.load().parting }

// NodeID is the id of this node.
func (b *Broker) NodeID() uint64 { return b.cfg.Node }

// Controller is the node that leads the catalog, if that is known.
func (b *Broker) Controller() (node uint64, ok bool) {
	node, _, ok = b.LeaderOf(catalog.LogID)
	return node, ok
}

// Announce tells the cluster the addresses of this node, when they are other
// ones than it was opened with.
func (b *Broker) Announce(ctx context.Context, a Addresses) error {
	return b.directory.begin(ctx, a)
}

// Peer notes that another node can be reached, or not.
func (b *Broker) Peer(node uint64, up bool) {
	if up {
		b.down.Delete(node)
	} else {
		b.down.LoadOrStore(node, b.cfg.Now())
	}
}

// isDown reports whether a node cannot be reached, as far as it is known.
func (b *Broker) isDown(node uint64) bool {
	_, down := b.downSince(node)
	return down
}

func (b *Broker) downSince(node uint64) (time.Time, bool) {
	since, down := b.down.Load(node)
	if !down || node == b.cfg.Node {
		return time.Time{}, false
	}
	return since.(time.Time), true
}

// Down lists the nodes that cannot be reached from this one.
func (b *Broker) Down() (nodes []uint64) {
	for _, n := range b.Nodes() {
		if b.isDown(n.ID) {
			nodes = append(nodes, n.ID)
		}
	}
	return nodes
}

// LeaderOf tells which node leads a log, and in which term, as far as it is known here;
// ok is false when it is not.
func (b *Broker) LeaderOf(log record.LogID) (node, term uint64, ok bool) {
	if b.cfg.Cluster == nil {
		return b.cfg.Node, b.leaders.get(log).term, true
	}
	l := b.leaders.get(log)
	n := b.members.load().byReplica[l.replica]
	if l.replica == 0 || n == nil {
		return 0, l.term, false
	}
	return n.ID, l.term, true
}
