package broker_test

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/internal/broker"
	"waybill/internal/broker/brokertest"
	"waybill/internal/record"
	"waybill/internal/record/recordtest"
)

// commitOffset commits an offset at whoever coordinates the group.
func commitOffset(c *brokertest.Cluster, name string, offset int64) {
	c.Eventually("commit", func() bool {
		for _, n := range c.Nodes() {
			done := make(chan *broker.CommitOffsetsResult, 1)
			n.Broker.CommitOffsets(&broker.CommitOffsets{Group: name, Generation: -1, Retention: -1, Offsets: []broker.OffsetCommit{
				{TopicPartition: broker.TopicPartition{Topic: "t"}, Offset: offset},
			}}, func(r *broker.CommitOffsetsResult) { done <- r })
			if r := <-done; r.Code == 0 {
				return true
			}
		}
		return false
	})
}

// committedOffset asks one node, which coordinates the group.
func committedOffset(t testing.TB, c *brokertest.Cluster, node uint64, name string) (offset int64) {
	t.Helper()
	c.Eventually("fetch the committed offset", func() bool {
		done := make(chan *broker.FetchOffsetsResult, 1)
		c.Node(node).Broker.FetchOffsets(&broker.FetchOffsets{Group: name, Partitions: []broker.TopicPartition{{Topic: "t"}}},
			func(r *broker.FetchOffsetsResult) { done <- r })
		r := <-done
		if r.Code != 0 {
			return false
		}
		offset = r.Offsets[0].Offset.Offset
		return true
	})
	return offset
}

// TestSnapshotWhileRunning: a node is cut off while it runs, and misses so much that it gets
// snapshots of everything: a partition, a queue, a coordinator, the catalog. It goes on
// with them as they are elsewhere, and leads them.
func TestSnapshotWhileRunning(t *testing.T) {
	c := brokertest.New(t, 3)
	create(t, c.Node(1), "t", 1, 3)
	create(t, c.Node(1), "fill", 1, 3)
	declare(t, c.Node(1), "q", true)
	publish(t, c, "q", "before")
	commitOffset(c, "g", 1)
	send := func(sequence int32) (r broker.AppendResult) {
		c.Eventually(fmt.Sprint("send ", sequence), func() bool {
			for _, n := range c.Nodes() {
				if r = appendBatch(t, n, "t", recordtest.N(1, 7, 0, sequence), time.Minute); r.Err == nil {
					return true
				}
			}
			return false
		})
		return r
	}
	first := send(0)
	h := fnv.New32a()
	_, _ = h.Write([]byte("g")) // a hash takes everything
	coordinator := fmt.Sprintf("coordinator %d", h.Sum32()%4)
	logs := []string{"topic 't'", "queue 'q'", coordinator, "the catalog"}
	for _, what := range logs {
		copied(t, c, what)
	}
	c.Cut(3)
	had := map[string]record.Index{}
	for _, what := range logs {
		l := logOf(t, c.Node(1), what)
		had[what] = c.Node(3).Store.Log(l.ID).LastIndex()
	}

	last := first
	for i := int32(1); i <= 5; i++ {
		last = send(i)
	}
	commitOffset(c, "g", 42)
	if _, err := session(t, c.Node(1)).PurgeQueue(bounded(t), "q"); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"one", "two", "three"} {
		publish(t, c, "q", body)
	}
	declare(t, c.Node(1), "late", true)
	publish(t, c, "late", "x")
	filler := strings.Repeat("x", 200<<10)
	c.Eventually("the others have dropped what node 3 lacks", func() bool {
		appendSomewhere(t, c, "fill", 0, filler)
		return !slices.ContainsFunc(logs, func(what string) bool {
			l := logOf(t, c.Node(1), what)
			for _, n := range c.Nodes() {
				if n.ID != 3 && n.Store.Log(l.ID).FirstIndex() <= had[what]+1 {
					return true
				}
			}
			return false
		})
	})
	c.Heal()

	for _, what := range logs {
		lead(t, c, what, 3)
	}
	want := []string{"7/0/0", "7/0/1", "7/0/2", "7/0/3", "7/0/4", "7/0/5"}
	if got := values(t, c, "t", 0); !slices.Equal(got, want) {
		t.Errorf("the partition has %v", got)
	}
	if again := send(5); again.Base != last.Base {
		t.Errorf("what was sent again is at offset %d and at %d", last.Base, again.Base)
	}
	if r := appendBatch(t, c.Node(3), "t", recordtest.N(1, 7, 0, 9), time.Minute); codeOf(r.Err) != codeOutOfOrder {
		t.Errorf("a gap gets %v", r.Err)
	}
	if got := committedOffset(t, c, 3, "g"); got != 42 {
		t.Errorf("the committed offset is %d", got)
	}
	s := session(t, c.Node(3))
	if status, err := s.CheckQueue(bounded(t), "q"); err != nil || status.Ready != 3 {
		t.Errorf("the queue has %+v, %v", status, err)
	}
	if n, err := s.PurgeQueue(bounded(t), "q"); err != nil || n != 3 {
		t.Errorf("%d messages are purged, %v", n, err)
	}
	lead(t, c, "queue 'late'", 3)
	if status, err := s.CheckQueue(bounded(t), "late"); err != nil || status.Ready != 1 {
		t.Errorf("the queue that was declared meanwhile has %+v, %v", status, err)
	}
	create(t, c.Node(2), "after", 3, 3) // decided by node 3
	publish(t, c, "q", "after")
}
