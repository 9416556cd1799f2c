package clustertest

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	brokertest "waybill/test/broker"
	"waybill/test/powercut"
)

// Options say how to start a cluster. The zero value is three nodes on the
// file system of the test.
type Options struct {
	Nodes  int           // 0: 3
	Grows  bool          // a single node listens for others, too
	Binary string        // "": what brokertest.Build makes without flags
	Args   []string      // more arguments of serve, for every node
	Env    []string      // more environment
	Disks  int64         // each node on a disk of its own of so many bytes, which needs root; 0: none
	Ready  time.Duration // how long to wait until all are ready; 0: 60 s
}

// Cluster is a cluster of processes.
type Cluster struct {
	Net   *Network
	Nodes []*Node // in the order of their ids; those that were added last come last

	t    testing.TB
	opts Options
	join []string
}

// Node is one node.
type Node struct {
	*brokertest.Broker
	ID   uint64
	Disk *powercut.Disk // nil: it has none of its own

	c       *Cluster
	address string // where the others reach it: its proxy
	data    string // data directory
	paused  bool
	filler  string // the file that fills its disk
	strace  *tracer
}

// Start starts a cluster and waits until all nodes are ready.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := New(t, o)
	if err := c.Launch(); err != nil {
		t.Fatal(err)
	}
	if err := c.WaitReady(); err != nil {
		t.Fatal(err)
	}
	return c
}

// New prepares a cluster without starting it.
func New(t testing.TB, o Options) *Cluster {
	t.Helper()
	if o.Nodes == 0 {
		o.Nodes = 3
	}
	if o.Binary == "" {
		o.Binary = brokertest.Build(t)
	}
	if o.Ready == 0 {
		o.Ready = 60 * time.Second
	}
	c := &Cluster{t: t, opts: o}
	c.Net = newNetwork(t)
	type place struct{ listen, address string }
	places := make([]place, o.Nodes)
	for i := range places { // all addresses are known before any node is made
		listen := brokertest.FreeAddr(t)
		places[i] = place{listen, c.Net.add(t, uint64(i+1), listen)}
		c.join = append(c.join, places[i].address)
	}
	for i, p := range places {
		c.Nodes = append(c.Nodes, c.prepare(uint64(i+1), p.listen, p.address))
	}
	return c
}

// prepare makes a node that is not started.
func (c *Cluster) prepare(id uint64, listen, address string) *Node {
	c.t.Helper()
	n := &Node{ID: id, c: c, address: address}
	if c.opts.Disks > 0 {
		n.Disk = powercut.NewDisk(c.t, c.opts.Disks)
		n.data = filepath.Join(n.Disk.Dir, "data")
	} else {
		n.data = filepath.Join(c.t.TempDir(), "data")
	}
	var args []string
	if c.opts.Nodes > 1 || id > 1 || c.opts.Grows {
		args = []string{
			"--node-id", fmt.Sprint(id), "--cluster-listen", listen, "--cluster-advertised", address,
			"--join", strings.Join(c.join, ","),
		}
	}
	n.Broker = brokertest.New(c.t, brokertest.Options{
		Binary: c.opts.Binary, DataDir: n.data, Args: append(args, c.opts.Args...), Env: c.opts.Env, Ready: c.opts.Ready,
	})
	c.t.Cleanup(n.Resume) // before the broker's own cleanup, which waits for its end
	return n
}

// Add prepares and starts one more node. It does not wait until it is ready.
func (c *Cluster) Add() (*Node, error) {
	id := c.Nodes[len(c.Nodes)-1].ID + 1
	listen := brokertest.FreeAddr(c.t)
	n := c.prepare(id, listen, c.Net.add(c.t, id, listen))
	c.Nodes = append(c.Nodes, n)
	return n, n.Launch()
}

// Forget ends a node, which was removed from the cluster, and takes it off the list. Who has taken the
// list before keeps it as it was.
func (c *Cluster) Forget(n *Node) {
	n.Resume()
	n.Kill()
	c.Nodes = c.Others(n)
}

// Node returns the node with that id.
func (c *Cluster) Node(id uint64) *Node {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n
		}
	}
	c.t.Fatalf("clustertest: there is no node %d", id)
	return nil
}

// Launch starts every node that does not run. It does not wait until they are ready.
func (c *Cluster) Launch() error {
	var errs []error
	for _, n := range c.Nodes {
		if !n.Running() {
			errs = append(errs, n.Launch())
		}
	}
	return errors.Join(errs...)
}

// WaitReady waits until every node is ready.
func (c *Cluster) WaitReady() error {
	for _, n := range c.Nodes {
		if err := n.WaitReady(); err != nil {
			return fmt.Errorf("node %d: %w", n.ID, err)
		}
	}
	return nil
}

// AMQP lists where AMQP clients connect.
func (c *Cluster) AMQP() (all []string) {
	for _, n := range c.Nodes {
		all = append(all, n.Broker.AMQP)
	}
	return all
}

// Kafka lists where Kafka clients connect.
func (c *Cluster) Kafka() (all []string) {
	for _, n := range c.Nodes {
		all = append(all, n.Broker.Kafka)
	}
	return all
}

// Others returns the nodes but for these.
func (c *Cluster) Others(but ...*Node) []*Node {
	return slices.DeleteFunc(slices.Clone(c.Nodes), func(n *Node) bool { return slices.Contains(but, n) })
}

// Launch starts the process and does not wait until it is ready.
func (n *Node) Launch() error {
	if err := n.Broker.Launch(); err != nil {
		return err
	}
	n.c.Net.started(n.ID, n.Pid())
	return nil
}

// Restart starts the process and waits until it is ready.
func (n *Node) Restart() error {
	if err := n.Launch(); err != nil {
		return err
	}
	return n.WaitReady()
}

// Pause stops the process without ending it: it keeps its sockets, and answers nothing.
func (n *Node) Pause() {
	n.Signal(syscall.SIGSTOP)
	n.paused = true
}

// SetClock puts the clock of a node that brokertest.BuildWithClock has built an hour forward, or back.
func (n *Node) SetClock(forward bool) {
	if forward {
		n.Signal(syscall.SIGUSR1)
	} else {
		n.Signal(syscall.SIGUSR2)
	}
}

// Resume lets a paused process go on.
func (n *Node) Resume() {
	if n.paused && n.Running() {
		n.Signal(syscall.SIGCONT)
	}
	n.paused = false
}
