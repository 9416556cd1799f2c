package server

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"waybill/internal/admin"
	"waybill/internal/broker"
	"waybill/internal/transport"
	"waybill/internal/vfs"
)

// testCluster is some nodes in one process, each with a disk in memory.
type testCluster struct {
	t     *testing.T
	join  []string
	nodes map[uint64]*testNode
	setup func(*Config)
}

type testNode struct {
	*Node    // nil while it does not run
	id       uint64
	fs       *vfs.Mem
	addr     string // node to node
	listener net.Listener
}

// newCluster founds a cluster of the nodes 1 to n.
func newCluster(t *testing.T, n uint64, setup ...func(*Config)) *testCluster {
	t.Helper()
	c := &testCluster{t: t, nodes: map[uint64]*testNode{}, setup: func(*Config) {}}
	for _, s := range setup {
		c.setup = s
	}
	t.Cleanup(c.stop)
	for id := uint64(1); id <= n; id++ {
		c.join = append(c.join, c.add(id).addr)
	}
	c.start(c.ids()...)
	return c
}

// add makes a node with an empty disk that does not run.
func (c *testCluster) add(id uint64) *testNode {
	c.t.Helper()
	l := listenAside(c.t)
	n := &testNode{id: id, fs: vfs.NewMem(), addr: l.Addr().String(), listener: l}
	c.nodes[id] = n
	return n
}

// listenAside listens on an address of its own, which stays free while nobody listens there:
// connections that come into being meanwhile take their ports from 127.0.0.1.
func listenAside(t testing.TB) net.Listener {
	t.Helper()
	ip := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// asideAddr is an address as that of listenAside, where nobody listens.
func asideAddr(t testing.TB) string {
	t.Helper()
	l := listenAside(t)
	l.Close()
	return l.Addr().String()
}

// unready returns nil when the node that serves HTTP there says that it is not ready, and why.
func unready(addr, why string) error {
	defer http.DefaultClient.CloseIdleConnections()
	resp, err := http.Get("http://" + addr + "/readyz")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode == http.StatusOK || !strings.Contains(string(body), why) {
		return fmt.Errorf("%d %s", resp.StatusCode, body)
	}
	return nil
}

func (c *testCluster) ids() (ids []uint64) {
	for id := range c.nodes {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func (c *testCluster) config(n *testNode) Config {
	cfg := testConfig("/data")
	cfg.Cluster.NodeID, cfg.Cluster.Listen, cfg.Cluster.Join = n.id, n.addr, c.join
	cfg.Cluster.listener = n.listener
	cfg.Kafka.OffsetsRetention = time.Hour
	c.setup(&cfg)
	return cfg
}

// try starts a node.
func (c *testCluster) try(ctx context.Context, id uint64) error {
	n := c.nodes[id]
	if n.listener == nil {
		l, err := net.Listen("tcp", n.addr)
		if err != nil {
			return err
		}
		n.listener = l
	}
	node, err := startOn(ctx, n.fs, c.config(n), testLog(c.t).With("on", id))
	n.listener = nil
	if err == nil {
		n.Node = node
	}
	return err
}

// start starts nodes together and waits until they are ready.
func (c *testCluster) start(ids ...uint64) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	var starting sync.WaitGroup
	for _, id := range ids {
		starting.Go(func() {
			if err := c.try(ctx, id); err != nil {
				c.t.Errorf("node %d: %v", id, err)
			}
		})
	}
	starting.Wait()
	if c.t.Failed() {
		c.t.FailNow()
	}
	for _, id := range ids {
		c.eventually(fmt.Sprintf("node %d is ready", id), func() error { return c.nodes[id].ready() })
	}
}

// eventually waits until ok returns nil.
func (c *testCluster) eventually(what string, ok func() error) {
	c.t.Helper()
	deadline := time.After(time.Minute)
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-deadline:
			c.t.Fatalf("after a minute still not: %s: %v", what, err)
		}
	}
}

