package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/broker"
	"waybill/internal/broker/brokertest"
	"waybill/internal/record"
)

// confirmed receives the answers to publishes.
type confirmed chan error

func (c confirmed) Published(_ uint64, err error) { c <- err }

// session is a client of a node.
func session(t testing.TB, n *brokertest.Node) *broker.Session {
	t.Helper()
	s, err := n.Broker.OpenSession("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close(context.Background()) })
	return s
}

func declare(t testing.TB, n *brokertest.Node, queue string, durable bool) {
	t.Helper()
	if _, err := session(t, n).DeclareQueue(bounded(t), broker.QueueSpec{Name: queue, Durable: durable}); err != nil {
		t.Fatal(err)
	}
}

// publish publishes a message to a queue until it is confirmed.
func publish(t testing.TB, c *brokertest.Cluster, queue, body string) {
	t.Helper()
	m := record.Message{Time: time.Now().UnixMilli(), TTL: record.NoTTL, RoutingKey: []byte(queue), Properties: []byte{0, 0}, Body: []byte(body)}
	c.Eventually("publish "+body, func() bool {
		for _, n := range c.Nodes() {
			s, err := n.Broker.OpenSession("/")
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close(context.Background())
			done := make(confirmed, 1)
			routed, err := s.Publish(&broker.Publication{RoutingKey: queue, Stored: m.Append(nil)}, done, 1)
			if err == nil && routed == 1 && <-done == nil {
				return true
			}
		}
		return false
	})
}

// logOf finds a log by what it is.
func logOf(t testing.TB, n *brokertest.Node, what string) broker.Log {
	t.Helper()
	for _, l := range n.Broker.Logs() {
		if strings.Contains(l.What, what) {
			return l
		}
	}
	t.Fatalf("node %d knows no %s", n.ID, what)
	return broker.Log{}
}

// whole reports whether all replicas of a log are up to date, as a node sees it.
func whole(t testing.TB, n *brokertest.Node, what string, factor int) bool {
	l := logOf(t, n, what)
	return len(l.Replicas) == factor && len(l.InSync) == factor && !l.Moving
}

// copied waits until all replicas of a log have its last entry.
func copied(t testing.TB, c *brokertest.Cluster, what string) {
	t.Helper()
	c.Eventually(what+" is everywhere", func() bool {
		l := logOf(t, c.Nodes()[0], what)
		last := map[record.Index]bool{}
		for _, id := range l.Replicas {
			last[c.Node(id).Store.Log(l.ID).LastIndex()] = true
		}
		return len(last) == 1
	})
}

// flushed waits until the first entries of a node's copy, at least so many, are below a checkpoint, in segments.
func flushed(t testing.TB, n *brokertest.Node, what string, entries record.Index) {
	t.Helper()
	log := logOf(t, n, what).ID
	for deadline := time.Now().Add(brokertest.Patience); n.Store.Log(log).FirstIndex() <= 1+entries; time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not flushed", what)
		}
	}
}

// lead makes a node the leader of a log.
func lead(t testing.TB, c *brokertest.Cluster, what string, node uint64) {
	t.Helper()
	c.Eventually(fmt.Sprintf("node %d leads %s", node, what), func() bool {
		l := logOf(t, c.Node(node), what)
		if l.Leader == node {
			return true
		}
		ctx, cancel := context.WithTimeout(bounded(t), 2*time.Second)
		defer cancel()
		_ = c.Nodes()[0].Broker.Transfer(ctx, l.ID, node) // it is tried again
		return false
	})
}

