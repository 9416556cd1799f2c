package kafka

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/internal/broker"
	"waybill/internal/vfs"
)

// groupConsumer is a franz-go consumer that keeps what it saw.
type groupConsumer struct {
	t      testing.TB
	client *kgo.Client
	stop   context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex      // guards the rest
	seen map[string]bool // by value
	lost int             // calls that took partitions away
}

func (n *groupNode) consumer(group string, opts ...kgo.Opt) *groupConsumer {
	n.t.Helper()
	c := &groupConsumer{t: n.t, done: make(chan struct{}), seen: make(map[string]bool)}
	gone := func(_ context.Context, _ *kgo.Client, partitions map[string][]int32) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if len(partitions) > 0 {
			c.lost++
		}
	}
	var err error
	c.client, err = kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(n.addr),
		kgo.ConsumerGroup(group),
		kgo.ConsumeTopics("t"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.HeartbeatInterval(100 * time.Millisecond),
		kgo.SessionTimeout(time.Minute), // and so long it tries again, however slow the machine is
		kgo.AlwaysRetryEOF(),            // a node that stops closes connections that it has just accepted
		kgo.MetadataMinAge(50 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 300 * time.Millisecond }),
		kgo.OnPartitionsRevoked(gone),
		kgo.OnPartitionsLost(gone),
		kgo.DisableAutoCommit(),
	}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	var ctx context.Context
	ctx, c.stop = context.WithCancel(context.Background())
	go c.consume(ctx)
	return c
}

// consume polls and commits until ctx ends.
func (c *groupConsumer) consume(ctx context.Context) {
	defer close(c.done)
	for {
		fetches := c.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		c.mu.Lock()
		fetches.EachRecord(func(r *kgo.Record) { c.seen[string(r.Value)] = true })
		c.mu.Unlock()
		for ctx.Err() == nil {
			err := c.client.CommitUncommittedOffsets(ctx)
			if err == nil {
				break
			}
			c.t.Logf("commit: %v", err) // a rebalance or a restart came between
		}
	}
}

// close ends the consumer; a dynamic one leaves its group.
func (c *groupConsumer) close() {
	c.stop()
	<-c.done
	c.client.Close()
}

func (c *groupConsumer) losses() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

func (n *groupNode) produce(from, to int) {
	n.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(n.addr), kgo.DefaultProduceTopic("t"))
	if err != nil {
		n.t.Fatal(err)
	}
	defer client.Close()
	var records []*kgo.Record
	for i := from; i < to; i++ {
		records = append(records, kgo.KeyStringRecord(fmt.Sprint("k", i), fmt.Sprint(i)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		n.t.Fatal(err)
	}
}

// awaitAll waits until the consumers together have seen every value from 0 to n-1.
func awaitAll(t testing.TB, n int, consumers ...*groupConsumer) {
	t.Helper()
	await(t, fmt.Sprintf("%d values are consumed", n), func() bool {
		all := make(map[string]bool)
		for _, c := range consumers {
			c.mu.Lock()
			for v := range c.seen {
				all[v] = true
			}
			c.mu.Unlock()
		}
		return len(all) >= n
	})
}

// awaitCommitted waits until the offsets that a group has committed for a
// topic sum up to total.
func (n *groupNode) awaitCommitted(group, topic string, total int64) {
	n.t.Helper()
	await(n.t, fmt.Sprintf("%d records of %s are committed", total, topic), func() bool {
		done := make(chan *broker.FetchOffsetsResult, 1)
		n.broker.FetchOffsets(&broker.FetchOffsets{Group: group, All: true}, func(r *broker.FetchOffsetsResult) { done <- r })
		sum := int64(0)
		for _, o := range (<-done).Offsets {
			if o.Topic == topic {
				sum += o.Offset.Offset
			}
		}
		return sum == total
	})
}

// awaitOneGeneration waits until the group is stable, and both of its members know
// of the generation: the coordinator is that far before its clients are.
func (n *groupNode) awaitOneGeneration(group string, a, b *groupConsumer) {
	n.t.Helper()
	n.awaitGroup(group, "Stable", 2)
	await(n.t, "both are in one generation", func() bool {
		_, g := a.client.GroupMetadata()
		_, h := b.client.GroupMetadata()
		return g == h && g > 0 && n.group(group).State == "Stable"
	})
}

func TestClientsShareAGroup(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	n.createTopic("t", 6)
	n.produce(0, 600)
	a, b, c := n.consumer("g"), n.consumer("g"), n.consumer("g")
	awaitAll(t, 600, a, b, c)
	n.awaitGroup("g", "Stable", 3)
	n.produce(600, 1200)
	awaitAll(t, 1200, a, b, c)
	b.close() // leaves: the others take over
	n.produce(1200, 1800)
	awaitAll(t, 1800, a, b, c)
	n.awaitCommitted("g", "t", 1800)
	a.close()
	c.close()
	n.awaitGroup("g", "Empty", 0)
	// Whoever comes next begins where they ended.
	d := n.consumer("g")
	defer d.close()
	n.produce(1800, 1900)
	await(t, "the last hundred", func() bool {
		d.mu.Lock()
		defer d.mu.Unlock()
		return len(d.seen) >= 100
	})
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.seen) != 100 {
		t.Fatalf("the next consumer saw %d values, 100 were new", len(d.seen))
	}
}