// halt stops a node in order.
func (c *testCluster) halt(id uint64) {
	c.t.Helper()
	stopNode(c.t, c.nodes[id].Node)
	c.nodes[id].Node = nil
}

// kill ends a node as a power cut does: what it has not synced is lost.
func (c *testCluster) kill(id uint64) {
	c.t.Helper()
	n := c.nodes[id]
	if err := n.links.transport.Close(); err != nil { // from now on it says nothing
		c.t.Error(err)
	}
	n.fs = n.fs.CrashClone(uint64(time.Now().UnixNano()))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := n.Stop(ctx); err != nil {
		c.t.Log(err)
	}
	n.Node = nil
}

func (c *testCluster) stop() {
	var stopping sync.WaitGroup
	for _, n := range c.nodes {
		if n.listener != nil {
			n.listener.Close()
		}
		if node := n.Node; node != nil {
			n.Node = nil
			stopping.Go(func() {
				if err := node.Stop(context.Background()); err != nil {
					c.t.Error(err)
				}
			})
		}
	}
	stopping.Wait()
}

// leader is the node that leads what is called so.
func (c *testCluster) leader(asked uint64, what string) uint64 {
	c.t.Helper()
	var leader uint64
	c.eventually("a leader of "+what, func() error {
		for _, l := range c.nodes[asked].broker.Logs() {
			if strings.Contains(l.What, what) && l.Leader != 0 {
				leader = l.Leader
				return nil
			}
		}
		return fmt.Errorf("node %d knows of none", asked)
	})
	return leader
}

// awaitOther waits until a node knows that another one leads than the one that was killed.
func (c *testCluster) awaitOther(asked uint64, what string, killed uint64) {
	c.t.Helper()
	c.eventually("the others have elected another leader", func() error {
		if c.leader(asked, what) == killed {
			return fmt.Errorf("node %d still names node %d", asked, killed)
		}
		return nil
	})
}

// other is a running node that is not that one.
func (c *testCluster) other(not ...uint64) *testNode {
	for _, id := range c.ids() {
		if c.nodes[id].Node != nil && !slices.Contains(not, id) {
			return c.nodes[id]
		}
	}
	c.t.Fatal("no node is left")
	return nil
}

// publishAll publishes messages, and returns when all are confirmed.
func publishAll(t *testing.T, n *Node, queue string, from, to int) {
	t.Helper()
	if refused := publishSome(t, n, queue, from, to); len(refused) > 0 {
		t.Fatalf("messages %v are refused", refused)
	}
}

// publishSome publishes messages, and returns which are refused when all are answered.
func publishSome(t *testing.T, n *Node, queue string, from, to int) (refused []int) {
	t.Helper()
	conn, ch := dial(t, n)
	defer conn.Close()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	var waiting []*amqp091.DeferredConfirmation
	for i := from; i < to; i++ {
		d, err := ch.PublishWithDeferredConfirm("", queue, true, false, amqp091.Publishing{Body: fmt.Appendf(nil, "message %d", i)})
		if err != nil {
			t.Fatal(err)
		}
		waiting = append(waiting, d)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i, d := range waiting {
		ok, err := d.WaitContext(ctx)
		if err != nil {
			t.Fatalf("message %d: %v", from+i, err)
		}
		if !ok {
			refused = append(refused, from+i)
		}
	}
	return refused
}

// consumeAll takes what is in a queue, and checks that it is the messages up to n, each once and in order.
func consumeAll(t *testing.T, n *Node, queue string, want int) {
	t.Helper()
	conn, ch := dial(t, n)
	defer conn.Close()
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		select {
		case d := <-deliveries:
			if string(d.Body) != fmt.Sprintf("message %d", i) {
				t.Fatalf("got %q as message %d of %d", d.Body, i, want)
			}
			if err := d.Ack(false); err != nil {
				t.Fatal(err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("only %d messages of %d came", i, want)
		}
	}
	if _, err := ch.QueuePurge(queue, false); err != nil { // behind the acks
		t.Fatal(err)
	}
}

// produceAll produces records, and returns when all are acknowledged.
func produceAll(t *testing.T, n *Node, topic string, from, to int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := kafkaClient(t, n)
	defer client.Close()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "record %d", i)})
	}
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// fetchAll reads a topic from its start.
func fetchAll(t *testing.T, n *Node, topic string, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	client := kafkaClient(t, n, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer client.Close()
	got := 0
	for got < want {
		fetches := client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("%d of %d records: %v", got, want, err)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) != fmt.Sprintf("record %d", got) {
				t.Fatalf("got %q as record %d", r.Value, got)
			}
			got++
		}
	}
}

