package kafka

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
	"waybill/internal/broker/brokertest"
)

// kafkaCluster is three nodes, each with a listener that it keeps when it is
// killed and started again.
type kafkaCluster struct {
	*brokertest.Cluster
	t       *testing.T
	mu      sync.Mutex // guards the rest
	addrs   map[uint64]string
	servers map[uint64]*Server
}

func newKafkaCluster(t *testing.T, n int) *kafkaCluster {
	t.Helper()
	c := &kafkaCluster{t: t, addrs: map[uint64]string{}, servers: map[uint64]*Server{}}
	settings := DefaultSettings()
	settings.GroupInitialRebalanceDelay = 0
	c.Cluster = brokertest.New(t, n,
		brokertest.Configure(func(cfg *broker.Config) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.addrs[cfg.Node] == "" {
				l := listenAside(t)
				c.addrs[cfg.Node] = l.Addr().String()
				_ = l.Close() // only its number is wanted
			}
			cfg.Addresses.Kafka = c.addrs[cfg.Node]
			cfg.Groups = settings.GroupConfig()
		}),
		brokertest.Beside(func(n *brokertest.Node) { c.serve(n, settings) }, c.cutOff))
	return c
}

// listenAside listens on an address of its own, which stays free while nobody listens there:
// connections that come into being meanwhile take their ports from 127.0.0.1.
func listenAside(t *testing.T) net.Listener {
	t.Helper()
	ip := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: ip})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (c *kafkaCluster) serve(n *brokertest.Node, settings Settings) {
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	s := NewServer(Config{Broker: n.Broker, Logger: log, NodeID: int32(n.ID), Settings: settings, ClusterID: n.Broker.ClusterID()})
	c.mu.Lock()
	addr := c.addrs[n.ID]
	c.servers[n.ID] = s
	c.mu.Unlock()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		c.t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }() // it ends with ErrServerClosed
}

// cutOff cuts the clients of a node off.
func (c *kafkaCluster) cutOff(n *brokertest.Node) {
	c.mu.Lock()
	s := c.servers[n.ID]
	delete(c.servers, n.ID)
	c.mu.Unlock()
	if s == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx) // it says that it was cut off
}

func (c *kafkaCluster) client(opts ...kgo.Opt) *kgo.Client {
	c.t.Helper()
	c.mu.Lock()
	var seeds []string
	for _, addr := range c.addrs {
		seeds = append(seeds, addr)
	}
	c.mu.Unlock()
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryTimeout(brokertest.Patience), kgo.RecordDeliveryTimeout(brokertest.Patience),
	}, opts...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(cl.Close)
	return cl
}

func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), brokertest.Patience)
	t.Cleanup(cancel)
	return ctx
}

func (c *kafkaCluster) create(topic string, partitions int32, configs map[string]string) {
	c.t.Helper()
	_, err := c.Nodes()[0].Broker.CreateTopic(patient(c.t), broker.TopicSpec{Name: topic, Partitions: partitions, ReplicationFactor: -1, Configs: configs}, false)
	if err != nil {
		c.t.Fatal(err)
	}
}

// leaderOf is the node that leads a partition.
func (c *kafkaCluster) leaderOf(topic string, partition int) uint64 {
	c.t.Helper()
	var leader uint64
	c.Eventually("a leader of "+topic, func() bool {
		t, ok := c.Nodes()[0].Broker.Topic(topic)
		if !ok {
			return false
		}
		leader = t.Partitions[partition].State().Leader
		return leader != 0 && slices.ContainsFunc(c.Nodes(), func(n *brokertest.Node) bool { return n.ID == leader })
	})
	return leader
}

