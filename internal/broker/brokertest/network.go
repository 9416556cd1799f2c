package brokertest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
)

// network connects the nodes of a Cluster.
type network struct {
	mu    sync.Mutex // guards the rest
	nodes map[uint64]*Node
	cut   map[[2]uint64]bool // the lower id first
	muted map[uint64]bool    // raft messages from and to these nodes are lost, and nobody notices
	links map[[2]uint64]*link
	conns map[net.Conn][2]uint64
}

var errCut = errors.New("brokertest: the link is cut")

func newNetwork() *network {
	return &network{
		nodes: map[uint64]*Node{}, cut: map[[2]uint64]bool{}, muted: map[uint64]bool{},
		links: map[[2]uint64]*link{}, conns: map[net.Conn][2]uint64{},
	}
}

// reach returns the node with that id, if from can reach it, and is alive itself.
func (n *network) reach(from *Node, to uint64) (*Node, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reaches(from, to)
}

// reaches is reach, with n.mu held.
func (n *network) reaches(from *Node, to uint64) (*Node, error) {
	other := n.nodes[to]
	if n.nodes[from.ID] != from || other == nil || n.cut[[2]uint64{min(from.ID, to), max(from.ID, to)}] {
		return nil, fmt.Errorf("%w: %d to %d", errCut, from.ID, to)
	}
	return other, nil
}

func (n *network) get(id uint64) *Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.nodes[id]
}

func (n *network) list() []*Node {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := slices.Collect(maps.Values(n.nodes))
	slices.SortFunc(list, func(a, b *Node) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// join adds a node; those that can reach each other hear of it.
func (n *network) join(node *Node) {
	n.mu.Lock()
	n.nodes[node.ID] = node
	n.mu.Unlock()
	for _, other := range n.list() {
		if other != node {
			n.tell(node, other)
		}
	}
}

// leave takes a node out at once.
func (n *network) leave(node *Node) {
	n.mu.Lock()
	delete(n.nodes, node.ID)
	n.mu.Unlock()
	n.hangUp(func(a, b uint64) bool { return a == node.ID || b == node.ID })
	for _, other := range n.list() {
		other.Host.Peer(node.Replica, false)
		other.Broker.Peer(node.ID, false)
	}
}

// set cuts the link between two nodes, or mends it.
func (n *network) set(a, b uint64, cut bool) {
	n.mu.Lock()
	n.cut[[2]uint64{min(a, b), max(a, b)}] = cut
	one, two := n.nodes[a], n.nodes[b]
	n.mu.Unlock()
	if cut {
		n.hangUp(func(x, y uint64) bool { return x == a && y == b || x == b && y == a })
	}
	if one != nil && two != nil {
		n.tell(one, two)
	}
}

// tell tells two nodes whether they can reach each other.
func (n *network) tell(a, b *Node) {
	_, err := n.reach(a, b.ID)
	for _, pair := range [][2]*Node{{a, b}, {b, a}} {
		pair[0].Host.Peer(pair[1].Replica, err == nil)
		pair[0].Broker.Peer(pair[1].ID, err == nil)
	}
}

// nodeOf finds the node that has a replica id.
func (n *network) nodeOf(replica uint64) (uint64, bool) {
	for _, node := range n.list() {
		if node.Replica == replica {
			return node.ID, true
		}
	}
	return 0, false
}

// link is an ordered stream of frames from one node to another.
type link struct {
	mu     sync.Mutex // guards the rest
	frames [][]byte
	busy   bool // a goroutine hands frames over
}

// Send implements replica.Transport.
func (node *Node) Send(to uint64, parts ...[]byte) bool {
	n := node.cluster.net
	id, ok := node.cluster.net.nodeOf(to)
	if !ok {
		return false
	}
	if _, err := n.reach(node, id); err != nil {
		return false
	}
	n.mu.Lock()
	if n.muted[node.ID] || n.muted[id] {
		n.mu.Unlock()
		return true
	}
	key := [2]uint64{node.ID, id}
	l := n.links[key]
	if l == nil {
		l = &link{}
		n.links[key] = l
	}
	n.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frames = append(l.frames, slices.Concat(parts...))
	if !l.busy {
		l.busy = true
		go node.deliver(l, id)
	}
	return true
}

// deliver hands frames over until there are none.
func (node *Node) deliver(l *link, to uint64) {
	for {
		l.mu.Lock()
		if len(l.frames) == 0 {
			l.busy = false
			l.mu.Unlock()
			return
		}
		frames := l.frames
		l.frames = nil
		l.mu.Unlock()
		for _, frame := range frames {
			other, err := node.cluster.net.reach(node, to)
			if err != nil {
				continue
			}
			if err := other.Host.Receive(node.Replica, frame); err != nil {
				panic(fmt.Sprintf("brokertest: a frame from node %d to node %d: %v", node.ID, to, err))
			}
		}
	}
}

// Fetch implements replica.Transport.
func (node *Node) Fetch(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	id, ok := node.cluster.net.nodeOf(from)
	if !ok {
		return nil, errCut
	}
	other, err := node.cluster.net.reach(node, id)
	if err != nil {
		return nil, err
	}
	return other.Host.ServeFetch(ctx, node.Replica, request)
}

// Call implements broker.Cluster. An answer is lost when the link was cut meanwhile.
func (node *Node) Call(ctx context.Context, to uint64, service string, request []byte) ([]byte, error) {
	other, err := node.cluster.net.reach(node, to)
	if err != nil {
		return nil, err
	}
	type reply struct {
		data []byte
		err  error
	}
	done := make(chan reply, 1)
	go func() {
		data, err := other.Broker.ServeCall(ctx, node.ID, service, request)
		done <- reply{data, err}
	}()
	select {
	case r := <-done:
		if _, err := node.cluster.net.reach(node, to); err != nil {
			return nil, err
		}
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Dial implements broker.Cluster.
func (node *Node) Dial(_ context.Context, to uint64, service string) (net.Conn, error) {
	n := node.cluster.net
	n.mu.Lock()
	defer n.mu.Unlock() // until hangUp finds it
	other, err := n.reaches(node, to)
	if err != nil {
		return nil, err
	}
	here, there := net.Pipe()
	n.conns[here], n.conns[there] = [2]uint64{node.ID, to}, [2]uint64{node.ID, to}
	go func() {
		other.Broker.ServeStream(node.ID, service, there)
		n.mu.Lock()
		delete(n.conns, here)
		delete(n.conns, there)
		n.mu.Unlock()
	}()
	return here, nil
}

// hangUp closes the streams between the nodes for which bad holds.
func (n *network) hangUp(bad func(a, b uint64) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for c, ends := range n.conns {
		if bad(ends[0], ends[1]) {
			_ = c.Close() // it is a pipe
		}
	}
}