// TestThreeNodes founds a cluster, publishes with both protocols on any node, kills the leader
// and then each of the others in turn, and finds everything.
func TestThreeNodes(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	c := newCluster(t, 3)
	defer c.stop()
	id := c.nodes[1].broker.ClusterID()
	for _, n := range c.nodes {
		if got := n.broker.ClusterID(); got != id || id == "" {
			t.Fatalf("node %d is in cluster %q, node 1 in %q", n.id, got, id)
		}
	}
	conn, ch := dial(t, c.nodes[2].Node)
	declare(t, ch, "letters")
	conn.Close()
	sent, produced := 0, 0
	for _, n := range []uint64{1, 2, 3} {
		publishAll(t, c.nodes[n].Node, "letters", sent, sent+100)
		sent += 100
		produceAll(t, c.nodes[n].Node, "parcels", produced, produced+100)
		produced += 100
	}
	for range 3 {
		victim := c.leader(c.other().id, "letters")
		c.kill(victim)
		n := c.other()
		c.awaitOther(n.id, "letters", victim)
		publishAll(t, n.Node, "letters", sent, sent+50)
		sent += 50
		produceAll(t, n.Node, "parcels", produced, produced+50)
		produced += 50
		c.start(victim)
	}
	consumeAll(t, c.nodes[3].Node, "letters", sent)
	fetchAll(t, c.nodes[3].Node, "parcels", produced)
	for _, n := range c.nodes {
		http.DefaultClient.CloseIdleConnections()
		if status := (members{n.Node}).Status(); len(status.Nodes) != 3 || status.LeaderlessTotal != 0 || status.CatalogLeader == 0 {
			t.Errorf("node %d sees %+v", n.id, status)
		}
	}
}

// TestAllNodesDie cuts the power of the whole cluster.
func TestAllNodesDie(t *testing.T) {
	c := newCluster(t, 3)
	conn, ch := dial(t, c.nodes[1].Node)
	declare(t, ch, "letters")
	conn.Close()
	publishAll(t, c.nodes[1].Node, "letters", 0, 200)
	produceAll(t, c.nodes[1].Node, "parcels", 0, 200)
	for id := range c.nodes {
		c.kill(id)
	}
	c.start(1, 2, 3)
	consumeAll(t, c.nodes[2].Node, "letters", 200)
	fetchAll(t, c.nodes[2].Node, "parcels", 200)
}

// TestRollingRestart stops and starts every node in order while a publisher
// works on another one: nothing that was confirmed is lost. What is on its way while the
// leader changes may be refused, and is published again.
func TestRollingRestart(t *testing.T) {
	c := newCluster(t, 3)
	conn, ch := dial(t, c.nodes[1].Node)
	declare(t, ch, "letters")
	conn.Close()
	sent, again := 0, 0
	for _, id := range []uint64{1, 2, 3} {
		n := c.other(id)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				select {
				case <-stop:
					return
				default:
				}
				refused := publishSome(t, n.Node, "letters", sent, sent+10)
				for len(refused) > 0 {
					again++
					refused = append(refused[1:], publishSome(t, n.Node, "letters", refused[0], refused[0]+1)...)
				}
				sent += 10
			}
		}()
		c.halt(id)
		c.start(id)
		close(stop)
		<-done
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("%d messages, %d of them published again", sent, again)

	conn, ch = dial(t, c.nodes[1].Node)
	defer conn.Close()
	deliveries, err := ch.Consume("letters", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	missing := map[string]bool{}
	for i := range sent {
		missing[fmt.Sprintf("message %d", i)] = true
	}
	for len(missing) > 0 {
		select {
		case d := <-deliveries:
			delete(missing, string(d.Body))
		case <-time.After(30 * time.Second):
			t.Fatalf("%d of %d confirmed messages are lost", len(missing), sent)
		}
	}
}

