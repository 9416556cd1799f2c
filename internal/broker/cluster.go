package broker

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
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

// serveCatalog proposes a command for another node.
func (b *Broker) serveCatalog(context.Context, uint64, []byte) ([]byte, error) {
	return nil, unavailable("change the catalog", replica.ErrNotLeader)
}

// services lists what this broker does for other nodes.
func (b *Broker) services() map[string]service {
	return map[string]service{
		"catalog": {call: b.serveCatalog},
		"leads":   {call: b.serveLeads},
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

// set replaces the view.
func (v *membershipView) set(nodes []*Node) {
	m := &membership{nodes: nodes, byID: map[uint64]*Node{}, byReplica: map[uint64]*Node{}}
	for _, n := range nodes {
		m.byID[n.ID] = n
		m.byReplica[n.Replica] = n
	}
	v.now.Store(m)
}

// followNodes makes the view follow the catalog. On the catalog's shard.
func (b *Broker) followNodes() {
	b.members.set(b.directory.catalog.Nodes())
	if b.cfg.OnNodes != nil {
		b.cfg.OnNodes(b.Nodes())
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

// NodeID is the id of this node.
func (b *Broker) NodeID() uint64 { return b.cfg.Node }

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
