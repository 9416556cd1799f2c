package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// stockCodecs are the library's names of the codecs.
var stockCodecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// stockKafkaProducer drives franz-go.
type stockKafkaProducer struct {
	client *kgo.Client
	topic  string
	parts  int32
	size   int
	out    *outlet
	once   sync.Once
	failed chan error
}

func (t *kafkaTarget) stockProducer(out *outlet) (worker, error) {
	acks := map[int16]kgo.Acks{-1: kgo.AllISRAcks(), 1: kgo.LeaderAck(), 0: kgo.NoAck()}[t.acks]
	opts := []kgo.Opt{
		kgo.SeedBrokers(t.Bootstrap...), kgo.RequiredAcks(acks), kgo.MaxBufferedRecords(t.load.InFlight),
		kgo.ProducerBatchCompression(stockCodecs[t.Compression]), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
	}
	if !t.Idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	return &stockKafkaProducer{client: c, topic: t.load.Name, parts: int32(len(t.leaders)), size: t.load.Size,
		out: out, failed: make(chan error, 1)}, nil
}

func (p *stockKafkaProducer) close() { p.once.Do(p.client.Close) }

func (p *stockKafkaProducer) run() error {
	template := newBody(p.size)
	var times [1]int64
	for next := int32(0); p.out.take(times[:]) > 0; next = (next + 1) % p.parts {
		due := times[0]
		value := append([]byte(nil), template...) // the library keeps it
		binary.BigEndian.PutUint64(value, uint64(due))
		p.client.Produce(context.Background(), &kgo.Record{Topic: p.topic, Partition: next, Value: value}, func(_ *kgo.Record, err error) {
			if err == nil {
				p.out.confirmed(time.Now().UnixNano(), []int64{due})
				return
			}
			p.out.refuse(1)
			p.out.stop()
			select {
			case p.failed <- fmt.Errorf("produce: %w", err):
			default:
			}
		})
	}
	if err := p.client.Flush(context.Background()); err != nil {
		return err
	}
	select {
	case err := <-p.failed:
		return err
	default:
		return nil
	}
}

// stockKafkaConsumer drives franz-go, as a member of a consumer group.
type stockKafkaConsumer struct {
	client *kgo.Client
	in     *recorder
	once   sync.Once
}

// stockConsumer waits until the group has given the consumer its partitions: a group takes
// its time for that, and it is not what is measured.
func (t *kafkaTarget) stockConsumer(ctx context.Context, in *recorder) (worker, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	assigned := make(chan struct{}, 1)
	opts := []kgo.Opt{
		kgo.SeedBrokers(t.Bootstrap...), kgo.ConsumerGroup(t.load.Name), kgo.ConsumeTopics(t.load.Name),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) {
			select {
			case assigned <- struct{}{}:
			default:
			}
		}),
	}
	if t.Commit > 0 {
		opts = append(opts, kgo.AutoCommitInterval(t.Commit))
	} else {
		opts = append(opts, kgo.DisableAutoCommit())
	}
	c, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	select {
	case <-assigned:
		return &stockKafkaConsumer{client: c, in: in}, nil
	case <-ctx.Done():
		c.Close()
		return nil, fmt.Errorf("join the consumer group: %w", ctx.Err())
	}
}

func (c *stockKafkaConsumer) close() { c.once.Do(c.client.Close) }

func (c *stockKafkaConsumer) run() error {
	var times []int64
	for {
		fetches := c.client.PollFetches(context.Background())
		if fetches.IsClientClosed() {
			return nil
		}
		var failures []error
		fetches.EachError(func(topic string, p int32, err error) {
			failures = append(failures, fmt.Errorf("fetch from %s, partition %d: %w", topic, p, err))
		})
		if err := errors.Join(failures...); err != nil {
			return err
		}
		now := time.Now().UnixNano()
		times = times[:0]
		fetches.EachRecord(func(r *kgo.Record) {
			if len(r.Value) >= minSize {
				times = append(times, int64(binary.BigEndian.Uint64(r.Value)))
			}
		})
		if len(times) > 0 {
			c.in.add(now, times)
		}
	}
}
