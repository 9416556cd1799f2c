// Package brokertest runs clusters of brokers in one process, for tests: real
// stores on file systems in memory, real raft groups, and a network that can be cut.
//
//	c := brokertest.New(t, 3)
//	c.Node(1).Broker.CreateTopic(…)
//	c.Kill(2)  // what it has not synced is lost
//	c.Start(2)
package brokertest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"
	"time"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// Patience is how long the helpers wait for something that should happen soon.
const Patience = time.Minute

// Cluster is some nodes. Its methods are called by one goroutine.
type Cluster struct {
	t        testing.TB
	net      *network
	change   func(*broker.Config)
	founders []broker.Node
	disks    map[uint64]*vfs.Mem
	replicas map[uint64]uint64 // by node
	started  func(*Node)       // what else runs on a node
	stopped  func(*Node)
}

// Node is a node that runs.
type Node struct {
	ID, Replica uint64
	Store       *storage.Store
	Host        *replica.Host
	Broker      *broker.Broker

	cluster *Cluster
}

// Option changes a Cluster.
type Option func(*Cluster)

// Configure changes the configuration of every broker.
func Configure(change func(*broker.Config)) Option {
	return func(c *Cluster) { c.change = change }
}

// Beside has something run beside every broker: started is called when it is
// open, stopped before it is closed.
func Beside(started, stopped func(*Node)) Option {
	return func(c *Cluster) { c.started, c.stopped = started, stopped }
}

// New founds a cluster of the nodes 1 to n, and starts them. They are stopped when the test
// ends.
func New(t testing.TB, n int, options ...Option) *Cluster {
	t.Helper()
	c := &Cluster{
		t: t, net: newNetwork(), change: func(*broker.Config) {},
		disks: map[uint64]*vfs.Mem{}, replicas: map[uint64]uint64{},
		started: func(*Node) {}, stopped: func(*Node) {},
	}
	for _, o := range options {
		o(c)
	}
	var ids []uint64
	for id := uint64(1); id <= uint64(n); id++ {
		c.founders = append(c.founders, broker.Node{ID: id, Replica: id})
		c.replicas[id] = id
		ids = append(ids, id)
	}
	t.Cleanup(c.Stop)
	t.Cleanup(c.dump)
	c.Start(ids...)
	return c
}

// Logger writes to stderr when BROKERTEST_LOG is set, else nowhere.
func Logger(node uint64) *slog.Logger {
	out := io.Discard
	if os.Getenv("BROKERTEST_LOG") != "" {
		out = os.Stderr
	}
	return slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug})).With("node", node)
}

// Node returns a node that runs.
func (c *Cluster) Node(id uint64) *Node {
	c.t.Helper()
	n := c.net.get(id)
	if n == nil {
		c.t.Fatalf("node %d does not run", id)
	}
	return n
}

// Nodes lists the nodes that run, in the order of their ids.
func (c *Cluster) Nodes() []*Node { return c.net.list() }

// Start starts nodes, all at the same time, and returns when all are open.
func (c *Cluster) Start(ids ...uint64) {
	c.t.Helper()
	var fresh []*Node
	for _, id := range ids {
		n, err := c.prepare(id)
		if err != nil {
			c.t.Fatal(err)
		}
		fresh = append(fresh, n)
		c.net.join(n)
	}
	errs := make(chan error, len(ids))
	for _, n := range fresh {
		go func() { errs <- n.open() }()
	}
	for range ids {
		if err := <-errs; err != nil {
			c.t.Fatal(err)
		}
	}
	for _, n := range fresh {
		c.started(n)
	}
}

// prepare makes a node up to its broker, which is not started yet.
func (c *Cluster) prepare(id uint64) (*Node, error) {
	if c.disks[id] == nil {
		c.disks[id] = vfs.NewMem()
	}
	n := &Node{ID: id, Replica: c.replicas[id], cluster: c}
	log := Logger(id)
	var err error
	n.Store, err = storage.Open(c.disks[id], "data", storage.Options{
		WALFileSize: 1 << 20,
		Checkpoint:  func(log record.LogID) (storage.Checkpoint, bool) { return n.Host.Checkpoint(log) },
		Fatal:       func(err error) { panic(err) },
		Logger:      log,
	})
	if err != nil {
		return nil, err
	}
	leaders := broker.NewLeaders()
	n.Host = replica.NewHost(replica.Config{
		Store: n.Store, ReplicaID: n.Replica, Transport: n, OnLeader: leaders.Set, OnInSync: leaders.SetInSync, Shards: 2, Logger: log,
	})
	cfg := broker.Config{
		Store: n.Store, Host: n.Host, Node: id, Replica: n.Replica, Founders: c.founders,
		Cluster: n, Leaders: leaders, Logger: log,
	}
	c.change(&cfg)
	n.Broker, err = broker.New(cfg)
	return n, err
}

func (n *Node) open() error {
	n.Store.Start()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	if err := n.Broker.Start(ctx); err != nil {
		return fmt.Errorf("node %d: %w", n.ID, err)
	}
	return nil
}

