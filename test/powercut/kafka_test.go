//go:build linux

package powercut_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/test/check"
)

const (
	topic      = "powercut"
	partitions = 4
	group      = "powercut"

	produceWindow = 300 // unanswered records of a producer
)

// kafkaLoad is a topic with two idempotent producers and a consumer, and a
// group that commits offsets. One producer and the consumer live as long as
// the rig: what they do goes on after every cut. The other producer is new in
// every cycle and forgets what was not answered.
type kafkaLoad struct {
	r          *rig
	checker    check.Kafka
	commits    check.Commits
	partitions []*check.Partition
	survivor   *producer
	committed  int64 // the last offset that was tried
}

// producer sends values in order, with a window of its own: a client that
// waits for room in its buffer would wait for a dead broker.
type producer struct {
	client *kgo.Client
	next   check.Value
	window chan struct{}
	lives  bool // through the cut: everything must be acked in the end
}

func (l *kafkaLoad) producer(id uint32, lives bool) *producer {
	return &producer{
		client: l.client(), next: check.Value{Producer: id}, window: make(chan struct{}, produceWindow), lives: lives,
	}
}

func newKafkaLoad(r *rig) *kafkaLoad {
	l := &kafkaLoad{r: r}
	for i := range int32(partitions) {
		l.partitions = append(l.partitions, l.checker.Partition(topic, i))
	}
	l.survivor = l.producer(1, true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := kadm.NewClient(l.survivor.client).CreateTopic(ctx, partitions, 1, nil, topic)
	if err == nil {
		err = resp.Err
	}
	if err != nil {
		r.t.Fatal(err)
	}
	consumer := l.client(l.from(0))
	var polling sync.WaitGroup
	polling.Go(func() { l.poll(consumer) })
	r.t.Cleanup(func() {
		l.survivor.client.Close()
		consumer.Close()
		polling.Wait()
	})
	return l
}

// client makes a client that comes back quickly after a restart.
func (l *kafkaLoad) client(opts ...kgo.Opt) *kgo.Client {
	cl, err := kgo.NewClient(append(opts,
		kgo.SeedBrokers(l.r.broker.Kafka),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), // of the values little would be left
		kgo.MaxBufferedRecords(2*produceWindow),
		kgo.RetryBackoffFn(func(int) time.Duration { return 5 * time.Millisecond }),
		kgo.MetadataMinAge(10*time.Millisecond),
		kgo.RetryTimeout(patience),
		kgo.RequestRetries(1<<20),
		kgo.FetchMaxWait(50*time.Millisecond),
	)...)
	if err != nil {
		l.r.t.Fatal(err)
	}
	return cl
}

// from consumes all partitions from that offset on.
func (l *kafkaLoad) from(offset int64) kgo.Opt {
	at := make(map[int32]kgo.Offset)
	for i := range int32(partitions) {
		at[i] = kgo.NewOffset().At(offset)
	}
	return kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: at})
}

// start starts the clients of a cycle.
func (l *kafkaLoad) start(ctx context.Context, clients *sync.WaitGroup) error {
	fresh := l.producer(uint32(1000+l.r.cycles), false)
	for _, p := range []*producer{l.survivor, fresh} {
		rng := rand.New(rand.NewPCG(l.r.rng.Uint64(), 3))
		clients.Go(func() { l.produce(ctx, p, rng) })
	}
	clients.Go(func() { l.commit(ctx) })
	return nil
}

// produce sends as fast as the window lets it.
func (l *kafkaLoad) produce(ctx context.Context, p *producer, rng *rand.Rand) {
	if !p.lives {
		defer p.client.Close()
	}
	for {
		select {
		case p.window <- struct{}{}:
		case <-ctx.Done():
			return
		}
		v := p.next
		p.next.Counter++
		part := int32(rng.IntN(partitions))
		l.checker.Attempt(v)
		size := rng.IntN(1000)
		if rng.IntN(2) == 0 { // large enough for WAL files to be kept
			size += 4 << 10
		}
		rec := &kgo.Record{Topic: topic, Partition: part, Value: v.Payload(size)}
		p.client.Produce(context.Background(), rec, func(rec *kgo.Record, err error) {
			switch {
			case err == nil:
				l.partitions[part].Acked(v, rec.Offset)
			case p.lives || l.r.power.Load():
				l.r.problem("%v failed for good: %v", v, err)
			}
			<-p.window
		})
	}
}