// TestClusterMetadata: every node tells the same about all of them.
func TestClusterMetadata(t *testing.T) {
	c := newKafkaCluster(t, 3)
	c.create("t", 6, nil)
	cl := c.client()
	for _, n := range c.Nodes() {
		req := kmsg.NewPtrMetadataRequest()
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr("t")
		req.Topics = append(req.Topics, rt)
		c.Eventually(fmt.Sprint("node ", n.ID, " knows all nodes"), func() bool {
			resp, err := cl.Broker(int(n.ID)).Request(patient(t), req)
			if err != nil {
				return false // the client does not know the node yet
			}
			m := resp.(*kmsg.MetadataResponse)
			if len(m.Brokers) != 3 || m.ControllerID != int32(c.Leader(1).ID) || len(m.Topics) != 1 || len(m.Topics[0].Partitions) != 6 {
				return false
			}
			leaders := map[int32]int{}
			for _, p := range m.Topics[0].Partitions {
				if p.ErrorCode != 0 || len(p.Replicas) != 3 || len(p.ISR) == 0 {
					return false
				}
				leaders[p.Leader]++
			}
			return len(leaders) == 3
		})
		for _, b := range c.Nodes() {
			if c.addrs[b.ID] == "" {
				t.Fatal("a node has no address")
			}
		}
		describe, err := cl.Broker(int(n.ID)).Request(patient(t), kmsg.NewPtrDescribeClusterRequest())
		if err != nil || len(describe.(*kmsg.DescribeClusterResponse).Brokers) != 3 {
			t.Errorf("node %d: %v %v", n.ID, describe, err)
		}
	}
}

// TestNotLeader: who asks the wrong node is told so with an error that makes
// clients look for the right one.
func TestNotLeader(t *testing.T) {
	c := newKafkaCluster(t, 3)
	c.create("t", 1, nil)
	leader := c.leaderOf("t", 0)
	cl := c.client()
	// The client has to hear of all nodes first.
	ask := func(node uint64, req kmsg.Request) (resp kmsg.Response) {
		c.Eventually(fmt.Sprint("node ", node, " answers"), func() bool {
			var err error
			if resp, err = cl.Broker(int(node)).Request(patient(t), req); err != nil {
				cl.ForceMetadataRefresh()
			}
			return err == nil
		})
		return resp
	}
	list := kmsg.NewPtrListOffsetsRequest()
	lt := kmsg.NewListOffsetsRequestTopic()
	lt.Topic = "t"
	lp := kmsg.NewListOffsetsRequestTopicPartition()
	lp.Timestamp, lp.CurrentLeaderEpoch = -1, -1
	lt.Partitions = append(lt.Partitions, lp)
	list.Topics = append(list.Topics, lt)
	resp := ask(1+leader%3, list)
	if resp.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode != codeNotLeader {
		t.Errorf("ListOffsets: %+v", resp)
	}
	var wrong uint64
	c.Eventually("all know the coordinator", func() bool {
		for _, n := range c.Nodes() {
			node, ok := n.Broker.CoordinatorOf("g")
			if !ok {
				return false
			}
			wrong = 1 + node%3
		}
		return true
	})
	beat := kmsg.NewPtrHeartbeatRequest()
	beat.Group, beat.MemberID = "g", "m"
	if resp = ask(wrong, beat); resp.(*kmsg.HeartbeatResponse).ErrorCode != codeNotCoordinator {
		t.Errorf("Heartbeat: %+v", resp)
	}
}

// produceAll produces records in the background until stop is called, which
// returns what was acknowledged, by partition, in the order of sending.
func (c *kafkaCluster) produceAll(topic string, partitions int32) (stop func() map[int32][]string, count func() int) {
	cl := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(50))
	var mu sync.Mutex
	acked := map[int32][]string{}
	n := 0
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			r := &kgo.Record{Topic: topic, Partition: int32(i) % partitions, Value: []byte(strconv.Itoa(i))}
			cl.Produce(context.Background(), r, func(r *kgo.Record, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					c.t.Errorf("record %s: %v", r.Value, err)
					return
				}
				acked[r.Partition] = append(acked[r.Partition], string(r.Value))
				n++
			})
		}
		if err := cl.Flush(context.Background()); err != nil {
			c.t.Error(err)
		}
	}()
	stop = func() map[int32][]string {
		cancel()
		<-done
		mu.Lock()
		defer mu.Unlock()
		return acked
	}
	count = func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
	return stop, count
}

// consumeAll reads a topic from the start until it has seen want records.
func (c *kafkaCluster) consumeAll(topic string, want int) map[int32][]string {
	c.t.Helper()
	cl := c.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	got := map[int32][]string{}
	ctx, cancel := context.WithTimeout(context.Background(), brokertest.Patience)
	defer cancel()
	for n := 0; n < want; {
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			c.t.Fatalf("%d of %d records after %v: %v", n, want, brokertest.Patience, fetches.Errors())
		}
		fetches.EachRecord(func(r *kgo.Record) {
			got[r.Partition] = append(got[r.Partition], string(r.Value))
			n++
		})
	}
	return got
}