// TestDamagedCopyAtStart: a node finds that some of its logs are damaged when it
// starts: a partition, a queue. They are rebuilt from the others, and count again.
func TestDamagedCopyAtStart(t *testing.T) {
	c := brokertest.New(t, 3)
	create(t, c.Node(1), "t", 1, 3)
	declare(t, c.Node(1), "q", true)
	for i := range 20 {
		appendSomewhere(t, c, "t", 0, fmt.Sprintf("record-%03d", i))
		publish(t, c, "q", fmt.Sprintf("message-%03d", i))
		if i%4 == 3 { // what is damaged must not lie in neighboring batches: that would hurt every log
			copied(t, c, "topic 't'")
			copied(t, c, "queue 'q'")
		}
	}
	c.Shut(3)
	for _, what := range []string{"record-005", "message-015"} {
		if c.Damage(3, "wal", []byte(what)) == 0 {
			t.Fatalf("there is no %s to damage", what)
		}
	}
	c.Start(3)
	log := logOf(t, c.Node(3), "queue 'q'").ID
	if c.Node(3).Store.Damaged(log) == nil {
		t.Fatal("nothing was found to be damaged")
	}
	for _, what := range []string{"topic 't'", "queue 'q'"} {
		c.Eventually(what+" is whole again", func() bool {
			return whole(t, c.Node(1), what, 3) && whole(t, c.Node(3), what, 3) && c.Node(3).Store.Damaged(logOf(t, c.Node(3), what).ID) == nil
		})
	}
	// It counts: one of the others may die, and it can lead.
	c.Kill(1)
	appendSomewhere(t, c, "t", 0, "last")
	lead(t, c, "topic 't'", 3)
	lead(t, c, "queue 'q'", 3)
	if got := values(t, c, "t", 0); len(got) != 21 || got[10] != "record-010" || got[20] != "last" {
		t.Errorf("found %v", got)
	}
	status, err := session(t, c.Node(3)).CheckQueue(bounded(t), "q")
	if err != nil || status.Ready != 20 {
		t.Errorf("the queue has %+v, %v", status, err)
	}
}

// TestDamagedCopyOfTheLeader: bits rot in a segment of the node that leads. Who
// reads them finds out; another node leads then, and the copy is rebuilt.
func TestDamagedCopyOfTheLeader(t *testing.T) {
	c := brokertest.New(t, 3)
	create(t, c.Node(1), "t", 1, 3)
	filler := strings.Repeat("x", 64<<10)
	var acked []string
	for i := range 60 {
		v := fmt.Sprintf("record-%03d-%s", i, filler)
		appendSomewhere(t, c, "t", 0, v)
		acked = append(acked, v)
	}
	lead(t, c, "topic 't'", 3)
	copied(t, c, "topic 't'")
	flushed(t, c.Node(3), "topic 't'", 10)
	c.Shut(3)
	if c.Damage(3, "seg", []byte("record-005"))+c.Damage(3, "wal", []byte("record-005")) == 0 { // in a segment, or a WAL file that is one
		t.Fatal("nothing of it has come to a segment")
	}
	c.Start(3)
	lead(t, c, "topic 't'", 3)
	topic, _ := c.Node(3).Broker.Topic("t")
	if _, err := topic.Partitions[0].Read(5, 1<<20); err == nil {
		t.Fatal("the damaged record can be read")
	}
	c.Eventually("another node leads", func() bool { return logOf(t, c.Node(1), "topic 't'").Leader != 3 })
	if got := values(t, c, "t", 0); !slices.Equal(got, acked) {
		t.Errorf("%d of %d records are there", len(got), len(acked))
	}
	c.Eventually("it is whole again", func() bool {
		return whole(t, c.Node(1), "topic 't'", 3) && c.Node(3).Store.Damaged(logOf(t, c.Node(3), "topic 't'").ID) == nil
	})
	lead(t, c, "topic 't'", 3)
	if got := values(t, c, "t", 0); !slices.Equal(got, acked) {
		t.Errorf("%d of %d records are there", len(got), len(acked))
	}
}