func TestClientsDoNotNoticeARestart(t *testing.T) {
	fs := vfs.NewMem()
	n := startGroupNode(t, fs, nil)
	n.createTopic("t", 4)
	balancer := kgo.Balancers(kgo.RangeBalancer())
	a, b := n.consumer("g", balancer), n.consumer("g", balancer)
	defer func() {
		a.close()
		b.close()
		n.stop()
	}()
	n.produce(0, 400)
	awaitAll(t, 400, a, b)
	n.awaitOneGeneration("g", a, b)
	lost := a.losses() + b.losses()
	_, generation := a.client.GroupMetadata()
	for round := range 4 {
		if round%2 == 1 {
			fs = fs.StrictClone() // the power goes
		}
		n.stop()
		n = startGroupNode(t, fs, n.port)
		n.produce(400*(round+1), 400*(round+2))
		awaitAll(t, 400*(round+2), a, b)
	}
	if _, now := a.client.GroupMetadata(); now != generation {
		t.Errorf("generation %d became %d", generation, now)
	}
	if now := a.losses() + b.losses(); now != lost {
		t.Errorf("partitions were taken away %d times", now-lost)
	}
}

func TestAStaticClientComesBack(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	n.createTopic("t", 4)
	// The range balancer is done after one rebalance, a cooperative one is not.
	balancer := kgo.Balancers(kgo.RangeBalancer())
	a, b := n.consumer("g", balancer, kgo.InstanceID("a")), n.consumer("g", balancer, kgo.InstanceID("b"))
	defer b.close()
	n.produce(0, 400)
	awaitAll(t, 400, a, b)
	n.awaitOneGeneration("g", a, b)
	old, generation := a.client.GroupMetadata()
	lost := b.losses()
	a.close() // keeps its place
	former := a
	a = n.consumer("g", balancer, kgo.InstanceID("a"))
	defer a.close()
	n.produce(400, 800)
	awaitAll(t, 800, a, b, former)
	await(t, "the static member is back", func() bool {
		id, g := a.client.GroupMetadata()
		return id != "" && id != old && g == generation
	})
	if now := b.losses(); now != lost {
		t.Errorf("the other lost partitions %d times", now-lost)
	}
	topic, _ := n.broker.Topic("t")
	if code := n.commit("g", old, generation, topic, 1, 8); code != 25 {
		t.Errorf("the zombie's commit got %d", code)
	}
}

// TestAdminClientManagesGroups does what tools do: offsets set from outside,
// lag, a reset, deletion.
func TestAdminClientManagesGroups(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	n.createTopic("t", 2)
	n.produce(0, 100)
	client, err := kgo.NewClient(kgo.SeedBrokers(n.addr))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin, ctx := kadm.NewClient(client), testContext(t)

	live := n.consumer("live", kgo.InstanceID("one"))
	awaitAll(t, 100, live)
	await(t, "everything is committed", func() bool {
		lags, err := admin.Lag(ctx, "live")
		lag := lags["live"]
		return err == nil && lag.Error() == nil && lag.State == "Stable" && lag.Lag.Total() == 0
	})
	if err := admin.CommitAllOffsets(ctx, "live", kadm.OffsetsFromRecords(kgo.Record{Topic: "t", Offset: 5})); !errors.Is(err, kerr.UnknownMemberID) {
		t.Errorf("a commit from outside of a live group: %v", err)
	}
	if resp, err := admin.DeleteGroup(ctx, "live"); !errors.Is(err, kerr.NonEmptyGroup) || !strings.Contains(resp.ErrMessage, "members") {
		t.Errorf("deleting a live group: %v, %q", err, resp.ErrMessage)
	}
	live.close()
	if _, err := admin.LeaveGroup(ctx, kadm.LeaveGroup("live").InstanceIDs("one").Reason("test")); err != nil {
		t.Fatal(err)
	}

	var reset kadm.Offsets
	reset.AddOffset("t", 0, 1, -1)
	reset.AddOffset("t", 1, 2, -1)
	if err := admin.CommitAllOffsets(ctx, "live", reset); err != nil {
		t.Fatal(err)
	}
	if resp, err := admin.DeleteOffsets(ctx, "live", kadm.TopicsSet{"t": {1: {}}}); err != nil || resp.Error() != nil {
		t.Fatal(err, resp.Error())
	}
	got, err := admin.FetchOffsets(ctx, "live")
	if err != nil || len(got.Offsets()["t"]) != 1 || got.Offsets()["t"][0].At != 1 {
		t.Fatalf("%v, %+v", err, got)
	}
	groups, err := admin.ListGroups(ctx)
	if err != nil || len(groups) != 1 || groups["live"].State != "Empty" || groups["live"].ProtocolType != "consumer" {
		t.Fatalf("%v, %+v", err, groups)
	}
	if _, err := admin.DeleteGroup(ctx, "live"); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.DeleteGroup(ctx, "live"); !errors.Is(err, kerr.GroupIDNotFound) {
		t.Errorf("deleting it again: %v", err)
	}
}