// Kill ends a node as a power cut would: what it has not synced is lost, and nobody hears from it.
func (c *Cluster) Kill(id uint64) {
	c.t.Helper()
	n := c.Node(id)
	c.net.leave(n)
	c.disks[id] = c.disks[id].StrictClone()
	c.close(n)
}

// Shut stops a node in the orderly way.
func (c *Cluster) Shut(id uint64) {
	c.t.Helper()
	n := c.Node(id)
	c.close(n)
	c.net.leave(n)
}

func (c *Cluster) close(n *Node) {
	c.stopped(n)
	n.Broker.Close()
	n.Host.Close()
	if err := n.Store.Close(); err != nil {
		c.t.Error(err)
	}
}

// dump shows where a failed test has stopped.
func (c *Cluster) dump() {
	if !c.t.Failed() {
		return
	}
	for _, n := range c.Nodes() {
		c.t.Logf("node %d, replica %d, cannot reach %v", n.ID, n.Replica, n.Broker.Down())
		for _, l := range n.Broker.Logs() {
			c.t.Logf("  log %d, %s: leader %d in term %d, replicas %v, in sync %v", l.ID, l.What, l.Leader, l.Term, l.Replicas, l.InSync)
		}
	}
}

// Stop kills all nodes.
func (c *Cluster) Stop() {
	for _, n := range c.Nodes() {
		c.net.leave(n)
		c.close(n)
	}
}

// Damage flips a bit wherever a node that does not run has some bytes in the
// files of a directory ("wal", "seg"), and returns in how many places.
func (c *Cluster) Damage(id uint64, dir string, what []byte) (places int) {
	c.t.Helper()
	disk := c.disks[id]
	names, err := disk.List("data/" + dir)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, name := range names {
		name = "data/" + dir + "/" + name
		f, err := disk.OpenRead(name)
		if err != nil {
			c.t.Fatal(err)
		}
		size, err := f.Size()
		b := make([]byte, size)
		if err == nil && size > 0 {
			_, err = f.ReadAt(b, 0)
		}
		if err = errors.Join(err, f.Close()); err != nil {
			c.t.Fatal(err)
		}
		for at := bytes.Index(b, what); at >= 0; {
			if err := disk.Flip(name, int64(at), 1); err != nil {
				c.t.Fatal(err)
			}
			places++
			next := bytes.Index(b[at+1:], what)
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return places
}

// Wipe makes the data directory of a node that does not run empty.
func (c *Cluster) Wipe(id uint64) { c.disks[id] = nil }

// Join admits a new node, or one whose data directory is empty, and starts it.
func (c *Cluster) Join(id uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	disk := vfs.NewMem()
	c.disks[id] = disk
	store, err := storage.Open(disk, "data", storage.Options{WALFileSize: 1 << 20, Logger: Logger(id), Fatal: func(err error) { panic(err) },
		Checkpoint: func(record.LogID) (storage.Checkpoint, bool) { return storage.Checkpoint{}, false }})
	if err != nil {
		c.t.Fatal(err)
	}
	name := store.ID()
	store.Start()
	if err := store.Close(); err != nil {
		c.t.Fatal(err)
	}
	node, err := c.Nodes()[0].Broker.AddNode(ctx, id, name, "")
	if err != nil {
		c.t.Fatal(err)
	}
	c.replicas[id] = node.Replica
	c.Start(id)
}

// Cut cuts the network between a node and the others. Heal brings it back.
func (c *Cluster) Cut(id uint64) {
	for _, n := range c.Nodes() {
		if n.ID != id {
			c.net.set(id, n.ID, true)
		}
	}
}

// Mute loses the raft messages from and to a node, without anybody being told that
// it cannot be reached.
func (c *Cluster) Mute(id uint64) {
	c.net.mu.Lock()
	defer c.net.mu.Unlock()
	c.net.muted[id] = true
}

// Heal makes the network whole.
func (c *Cluster) Heal() {
	c.net.mu.Lock()
	clear(c.net.muted)
	c.net.mu.Unlock()
	for _, a := range c.Nodes() {
		for _, b := range c.Nodes() {
			if a.ID < b.ID {
				c.net.set(a.ID, b.ID, false)
			}
		}
	}
}

// Eventually waits until ok holds.
func (c *Cluster) Eventually(what string, ok func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(Patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: not after %v", what, Patience)
		}
	}
}

// Leader waits until a log has a leader that all nodes agree on, and returns it.
func (c *Cluster) Leader(log record.LogID) *Node {
	c.t.Helper()
	var leader uint64
	c.Eventually(fmt.Sprintf("log %d has one leader", log), func() bool {
		leader = 0
		for _, n := range c.Nodes() {
			id, _, ok := n.Broker.LeaderOf(log)
			if !ok || leader != 0 && id != leader || c.net.get(id) == nil {
				return false
			}
			leader = id
		}
		return true
	})
	return c.Node(leader)
}