// TestGrowAndReplace lets a fourth node join, loses the disk of another one, and
// replaces it.
func TestGrowAndReplace(t *testing.T) {
	c := newCluster(t, 3)
	conn, ch := dial(t, c.nodes[1].Node)
	declare(t, ch, "letters")
	conn.Close()
	publishAll(t, c.nodes[1].Node, "letters", 0, 100)

	c.add(4)
	c.start(4)
	publishAll(t, c.nodes[4].Node, "letters", 100, 200)
	c.eventually("every node knows four", func() error {
		for _, n := range c.nodes {
			if got := len(n.broker.Nodes()); got != 4 {
				return fmt.Errorf("node %d knows %d", n.id, got)
			}
		}
		return nil
	})

	// Node 2 loses its disk: it must not come back as its old self.
	c.kill(2)
	c.nodes[2].fs = vfs.NewMem()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := c.try(ctx, 2); err == nil || !strings.Contains(err.Error(), "waybill cluster replace 2") {
		t.Fatalf("a node without its disk: %v", err)
	}
	if err := c.nodes[1].broker.ReplaceNode(ctx, 2); err != nil {
		t.Fatal(err)
	}
	c.nodes[2].fs = vfs.NewMem()
	c.start(2)
	if file := c.nodes[2].links.file.Load(); file.Replica <= 4 {
		t.Errorf("the replaced node has replica id %d", file.Replica)
	}
	c.eventually("all replicas are up to date", func() error {
		for _, n := range c.nodes {
			if s := (members{n.Node}).Status(); s.UnderReplicatedTotal > 0 {
				return fmt.Errorf("node %d: %v", n.id, s.UnderReplicated)
			}
		}
		return nil
	})

	// Now two others may be lost for a while.
	c.kill(1)
	c.awaitOther(2, "letters", 1)
	publishAll(t, c.nodes[2].Node, "letters", 200, 300)
	c.start(1)
	consumeAll(t, c.nodes[2].Node, "letters", 300)
}

