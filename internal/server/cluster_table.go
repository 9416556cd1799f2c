package server

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"slices"

	"waybill/internal/transport"
)

// memberTable is an immutable view of the members.
type memberTable struct {
	byNode    map[uint64]member
	byReplica map[uint64]uint64 // replica id → node
}

// newMemberTable takes members; of two with one number the later one counts.
func newMemberTable(list []member) *memberTable {
	t := &memberTable{byNode: map[uint64]member{}, byReplica: map[uint64]uint64{}}
	for _, m := range list {
		t.byNode[m.Node] = m
	}
	for _, m := range t.byNode {
		t.byReplica[m.Replica] = m.Node
	}
	return t
}

func (t *memberTable) addrs() map[uint64]string {
	addrs := map[uint64]string{}
	for node, m := range t.byNode {
		addrs[node] = m.Addr
	}
	return addrs
}

// members lists who this node knows, in the order of their numbers.
func (l *links) members() []member {
	t := l.table.Load()
	if t == nil {
		return nil
	}
	return slices.SortedFunc(maps.Values(t.byNode), func(a, b member) int { return cmp.Compare(a.Node, b.Node) })
}

// admits decides about a node of this cluster that connects. This node may not
// have heard yet of one that joined or was replaced; replica ids count up, so a
// smaller one than it knows is of a data directory that was given up.
func (n *Node) admits(who transport.Identity) error {
	t := n.links.table.Load()
	if t == nil {
		return nil
	}
	m, ok := t.byNode[who.Node]
	switch {
	case !ok || who.Replica > m.Replica:
		return nil
	case who.Replica < m.Replica:
		return fmt.Errorf("node %d was given a new data directory, and this is its old one", who.Node)
	case m.Store != "" && who.Store != m.Store:
		return fmt.Errorf("node %d is a member with another data directory", who.Node)
	}
	return nil
}

// nodeOf is the node that has a replica.
func (l *links) nodeOf(replica uint64) (node uint64, ok bool) {
	t := l.table.Load()
	if t == nil {
		return 0, false
	}
	node, ok = t.byReplica[replica]
	return node, ok
}

// raftLinks is the replica host's way to other nodes.
type raftLinks struct{ l *links }

// Send implements replica.Transport.
func (r raftLinks) Send(to uint64, parts ...[]byte) bool {
	node, ok := r.l.nodeOf(to)
	return ok && r.l.transport.Send(node, parts...)
}

// Fetch implements replica.Transport.
func (r raftLinks) Fetch(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	node, ok := r.l.nodeOf(from)
	if !ok {
		return nil, fmt.Errorf("replica %d: %w", from, errNotReached)
	}
	return r.l.transport.Call(ctx, node, fetchService, request)
}

// brokerLinks is the broker's way to other nodes. It implements broker.Cluster.
type brokerLinks struct{ t *transport.Transport }

// Call sends one request.
func (b brokerLinks) Call(ctx context.Context, node uint64, service string, request []byte) ([]byte, error) {
	return b.t.Call(ctx, node, service, request)
}

// Dial opens a stream.
func (b brokerLinks) Dial(ctx context.Context, node uint64, service string) (net.Conn, error) {
	return b.t.Dial(ctx, node, service)
}

// askJoin asks whoever is at an address about joining.
func askJoin(ctx context.Context, t *transport.Transport, addr string, q joinRequest) (a joinAnswer, err error) {
	request, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	who, answer, err := t.CallAddr(ctx, addr, transport.JoinService, request)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, fmt.Errorf("node %d does not answer as it should: %w", who.Node, err)
	}
	if a.Node != who.Node || a.Store != who.Store {
		return a, fmt.Errorf("node %d answers for node %d", who.Node, a.Node)
	}
	return a, nil
}
