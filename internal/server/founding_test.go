package server

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/internal/vfs"
)

// foundingRig is a set of nodes that look for each other, without a network: a
// round of asking is one step.
type foundingRig struct {
	t     *testing.T
	nodes []*foundingNode
	// admitted are the members of the cluster beside the founders; who asks for
	// admission is answered as the catalog would.
	admitted map[uint64]member
	clusters map[string]bool // that were ever founded
}

type foundingNode struct {
	rig  *foundingRig
	self member
	list []string
	fs   *vfs.Mem
	down bool
	file *clusterFile // nil: empty
	f    *founding
	wait string
	err  error
}

func newFoundingRig(t *testing.T) *foundingRig {
	return &foundingRig{t: t, admitted: map[uint64]member{}, clusters: map[string]bool{}}
}

func addrOf(id uint64) string { return fmt.Sprintf("node%d:7200", id) }

func addrs(ids ...uint64) (list []string) {
	for _, id := range ids {
		list = append(list, addrOf(id))
	}
	return list
}

func (r *foundingRig) add(id uint64, list ...uint64) *foundingNode {
	n := &foundingNode{rig: r, self: member{Node: id, Addr: addrOf(id)}, list: addrs(list...)}
	n.wipe()
	r.nodes = append(r.nodes, n)
	return n
}

// wipe gives the node a new data directory.
func (n *foundingNode) wipe() {
	n.fs = vfs.NewMem()
	n.self.Store = newClusterID()
	if err := vfs.MakeDirs(n.fs, "/data"); err != nil {
		n.rig.t.Fatal(err)
	}
	n.start()
}

// start begins with what is on the disk.
func (n *foundingNode) start() {
	var err error
	if n.file, err = readClusterFile(n.fs, "/data"); err != nil {
		n.rig.t.Fatal(err)
	}
	if n.file != nil {
		n.rig.clusters[n.file.Cluster] = true
	}
	n.err, n.wait, n.down = nil, "", false
	n.f = &founding{
		self: n.self, list: n.list, ask: n.ask, log: testLog(n.rig.t), pause: time.Millisecond,
		save:  func(c *clusterFile) error { return c.write(n.fs, "/data") },
		waits: func(text string) { n.wait = text },
	}
}

func (n *foundingNode) ask(_ context.Context, addr string, q joinRequest) (joinAnswer, error) {
	i := slices.IndexFunc(n.rig.nodes, func(o *foundingNode) bool { return o.self.Addr == addr && !o.down })
	if i < 0 {
		return joinAnswer{}, errors.New("connection refused")
	}
	other := n.rig.nodes[i]
	a := joinAnswer{Node: other.self.Node, Store: other.self.Store, Addr: addr}
	if other.file == nil {
		a.View = slices.Clone(other.f.seen())
		return a, nil
	}
	a.Cluster, a.Founders = other.file.Cluster, other.file.Founders
	if q.Admit {
		n.rig.admit(other.file, q, &a)
	}
	return a, nil
}

// admit answers as the catalog does.
func (r *foundingRig) admit(file *clusterFile, q joinRequest, a *joinAnswer) {
	for _, m := range file.Founders {
		if m.Node == q.Node && m.Store != q.Store {
			a.Refused = "another data directory"
			return
		}
	}
	m, ok := r.admitted[q.Node]
	switch {
	case !ok:
		m = member{Node: q.Node, Store: q.Store, Replica: uint64(100 + len(r.admitted))}
		r.admitted[q.Node] = m
	case m.Store != q.Store:
		a.Refused = "another data directory"
		return
	}
	a.Replica = m.Replica
}

// step lets the node ask everyone once, and keep what comes out.
func (n *foundingNode) step() {
	if n.down || n.file != nil || n.err != nil {
		return
	}
	file, wait, err := n.f.round(n.rig.t.Context())
	n.wait, n.err = wait, err
	if file == nil || err != nil {
		return
	}
	if err := n.f.save(file); err != nil {
		n.rig.t.Fatal(err)
	}
	n.file = file
	n.rig.clusters[file.Cluster] = true
}

// stepAndCrash is a step that a power cut ends at one of its syncs.
func (n *foundingNode) stepAndCrash(rnd *rand.Rand) {
	var clones []*vfs.Mem
	n.fs.OnSync(func(vfs.SyncPoint) { clones = append(clones, n.fs.CrashClone(rnd.Uint64())) })
	file, _, err := n.f.round(n.rig.t.Context())
	if err == nil && file != nil {
		if err := n.f.save(file); err != nil {
			n.rig.t.Fatal(err)
		}
	}
	n.fs.OnSync(nil)
	if len(clones) > 0 {
		n.fs = clones[rnd.IntN(len(clones))]
	}
	n.start()
}

