package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"waybill/internal/broker"
	"waybill/internal/replica"
	"waybill/internal/transport"
)

// links are a node's part in its cluster: who it is, who the others are, and
// how it reaches them.
type links struct {
	transport *transport.Transport          // nil: no other node can be reached
	addr      string                        // that others are told; "" without transport
	told      broker.Addresses              // that the catalog was told at the start
	file      atomic.Pointer[clusterFile]   // who this node is; nil: not known yet
	founding  atomic.Pointer[founding]      // while that is being found out
	table     atomic.Pointer[memberTable]   // who the others are
	broker    atomic.Pointer[broker.Broker] // nil until it is open
	leaders   *broker.Leaders
	waits     atomic.Pointer[string]  // what the start waits for
	giveUp    context.CancelCauseFunc // ends the start
}

// fetchService is how one replica host reads a snapshot from another one.
const fetchService = "fetch"

// openLinks listens to other nodes, where the configuration says so, and finds
// out who this node is. A node that does not know that yet waits for others.
func (n *Node) openLinks(ctx context.Context) error {
	file, err := readClusterFile(n.fs, n.dir)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", n.dir, err)
	}
	if err := n.checkIdentity(file); err != nil {
		return err
	}
	if file != nil {
		n.adopt(file)
	}
	if err := n.openTransport(); err != nil {
		return err
	}
	if file != nil && n.anew != nil { // the last start came as far, and no further
		if err := n.reborn(); err != nil {
			return err
		}
	}
	switch {
	case file != nil:
		return nil
	case len(n.store.Logs()) > 0:
		return nil // from before there were clusters: the catalog tells its cluster's id
	case len(n.cfg.Cluster.Join) == 0:
		return n.foundAlone()
	default:
		return n.found(ctx)
	}
}

// checkIdentity refuses a data directory that is not this node's.
func (n *Node) checkIdentity(file *clusterFile) error {
	id := n.cfg.Cluster.NodeID
	switch {
	case file == nil && len(n.store.Logs()) > 0 && id != 1:
		return fmt.Errorf("data directory %s is that of a single node, which has the number 1, and --node-id is %d", n.dir, id)
	case file == nil:
		return nil
	case file.Store != n.store.ID():
		return fmt.Errorf("data directory %s: its file %s was written for another data directory; was it copied?", n.dir, clusterFileName)
	case file.Node != id:
		return fmt.Errorf("data directory %s is that of node %d, and --node-id is %d: a node keeps its number; give node %d a data directory of its own", n.dir, file.Node, id, id)
	case n.cfg.Cluster.Listen == "" && (len(file.Founders) > 1 || len(file.Members) > 0):
		return fmt.Errorf("data directory %s is that of node %d of a cluster: start it with --cluster-listen, so that the other nodes reach it", n.dir, file.Node)
	}
	return nil
}

// adopt makes the node who the file says it is; the file is durable.
func (n *Node) adopt(file *clusterFile) {
	n.links.table.Store(newMemberTable(slices.Concat(file.Founders, file.Members)))
	n.links.file.Store(file)
}

// identity is who this node is now.
func (n *Node) identity() transport.Identity {
	if n.former != "" { // it speaks for the directory that it has to give up
		return transport.Identity{Node: n.cfg.Cluster.NodeID, Store: n.former}
	}
	id := transport.Identity{Node: n.cfg.Cluster.NodeID, Store: n.store.ID()}
	if file := n.links.file.Load(); file != nil {
		id.Cluster, id.Replica = file.Cluster, file.Replica
	}
	return id
}

func (n *Node) openTransport() error {
	c := &n.cfg.Cluster
	if c.Listen == "" {
		return nil
	}
	t := transport.Config{
		Listen: c.Listen, Listener: c.listener, Identity: n.identity, Admit: n.admits, Logger: n.log, Registerer: n.registry,
	}
	if n.former != "" {
		t.Registerer = nil // it is opened again
	}
	if c.Cert != "" {
		var err error
		if t.TLS, err = transport.LoadTLS(c.Cert, c.Key, c.CA, n.log); err != nil {
			return fmt.Errorf("%w: %w", ErrConfig, err)
		}
	}
	var err error
	if n.links.transport, err = transport.New(t); err != nil {
		return fmt.Errorf("cannot listen for other nodes: %w (choose another address with --cluster-listen, or see waybill certs)", err)
	}
	n.links.addr = c.Advertised
	if c.Advertised == "" {
		n.links.addr = n.links.transport.Addr().String()
		if host, _, err := net.SplitHostPort(c.Listen); err == nil { // its name, where it has one
			_, port, _ := net.SplitHostPort(n.links.addr)
			n.links.addr = net.JoinHostPort(host, port)
		}
	}
	n.links.transport.HandleCall(transport.JoinService, n.answerJoin)
	n.links.transport.Serve()
	return nil
}

// foundAlone makes this node the first one of a cluster.
func (n *Node) foundAlone() error {
	self := member{Node: n.cfg.Cluster.NodeID, Replica: n.cfg.Cluster.NodeID, Store: n.store.ID(), Addr: n.links.addr}
	f := &founding{self: self}
	return n.save(f.outcome(newClusterID(), self.Replica, []member{self}, nil))
}

// save makes the file durable, and then makes the node who it says it is.
func (n *Node) save(file *clusterFile) error {
	if err := file.write(n.fs, n.dir); err != nil {
		return fmt.Errorf("data directory %s: %w", n.dir, err)
	}
	n.adopt(file)
	return nil
}

