package prove

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/test/check"
	"waybill/test/stock"
)

// groupMembers is how many consumers share the topic.
const groupMembers = 2

// groupMode is a topic with a producer, and a consumer group that commits what it has
// processed. An answered commit must never go back, and what lies below it must have been processed.
type groupMode struct {
	r     *rig
	name  string
	topic *kafkaMode
	times timeline // of answered commits

	mu        sync.Mutex
	processed []map[int64]struct{} // by partition
	twice     int
	answered  []int64 // the highest commit that was answered, by partition
	wrong     []string
	final     []int64
}

func newGroupMode(r *rig, name string) *groupMode {
	g := &groupMode{r: r, name: name, topic: newKafkaMode(r, name, idempotent)}
	for range kafkaPartitions {
		g.processed = append(g.processed, map[int64]struct{}{})
		g.answered = append(g.answered, check.NoCommit)
	}
	return g
}

func (g *groupMode) acks() *timeline { return &g.times }

func (g *groupMode) refusals() *stock.Refusals { return g.topic.refusals() }

func (g *groupMode) prepare(ctx context.Context) error { return g.topic.prepare(ctx) }

func (g *groupMode) run(ctx context.Context) {
	var clients sync.WaitGroup
	clients.Go(func() { g.topic.run(ctx) })
	for range groupMembers {
		clients.Go(func() { g.member(ctx) })
	}
	clients.Wait()
}

// member consumes, and commits after processing.
func (g *groupMode) member(ctx context.Context) {
	cl, err := g.r.kafkaClient(
		kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(g.name), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.SessionTimeout(6*time.Second), kgo.HeartbeatInterval(500*time.Millisecond), kgo.RebalanceTimeout(6*time.Second),
	)
	if err != nil {
		g.r.note("%s: %v", g.name, err)
		return
	}
	defer cl.CloseAllowingRebalance()
	for ctx.Err() == nil {
		short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		fetches := cl.PollFetches(short)
		cancel()
		if next := g.process(fetches); len(next) > 0 {
			g.commit(ctx, cl, next)
		}
		cl.AllowRebalance()
	}
}

// process notes what was fetched and returns the offsets after it.
func (g *groupMode) process(fetches kgo.Fetches) map[int32]kgo.EpochOffset {
	next := map[int32]kgo.EpochOffset{}
	g.mu.Lock()
	defer g.mu.Unlock()
	fetches.EachRecord(func(rec *kgo.Record) {
		seen := g.processed[rec.Partition]
		if _, again := seen[rec.Offset]; again {
			g.twice++
		}
		seen[rec.Offset] = struct{}{}
		next[rec.Partition] = kgo.EpochOffset{Epoch: -1, Offset: rec.Offset + 1}
	})
	return next
}

// commit commits, and notes what was answered without an error.
func (g *groupMode) commit(ctx context.Context, cl *kgo.Client, next map[int32]kgo.EpochOffset) {
	limited, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	// With the member's generation, so that a zombie is refused.
	var failed error
	done := make(chan struct{})
	cl.CommitOffsets(limited, map[string]map[int32]kgo.EpochOffset{g.name: next},
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			defer close(done)
			if failed = err; err != nil {
				return
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			for _, t := range resp.Topics {
				for _, p := range t.Partitions {
					if p.ErrorCode == 0 {
						g.answered[p.Partition] = max(g.answered[p.Partition], next[p.Partition].Offset)
						g.times.ack()
					}
				}
			}
		})
	<-done
	if failed != nil && ctx.Err() == nil && !errors.Is(failed, context.DeadlineExceeded) {
		g.r.note("%s: commit: %v", g.name, failed)
	}
}

// drain asks what is committed in the end, and reads the topic.
func (g *groupMode) drain(ctx context.Context) error {
	if err := g.topic.drain(ctx); err != nil {
		return err
	}
	cl, err := g.r.kafkaClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	for {
		resp, err := kadm.NewClient(cl).FetchOffsets(ctx, g.name)
		g.final = make([]int64, kafkaPartitions)
		for i := range g.final {
			one, ok := resp.Lookup(g.name, int32(i))
			switch {
			case err != nil:
			case !ok:
				g.final[i] = check.NoCommit
			default:
				g.final[i], err = one.At, one.Err
			}
		}
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("the committed offsets cannot be read: %w", err)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

func (g *groupMode) outcome() outcome {
	g.mu.Lock()
	defer g.mu.Unlock()
	topic := g.topic.outcome()
	o := outcome{Acked: g.times.count, Duplicated: g.twice, Lost: topic.Lost, Wrong: append(g.wrong, topic.Wrong...)}
	for p, final := range g.final {
		if final < g.answered[p] {
			o.Lost++
			o.Wrong = append(o.Wrong, fmt.Sprintf("partition %d: the commit of %d was answered, and %d is committed", p, g.answered[p], final))
		}
		missed := 0
		for off := range final {
			if _, ok := g.processed[p][off]; !ok {
				missed++
			}
		}
		if missed > 0 {
			o.Lost += missed
			o.Wrong = append(o.Wrong, fmt.Sprintf("partition %d: %d records below the committed offset %d were never delivered", p, missed, final))
		}
	}
	return o
}