func (r *foundingRig) steps(rounds int) {
	for range rounds {
		for _, n := range r.nodes {
			n.step()
		}
	}
}

// settled checks that all nodes are members of one cluster, with the replica
// ids that they should have.
func (r *foundingRig) settled(what string) {
	r.t.Helper()
	replicas := map[uint64]bool{}
	for _, n := range r.nodes {
		if n.file == nil {
			r.t.Fatalf("%s: node %d is in no cluster: %s %v", what, n.self.Node, n.wait, n.err)
		}
		if n.file.Cluster != r.nodes[0].file.Cluster || n.file.Store != n.self.Store || replicas[n.file.Replica] {
			r.t.Fatalf("%s: node %d has %+v", what, n.self.Node, n.file)
		}
		replicas[n.file.Replica] = true
	}
	if len(r.clusters) != 1 {
		r.t.Fatalf("%s: %d clusters were founded", what, len(r.clusters))
	}
}

func TestFoundTogether(t *testing.T) {
	r := newFoundingRig(t)
	for id := uint64(3); id >= 1; id-- {
		r.add(id, 1, 2, 3)
	}
	r.steps(4)
	r.settled("three nodes")
	for _, n := range r.nodes {
		if n.file.Replica != n.self.Node || len(n.file.Founders) != 3 || n.file.Founders[0].Store == "" {
			t.Errorf("node %d: %+v", n.self.Node, n.file)
		}
	}
}

// TestFoundWithoutOwnAddress: a list may leave out the node itself.
func TestFoundWithoutOwnAddress(t *testing.T) {
	r := newFoundingRig(t)
	r.add(1, 2, 3)
	r.add(2, 1, 3)
	r.add(3, 1, 2, 3)
	r.steps(4)
	r.settled("lists without oneself")
}

func TestFoundLate(t *testing.T) {
	r := newFoundingRig(t)
	one, two, three := r.add(1, 1, 2, 3), r.add(2, 1, 2, 3), r.add(3, 1, 2, 3)
	three.down = true
	r.steps(5)
	if one.file != nil || two.file != nil {
		t.Fatal("a cluster was founded without node 3")
	}
	if !strings.Contains(one.wait, addrOf(3)) {
		t.Errorf("node 1 waits for: %s", one.wait)
	}
	three.down = false
	r.steps(4)
	r.settled("a late node")
}

func TestFoundOtherLists(t *testing.T) {
	r := newFoundingRig(t)
	one, two, three := r.add(1, 1, 2), r.add(2, 1, 2, 3), r.add(3, 1, 2, 3)
	r.steps(5)
	if one.file != nil || two.file != nil || three.file != nil {
		t.Fatal("a cluster was founded with different lists")
	}
	if !strings.Contains(one.wait, "give all nodes the same") || !strings.Contains(two.wait, "give all nodes the same") {
		t.Errorf("nodes 1 and 2 wait for: %s; %s", one.wait, two.wait)
	}
}

func TestFoundTwoOfOneNumber(t *testing.T) {
	r := newFoundingRig(t)
	one, other := r.add(1, 1, 2), r.add(1, 1, 2)
	other.self.Addr = addrOf(2)
	other.start()
	r.steps(5)
	if one.file != nil || other.file != nil || !strings.Contains(one.wait, "its own --node-id") {
		t.Errorf("node 1 waits for %s", one.wait)
	}
}

func TestJoinLater(t *testing.T) {
	r := newFoundingRig(t)
	r.add(1, 1, 2, 3)
	r.add(2, 1, 2, 3)
	r.add(3, 1, 2, 3)
	r.steps(4)
	four := r.add(4, 1, 2, 3, 4)
	r.steps(2)
	r.settled("a node that joins")
	if four.file.Replica < 100 || len(four.file.Founders) != 3 {
		t.Errorf("node 4: %+v", four.file)
	}
}

// TestWipedFounder: it is refused, whatever the others do, and founds nothing.
func TestWipedFounder(t *testing.T) {
	for wiped := range 3 {
		r := newFoundingRig(t)
		r.add(1, 1, 2, 3)
		r.add(2, 1, 2, 3)
		r.add(3, 1, 2, 3)
		r.steps(4)
		for i, n := range r.nodes {
			n.down = i != wiped
		}
		r.nodes[wiped].wipe()
		r.steps(3)
		if n := r.nodes[wiped]; n.file != nil || n.err != nil {
			t.Fatalf("alone, it has %+v, %v", n.file, n.err)
		}
		for _, n := range r.nodes {
			n.down = false
		}
		r.steps(3)
		if n := r.nodes[wiped]; n.file != nil || !errors.Is(n.err, errRefused) {
			t.Fatalf("it has %+v, %v", n.file, n.err)
		}
	}
}