// found finds out, together with the nodes of --join, who this node is.
func (n *Node) found(ctx context.Context) error {
	f := &founding{
		self: member{Node: n.cfg.Cluster.NodeID, Store: n.store.ID(), Addr: n.links.addr},
		list: n.cfg.Cluster.Join,
		ask: func(ctx context.Context, addr string, q joinRequest) (joinAnswer, error) {
			return askJoin(ctx, n.links.transport, addr, q)
		},
		save:  n.save,
		waits: func(text string) { n.links.waits.Store(&text) },
		log:   n.log,
		pause: foundingPause,
		joins: n.anew != nil,
	}
	n.links.founding.Store(f)
	defer n.links.founding.Store(nil)
	file, err := f.run(ctx)
	if err != nil {
		return err
	}
	n.log.Info("this node is a member of a cluster now", "cluster", file.Cluster, "replica", file.Replica, "founders", numbers(file.Founders))
	n.links.waits.Store(nil)
	if n.anew != nil {
		return n.reborn()
	}
	return nil
}

// reach is what the start does when it knows who this node is: it connects
// the replica host and the broker to the other nodes. They have to serve each
// other for any of them to start.
func (n *Node) reach(host *replica.Host) {
	b, t := n.broker, n.links.transport
	if t == nil {
		return
	}
	n.links.broker.Store(b)
	t.OnMessage(func(from transport.Identity, frame []byte) {
		if err := host.Receive(from.Replica, frame); err != nil {
			n.log.Error("a node sent what cannot be read", "from", from.Node, "err", err)
		}
	})
	t.OnPeer(n.peerChanged)
	t.HandleCall(fetchService, func(ctx context.Context, from transport.Identity, request []byte) ([]byte, error) {
		return host.ServeFetch(ctx, from.Replica, request)
	})
	calls, streams := b.Services()
	for _, name := range calls {
		t.HandleCall(name, func(ctx context.Context, from transport.Identity, request []byte) ([]byte, error) {
			return b.ServeCall(ctx, from.Node, name, request)
		})
	}
	for _, name := range streams {
		t.Handle(name, func(from transport.Identity, c net.Conn) { b.ServeStream(from.Node, name, c) })
	}
	if table := n.links.table.Load(); table != nil {
		t.SetPeers(table.addrs())
	}
}

// peerChanged tells who needs to know that a node can be reached, or not.
func (n *Node) peerChanged(node uint64, up bool) {
	if table := n.links.table.Load(); table != nil {
		if m, ok := table.byNode[node]; ok {
			n.host.Load().Peer(m.Replica, up)
		}
	}
	n.broker.Peer(node, up)
}

// membersChanged follows the catalog. It is called on a shard.
func (n *Node) membersChanged(nodes []broker.Node) {
	list := make([]member, len(nodes))
	for i, m := range nodes {
		list[i] = member{Node: m.ID, Replica: m.Replica, Store: m.Store, Addr: m.Addr}
	}
	if n.links.transport == nil {
		if len(list) > 1 {
			n.links.giveUp(fmt.Errorf("this is node %d of a cluster of %d nodes: start it with --cluster-listen, so that the others reach it", n.cfg.Cluster.NodeID, len(list)))
		}
		return
	}
	before, now := n.links.table.Load(), newMemberTable(list)
	n.links.table.Store(now)
	n.links.transport.SetPeers(now.addrs())
	up := n.links.transport.Peers()
	for node, m := range now.byNode {
		if up[node] && (before == nil || before.byNode[node].Replica != m.Replica) {
			n.host.Load().Peer(m.Replica, true) // it was up before it was known who it is
		}
	}
}

// settle writes the file of a data directory from before there were clusters.
func (n *Node) settle() error {
	if n.links.file.Load() != nil {
		return nil
	}
	self := member{Node: n.cfg.Cluster.NodeID, Replica: n.cfg.Cluster.NodeID, Store: n.store.ID(), Addr: n.links.addr}
	f := &founding{self: self}
	return n.save(f.outcome(n.broker.ClusterID(), self.Replica, []member{self}, nil))
}

// replicaID is the raft id of this data directory.
func (n *Node) replicaID() uint64 {
	if file := n.links.file.Load(); file != nil {
		return file.Replica
	}
	return n.cfg.Cluster.NodeID
}

// handOverTimeout bounds how long stopping waits for other nodes to take over
// what is led here, and handOverPause is for them to hear of it.
const (
	handOverTimeout = 5 * time.Second
	handOverPause   = 250 * time.Millisecond
)

// handOver lets other nodes lead before this one stops serving.
func (n *Node) handOver(ctx context.Context) {
	if n.broker == nil || n.links.transport == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(handOverTimeout, n.cfg.ShutdownTimeout))
	defer cancel()
	if err := n.broker.HandOver(ctx); err != nil {
		n.log.Warn("not everything was handed over to other nodes; they elect leaders themselves", "err", err)
	}
	// What others have sent here because this node led a moment ago is still
	// answered, so that they know that they may send it to the new leader.
	select {
	case <-time.After(handOverPause):
	case <-ctx.Done():
	}
}

// errNotReached is what the replica host is told of a replica that nobody has.
var errNotReached = errors.New("no node that this one knows of has that replica")