// TestIdempotentThroughFailover: an idempotent producer goes on through dying
// leaders, transfers and a node that is cut off; every record is there
// exactly once, in order.
func TestIdempotentThroughFailover(t *testing.T) {
	c := newKafkaCluster(t, 3)
	c.create("t", 3, map[string]string{"min.insync.replicas": "2"})
	stop, count := c.produceAll("t", 3)
	more := func(when string) {
		before := count()
		c.Eventually("producing goes on "+when, func() bool { return count() >= before+100 })
	}
	more("at first")
	for range 3 {
		id := c.leaderOf("t", 0)
		c.Kill(id)
		more("without a leader")
		c.Start(id)
		more("when it is back")
		for _, l := range c.Node(1).Broker.Logs() {
			_ = c.Node(1).Broker.Transfer(patient(t), l.ID, 0) // it may have moved by itself
		}
		more("after transfers")
		id = c.leaderOf("t", 1)
		c.Cut(id)
		more("with a leader that is cut off")
		c.Heal()
		more("with the network whole")
	}
	acked := stop()
	total := 0
	for _, list := range acked {
		total += len(list)
	}
	got := c.consumeAll("t", total)
	for p, list := range acked {
		if !slices.Equal(list, got[p]) {
			t.Errorf("partition %d: %d acknowledged, %d read\n%v\n%v", p, len(list), len(got[p]), list, got[p])
		}
	}
}

// TestGroupThroughFailover: a consumer group goes on when its coordinator
// dies; what was committed is there, and never goes back.
func TestGroupThroughFailover(t *testing.T) {
	c := newKafkaCluster(t, 3)
	c.create("t", 3, nil)
	stop, _ := c.produceAll("t", 3)
	var mu sync.Mutex
	seen := map[string]int{}
	member := func() (leave func()) {
		cl := c.client(kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.DisableAutoCommit(), kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(200*time.Millisecond), kgo.RebalanceTimeout(5*time.Second))
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for ctx.Err() == nil {
				fetches := cl.PollRecords(ctx, 100)
				fetches.EachRecord(func(r *kgo.Record) {
					mu.Lock()
					defer mu.Unlock()
					seen[string(r.Value)]++
				})
				if err := cl.CommitUncommittedOffsets(ctx); err != nil && !errors.Is(err, context.Canceled) && !kerr.IsRetriable(err) {
					t.Logf("commit: %v", err) // a rebalance is under way
				}
			}
		}()
		return func() { cancel(); <-done; cl.Close() }
	}
	leave := []func(){member(), member()}
	admin := c.client()
	last := map[int32]int64{}
	committed := func() (total int64) {
		req := kmsg.NewPtrOffsetFetchRequest()
		req.Group = "g"
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = "g"
		req.Groups = append(req.Groups, g)
		resp, err := req.RequestWith(patient(t), admin)
		if err != nil || len(resp.Groups) != 1 || resp.Groups[0].ErrorCode != 0 {
			admin.Close()
			admin = c.client() // this API of the client stays with a coordinator that is gone
			return -1
		}
		for _, topic := range resp.Groups[0].Topics {
			for _, p := range topic.Partitions {
				if p.Offset < last[p.Partition] {
					t.Errorf("the committed offset of partition %d goes back from %d to %d", p.Partition, last[p.Partition], p.Offset)
				}
				last[p.Partition] = p.Offset
				total += p.Offset
			}
		}
		return total
	}
	more := func(when string) {
		before := committed()
		c.Eventually("the group gets on "+when, func() bool { now := committed(); return now >= 0 && now > before+50 })
	}
	more("at first")
	for range 2 {
		var coordinator uint64
		c.Eventually("a coordinator", func() bool {
			var ok bool
			coordinator, ok = c.Nodes()[0].Broker.CoordinatorOf("g")
			return ok
		})
		c.Kill(coordinator)
		more("without its coordinator")
		c.Start(coordinator)
		more("with all nodes")
	}
	acked := stop()
	c.Eventually("everything was read", func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, list := range acked {
			for _, v := range list {
				if seen[v] == 0 {
					return false
				}
			}
		}
		return true
	})
	for _, l := range leave {
		l()
	}
}
