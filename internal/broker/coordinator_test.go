package broker

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/group"
	"waybill/internal/vfs"
)

// committer commits rising offsets for one group, one after the other.
type committer struct {
	group string

	mu       sync.Mutex // guards the rest
	sent     int64
	answered int64
}

func (c *committer) run(b *Broker, stop <-chan struct{}) {
	answer := make(chan *CommitOffsetsResult, 1)
	for {
		c.mu.Lock()
		c.sent++
		next := c.sent
		c.mu.Unlock()
		b.CommitOffsets(&CommitOffsets{Group: c.group, Generation: -1, Retention: -1, Offsets: []OffsetCommit{
			{TopicPartition: TopicPartition{Topic: "t"}, Offset: next},
			{TopicPartition: TopicPartition{Topic: "t", Partition: 1}, Offset: next},
		}}, func(r *CommitOffsetsResult) { answer <- r })
		select {
		case r := <-answer:
			if r.Code != group.None {
				return // the node stops
			}
			c.mu.Lock()
			c.answered = next
			c.mu.Unlock()
		case <-stop:
			return
		}
	}
}

// offsets reads what the group has committed in its two partitions.
func (b *Broker) offsets(t testing.TB, name string) [2]int64 {
	t.Helper()
	answer := make(chan *FetchOffsetsResult, 1)
	b.FetchOffsets(&FetchOffsets{Group: name, Partitions: []TopicPartition{{Topic: "t"}, {Topic: "t", Partition: 1}}},
		func(r *FetchOffsetsResult) { answer <- r })
	r := <-answer
	if r.Code != group.None {
		t.Fatalf("fetch: %v", r.Code)
	}
	return [2]int64{r.Offsets[0].Offset.Offset, r.Offsets[1].Offset.Offset}
}

// TestCommittedOffsetsSurvivePowerCuts cuts the power again and again while offsets are
// committed: none that was answered goes back, none that was not sent shows up,
// and those of one request stay together.
func TestCommittedOffsetsSurvivePowerCuts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewMem()
	committers := make([]*committer, 8)
	for i := range committers {
		committers[i] = &committer{group: fmt.Sprint("g", i)}
	}
	for round := range 12 {
		n := startTestNode(t, fs, 64<<10)
		for _, c := range committers {
			got := n.offsets(t, c.group)
			if got[0] != got[1] || got[0] < c.answered || got[0] > c.sent {
				t.Fatalf("round %d, group %s: offsets %v, answered %d, sent %d", round, c.group, got, c.answered, c.sent)
			}
			c.sent = max(c.sent, got[0])
		}
		fs = cutWhileCommitting(n, fs, committers, rng)
		n.stop(t)
	}
}

// cutWhileCommitting returns what the disk holds after a power cut, and leaves
// in the committers what was answered before it.
func cutWhileCommitting(n *testNode, fs *vfs.Mem, committers []*committer, rng *rand.Rand) *vfs.Mem {
	stop := make(chan struct{})
	var running sync.WaitGroup
	for _, c := range committers {
		running.Go(func() { c.run(n.Broker, stop) })
	}
	for enough := int64(rng.IntN(300)); ; {
		answered := make([]int64, len(committers))
		var all int64
		for i, c := range committers {
			c.mu.Lock()
			answered[i] = c.answered
			all += c.answered
			c.mu.Unlock()
		}
		if enough--; enough > 0 || all == 0 {
			continue
		}
		clone := fs.CrashClone(rng.Uint64())
		close(stop)
		running.Wait()
		for i, c := range committers {
			c.answered = answered[i] // the others were answered by a node that was already dead
		}
		return clone
	}
}

func TestEveryCoordinatorHasItsGroups(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 0)
	defer n.stop(t)
	used := make(map[*Coordinator]int)
	for i := range 64 {
		name := fmt.Sprint("group-", i)
		used[n.coordinator(name)]++
		answer := make(chan *CommitOffsetsResult, 1)
		n.CommitOffsets(&CommitOffsets{Group: name, Generation: -1, Retention: -1, Offsets: []OffsetCommit{
			{TopicPartition: TopicPartition{Topic: "t"}, Offset: 1},
		}}, func(r *CommitOffsetsResult) { answer <- r })
		if r := <-answer; r.Code != group.None {
			t.Fatalf("commit: %v", r.Code)
		}
	}
	if len(used) != 4 {
		t.Fatalf("%d coordinators are used: %v", len(used), used)
	}
	list := make(chan *ListGroupsResult, 1)
	n.ListGroups(func(r *ListGroupsResult) { list <- r })
	if r := <-list; r.Code != group.None || len(r.Groups) != 64 {
		t.Fatalf("%d groups, %v", len(r.Groups), r.Code)
	}
}

func TestGroupsAreMeasured(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 0)
	defer n.stop(t)
	answer := make(chan *CommitOffsetsResult, 1)
	n.CommitOffsets(&CommitOffsets{Group: "g", Generation: -1, Retention: -1, Offsets: []OffsetCommit{
		{TopicPartition: TopicPartition{Topic: "t"}, Offset: 1},
	}}, func(r *CommitOffsetsResult) { answer <- r })
	<-answer
	registry := prometheus.NewRegistry()
	registry.MustRegister(newGroupCollector(n.Broker))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range families {
		names = append(names, f.GetName())
		if f.GetName() != "waybill_groups" {
			continue
		}
		for _, m := range f.GetMetric() {
			want := 0.0
			if m.GetLabel()[0].GetValue() == "Empty" {
				want = 1
			}
			if m.GetGauge().GetValue() != want {
				t.Errorf("%v", m)
			}
		}
	}
	if got := strings.Join(names, " "); got != "waybill_group_members waybill_group_members_evicted_total waybill_group_rebalances_total waybill_groups" {
		t.Errorf("metrics: %s", got)
	}
}