func TestNodesOfTwoClusters(t *testing.T) {
	r := newFoundingRig(t)
	r.add(1, 1)
	r.add(2, 2)
	r.steps(2)
	three := r.add(3, 1, 2, 3)
	r.steps(2)
	if !errors.Is(three.err, errRefused) || !strings.Contains(three.err.Error(), "two clusters") {
		t.Errorf("got %+v, %v", three.file, three.err)
	}
}

var foundingSeed = flag.Uint64("founding.seed", 0, "replay one run of TestFoundingRandomly")

// TestFoundingRandomly starts, stops and crashes nodes in any order while they
// look for each other: there is never more than one cluster, and at last all are in it.
func TestFoundingRandomly(t *testing.T) {
	seeds := make([]uint64, 300)
	for i := range seeds {
		seeds[i] = rand.Uint64()
	}
	if *foundingSeed != 0 {
		seeds = []uint64{*foundingSeed}
	}
	for _, seed := range seeds {
		foundRandomly(t, seed)
		if t.Failed() {
			t.Fatalf("replay with: go test ./internal/server -run FoundingRandomly -founding.seed=%d", seed)
		}
	}
}

func foundRandomly(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := newFoundingRig(t)
	size := 2 + rnd.IntN(3)
	var ids []uint64
	for i := range size {
		ids = append(ids, uint64(i+1))
	}
	for _, id := range ids {
		r.add(id, ids...).down = rnd.IntN(2) == 0
	}
	for range 5 + rnd.IntN(60) {
		n := r.nodes[rnd.IntN(size)]
		switch rnd.IntN(6) {
		case 0:
			n.down = true
		case 1: // its power was cut, whenever that was
			n.fs = n.fs.CrashClone(rnd.Uint64())
			n.start()
		case 2: // its power is cut while it writes down what it has found out
			if n.file == nil && !n.down {
				n.stepAndCrash(rnd)
			}
		default:
			n.step()
		}
		for _, n := range r.nodes {
			if n.err != nil {
				t.Errorf("seed %d: node %d: %v", seed, n.self.Node, n.err)
			}
		}
	}
	for _, n := range r.nodes {
		if n.down {
			n.start()
		}
	}
	r.steps(5)
	r.settled(fmt.Sprintf("seed %d", seed))
}

// TestClusterFileSurvives cuts the power at every sync while the file is
// written: it is there as a whole, or not at all, and it is there once write returned.
func TestClusterFileSurvives(t *testing.T) {
	fs := vfs.NewMem()
	if err := vfs.MakeDirs(fs, "/data"); err != nil {
		t.Fatal(err)
	}
	want := &clusterFile{Cluster: "c", Node: 2, Replica: 5, Store: "s", Founders: []member{{1, 1, "x", "a:1"}, {2, 2, "y", "b:1"}}}
	var clones []*vfs.Mem
	fs.OnSync(func(vfs.SyncPoint) {
		for seed := range uint64(8) {
			clones = append(clones, fs.CrashClone(seed))
		}
	})
	if err := want.write(fs, "/data"); err != nil {
		t.Fatal(err)
	}
	whole := fmt.Sprintf("%+v", *want)
	for _, c := range clones {
		got, err := readClusterFile(c, "/data")
		if err != nil || got != nil && fmt.Sprintf("%+v", *got) != whole {
			t.Errorf("after a crash: %+v, %v", got, err)
		}
		if err := want.write(c, "/data"); err != nil {
			t.Errorf("written again: %v", err)
		}
	}
	if got, err := readClusterFile(fs.CrashClone(1), "/data"); err != nil || fmt.Sprintf("%+v", *got) != whole {
		t.Errorf("in the end: %+v, %v", got, err)
	}
	if len(clones) == 0 {
		t.Error("nothing was synced")
	}
}

func TestDamagedClusterFile(t *testing.T) {
	fs := vfs.NewMem()
	if err := vfs.MakeDirs(fs, "/data"); err != nil {
		t.Fatal(err)
	}
	if err := (&clusterFile{Cluster: "c", Node: 2, Replica: 5}).write(fs, "/data"); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("/data/" + clusterFileName)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("d"), 24); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, err := readClusterFile(fs, "/data"); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
}