// TestShrink: a node that the status shows no more can be stopped, also one of two: nothing
// that stays counts its vote.
func TestShrink(t *testing.T) {
	c := newCluster(t, 2)
	conn, ch := dial(t, c.nodes[1].Node)
	declare(t, ch, "letters")
	conn.Close()
	publishAll(t, c.nodes[1].Node, "letters", 0, 100)
	if err := c.nodes[1].broker.RemoveNode(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	shown := func() *admin.ClusterNode {
		s := (members{c.nodes[1].Node}).Status()
		i := slices.IndexFunc(s.Nodes, func(n admin.ClusterNode) bool { return n.ID == 2 })
		if i < 0 {
			return nil
		}
		return &s.Nodes[i]
	}
	late := time.Now().Add(time.Minute)
	for n := shown(); n != nil; n = shown() { // without a pause: it is to be seen at once
		if n.Replicas == 0 {
			t.Fatalf("it is shown as if it could be stopped: %+v", n)
		}
		if time.Now().After(late) {
			t.Fatalf("after a minute it is still there: %+v", n)
		}
	}
	c.kill(2)
	conn, ch = dial(t, c.nodes[1].Node)
	declare(t, ch, "more letters")
	conn.Close()
	publishAll(t, c.nodes[1].Node, "letters", 100, 200)
	consumeAll(t, c.nodes[1].Node, "letters", 200)
}

// TestSingleNodeGrows starts as one node, without a word about clusters, and becomes three.
func TestSingleNodeGrows(t *testing.T) {
	c := &testCluster{t: t, nodes: map[uint64]*testNode{}, setup: func(*Config) {}}
	t.Cleanup(c.stop)
	one := c.add(1)
	alone := startNode(t, one.fs, testConfig("/data"))
	conn, ch := dial(t, alone)
	declare(t, ch, "letters")
	conn.Close()
	publishAll(t, alone, "letters", 0, 100)
	stopNode(t, alone)

	c.start(1)
	c.join = []string{one.addr}
	c.add(2)
	c.add(3)
	c.start(2, 3)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c.eventually("all three are known everywhere", func() error {
		if n := len(c.nodes[1].broker.Nodes()); n != 3 {
			return fmt.Errorf("%d are", n)
		}
		return nil
	})
	if err := c.nodes[2].broker.Rebalance(ctx); err != nil {
		t.Fatal(err)
	}
	c.eventually("the queue has three replicas", func() error {
		for _, l := range c.nodes[1].broker.Logs() {
			if strings.Contains(l.What, "letters") {
				leader := c.nodes[l.Leader]
				if leader == nil || len(l.Replicas) != 3 {
					return fmt.Errorf("%+v", l)
				}
				for _, at := range leader.broker.Logs() {
					if at.ID == l.ID && len(at.InSync) == 3 {
						return nil
					}
				}
				return fmt.Errorf("%+v", l)
			}
		}
		return fmt.Errorf("there is no such queue")
	})
	c.kill(1)
	consumeAll(t, c.nodes[3].Node, "letters", 100)

	// Alone again, it says what it lacks.
	if _, err := startOn(ctx, one.fs, testConfig("/data"), testLog(t)); err == nil || !strings.Contains(err.Error(), "--cluster-listen") {
		t.Errorf("without --cluster-listen: %v", err)
	}
}

// TestClusterWithTLS founds a cluster whose nodes have certificates; one that
// has a foreign one stays outside.
func TestClusterWithTLS(t *testing.T) {
	dir := t.TempDir()
	if _, err := transport.MakeCertificates(dir, []uint64{1, 2, 3}, nil); err != nil {
		t.Fatal(err)
	}
	c := newCluster(t, 3, func(c *Config) {
		name := filepath.Join(dir, fmt.Sprintf("node-%d", c.Cluster.NodeID))
		c.Cluster.Cert, c.Cluster.Key, c.Cluster.CA = name+".crt", name+".key", filepath.Join(dir, "ca.crt")
	})
	conn, ch := dial(t, c.nodes[2].Node)
	defer conn.Close()
	declare(t, ch, "letters")
	publishAll(t, c.nodes[3].Node, "letters", 0, 10)

	foreign := t.TempDir()
	if _, err := transport.MakeCertificates(foreign, []uint64{1, 2, 3, 4}, nil); err != nil {
		t.Fatal(err)
	}
	dir = foreign
	c.add(4)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := c.try(ctx, 4); err == nil {
		t.Error("a node with a foreign certificate joined")
	}
}

// TestReadyzSaysWhatIsMissing starts one node of three.
func TestReadyzSaysWhatIsMissing(t *testing.T) {
	c := &testCluster{t: t, nodes: map[uint64]*testNode{}, setup: func(*Config) {}}
	t.Cleanup(c.stop)
	addr := asideAddr(t)
	c.setup = func(cfg *Config) { cfg.HTTP.Listen = addr }
	one := c.add(1)
	c.join = []string{one.addr, "127.0.0.1:1"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.try(ctx, 1) }()
	c.eventually("it says whom it waits for", func() error { return unready(addr, "no answer from 127.0.0.1:1") })
	cancel()
	if err := <-ended; err == nil {
		t.Error("it started")
	}
}

var _ broker.Cluster = brokerLinks{}