func (l *kafkaLoad) number(p *check.Partition) int32 {
	for i, q := range l.partitions {
		if p == q {
			return int32(i)
		}
	}
	panic("no such partition")
}

// poll consumes until the client is closed.
func (l *kafkaLoad) poll(cl *kgo.Client) {
	c := l.checker.Consumer()
	for {
		fetches := cl.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return
		}
		fetches.EachError(func(t string, p int32, err error) { l.r.failed(fmt.Sprintf("fetch of %s/%d", t, p), err) })
		c.Polled(l.records(fetches))
	}
}

func (l *kafkaLoad) records(fetches kgo.Fetches) (recs []check.Polled) {
	fetches.EachRecord(func(rec *kgo.Record) {
		v, err := check.ParsePayload(rec.Value)
		if err != nil {
			l.checker.Malformed(fmt.Errorf("offset %d of partition %d: %w", rec.Offset, rec.Partition, err))
			return
		}
		recs = append(recs, check.Polled{Partition: l.partitions[rec.Partition], Offset: rec.Offset, Value: v})
	})
	return recs
}

// commit commits one offset after the other, until the power is cut.
func (l *kafkaLoad) commit(ctx context.Context) {
	cl := l.client()
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for ctx.Err() == nil {
		l.committed++
		var offsets kadm.Offsets
		for i := range int32(partitions) {
			offsets.AddOffset(topic, i, l.committed, -1)
			l.commits.Attempt(group, topic, i, l.committed)
		}
		resp, err := admin.CommitOffsets(ctx, group, offsets)
		if ctx.Err() != nil || l.r.failed("commit", err) {
			return
		}
		for i := range int32(partitions) {
			one, ok := resp.Lookup(topic, i)
			if !ok {
				one.Err = errors.New("no answer")
			}
			// Without power it is the client that does not find the topic.
			if l.r.failed("commit", one.Err) {
				return
			}
			l.commits.Answered(group, topic, i, l.committed)
		}
	}
}

// fetchCommits looks at what is committed, while nobody commits.
func (l *kafkaLoad) fetchCommits(ctx context.Context) error {
	cl := l.client()
	defer cl.Close()
	resp, err := kadm.NewClient(cl).FetchOffsets(ctx, group)
	if err != nil {
		return err
	}
	for i := range int32(partitions) {
		one, ok := resp.Lookup(topic, i)
		switch {
		case !ok:
			l.commits.Fetched(group, topic, i, check.NoCommit)
		case one.Err != nil:
			return one.Err
		default:
			l.commits.Fetched(group, topic, i, one.At)
		}
	}
	return nil
}

// drain reads the topic from its start to its end. The last time, the
// surviving producer has to come to an end before.
func (l *kafkaLoad) drain(ctx context.Context, last bool) error {
	if last {
		if err := l.survivor.client.Flush(ctx); err != nil {
			return fmt.Errorf("the surviving producer does not finish: %w", err)
		}
	}
	cl := l.client(l.from(0))
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	next, left := make([]int64, partitions), 0
	for i := range int32(partitions) {
		end, ok := ends.Lookup(topic, i)
		if !ok || end.Err != nil {
			return fmt.Errorf("no end offset of partition %d: %w", i, end.Err)
		}
		if end.Offset > 0 {
			left++
		}
	}
	for left > 0 {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, rec := range l.records(fetches) {
			rec.Partition.Seen(rec.Value, rec.Offset)
			i := l.number(rec.Partition)
			end, _ := ends.Lookup(topic, i)
			if next[i] < end.Offset && rec.Offset+1 >= end.Offset {
				left--
			}
			next[i] = rec.Offset + 1
		}
	}
	for i, p := range l.partitions {
		p.Drained(0, next[i])
	}
	return nil
}