// TestDamageWithoutQuorum: as long as the others are no majority of copies that
// are up to date, a damaged one is held, and nothing of it is deleted: one of two, and one of
// three while another one is down.
func TestDamageWithoutQuorum(t *testing.T) {
	registries := map[uint64]*prometheus.Registry{}
	c := brokertest.New(t, 3, brokertest.Configure(func(cfg *broker.Config) {
		registries[cfg.Node] = prometheus.NewRegistry()
		cfg.Registerer = registries[cfg.Node]
	}))
	create(t, c.Node(1), "t", 1, 3)
	create(t, c.Node(1), "two", 1, 2)
	for i := range 20 {
		appendSomewhere(t, c, "t", 0, fmt.Sprintf("record-%03d", i))
		appendSomewhere(t, c, "two", 0, fmt.Sprintf("twofold-%03d", i))
		if i%4 == 3 { // as in TestDamagedCopyAtStart: not in neighboring batches
			copied(t, c, "topic 't'")
			copied(t, c, "topic 'two'")
		}
	}
	two, three := logOf(t, c.Node(1), "topic 'two'"), logOf(t, c.Node(1), "topic 't'")
	hurt := two.Replicas[0]
	others := slices.DeleteFunc([]uint64{1, 2, 3}, func(id uint64) bool { return id == hurt })
	c.Shut(hurt)
	if c.Damage(hurt, "wal", []byte("record-005")) == 0 || c.Damage(hurt, "wal", []byte("twofold-015")) == 0 {
		t.Fatal("there is nothing to damage")
	}
	c.Kill(others[1])
	c.Start(hurt)
	n := c.Node(hurt)
	c.Eventually("both copies are found to be damaged", func() bool { return gauge(t, registries[hurt], "waybill_logs_offline") == 2 })
	untouched := func(log broker.Log) {
		t.Helper()
		if n.Store.Damaged(log.ID) == nil || !n.Store.Holds(log.ID) {
			t.Errorf("the damaged copy of %s is not held", log.What)
		}
		if l := logOf(t, n, log.What); !slices.Equal(l.Replicas, log.Replicas) || l.Moving {
			t.Errorf("a log without a majority was touched: %+v", l)
		}
	}
	untouched(two)
	untouched(three)

	c.Start(others[1])
	c.Eventually("the copy of three is rebuilt", func() bool {
		return whole(t, c.Node(others[0]), "topic 't'", 3) && n.Store.Damaged(three.ID) == nil
	})
	untouched(two)
	if !strings.Contains(fmt.Sprint(n.Store.Damaged(two.ID)), "wal") {
		t.Errorf("the damage does not name its file: %v", n.Store.Damaged(two.ID))
	}
	c.Eventually("it is counted", func() bool {
		return gauge(t, registries[hurt], "waybill_logs_offline") == 1 && gauge(t, registries[hurt], "waybill_log_rebuilds_done_total") == 1
	})
}

// gauge reads a metric without labels.
func gauge(t testing.TB, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetGauge().GetValue() + f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// keeper is a consumer that takes everything and settles nothing.
type keeper struct {
	mu  sync.Mutex // guards got
	got map[string]bool
}

func (k *keeper) Take(*broker.Subscription, int) bool         { return true }
func (k *keeper) Room(*broker.Subscription) (messages, n int) { return 1000, 1 << 20 }
func (k *keeper) Lost(*broker.Subscription)                   {}
func (k *keeper) Canceled(*broker.Subscription)               {}

func (k *keeper) Deliver(_ *broker.Subscription, d *broker.Delivery) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got[string(d.Message.Body[:11])] = true
}

func (k *keeper) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.got)
}

// TestDamagedQueueOfTheLeader: the same for a queue, whose deliveries stop before the message
// that cannot be read. Its consumer, at another node, gets everything from the next leader.
func TestDamagedQueueOfTheLeader(t *testing.T) {
	const messages = 60
	c := brokertest.New(t, 3)
	declare(t, c.Node(1), "q", true)
	for i := range messages {
		publish(t, c, "q", fmt.Sprintf("message-%03d-%s", i, strings.Repeat("x", 64<<10)))
	}
	lead(t, c, "queue 'q'", 3)
	copied(t, c, "queue 'q'")
	flushed(t, c.Node(3), "queue 'q'", 10)
	c.Shut(3)
	if c.Damage(3, "seg", []byte("message-005"))+c.Damage(3, "wal", []byte("message-005")) == 0 {
		t.Fatal("nothing of it has come to a segment")
	}
	c.Start(3)
	lead(t, c, "queue 'q'", 3)
	all := &keeper{got: map[string]bool{}}
	if _, err := session(t, c.Node(1)).Subscribe(bounded(t), broker.SubscribeOptions{Queue: "q"}, all, nil); err != nil {
		t.Fatal(err)
	}
	c.Eventually("everything is delivered", func() bool { return all.count() == messages })
	if leader := logOf(t, c.Node(1), "queue 'q'").Leader; leader == 3 {
		t.Error("the node with the damaged copy leads still")
	}
	c.Eventually("it is whole again", func() bool {
		return whole(t, c.Node(1), "queue 'q'", 3) && c.Node(3).Store.Damaged(logOf(t, c.Node(3), "queue 'q'").ID) == nil
	})
}
