package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kafka says how to reach a Kafka broker, and what is special to the protocol.
type Kafka struct {
	Bootstrap   []string
	Acks        string // all, 1, 0
	Idempotent  bool
	Compression string        // none, gzip, snappy, lz4, zstd
	Commit      time.Duration // between two commits of a consumer; 0: none
	TopicConfig map[string]string
}

// kafkaTarget makes a topic. What is asked seldom goes through franz-go; produce and
// fetch have connections of their own.
type kafkaTarget struct {
	Kafka
	load    Load
	acks    int16
	codec   codec
	client  *kgo.Client
	leaders []string // address of each partition's leader
	begin   []int64  // where consuming begins, by partition
}

// NewKafka makes a target of a Kafka broker. Its producers write to all partitions in
// turn, its consumers share them.
func NewKafka(load Load, k Kafka) (Target, error) {
	if err := load.check(); err != nil {
		return nil, err
	}
	acks := map[string]int16{"all": -1, "-1": -1, "1": 1, "0": 0}
	a, ok := acks[k.Acks]
	if !ok {
		return nil, fmt.Errorf("%w: acks %q are not all, 1 or 0", ErrLoad, k.Acks)
	}
	if k.Idempotent && a != -1 {
		return nil, fmt.Errorf("%w: an idempotent producer needs acks of all, or --idempotent=false", ErrLoad)
	}
	c, ok := codecs[k.Compression]
	if !ok {
		return nil, fmt.Errorf("%w: compression %q is not none, gzip, snappy, lz4 or zstd", ErrLoad, k.Compression)
	}
	return &kafkaTarget{Kafka: k, load: load, acks: a, codec: c}, nil
}

func (t *kafkaTarget) names() (protocol, client string) {
	if t.load.Stock {
		return "kafka", "franz-go"
	}
	return "kafka", "lean"
}

func (t *kafkaTarget) copies() int64 { return 1 }

// adminTimeout bounds each step of setting up.
const adminTimeout = 60 * time.Second

func (t *kafkaTarget) setup(ctx context.Context) (backlog int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	if t.client, err = kgo.NewClient(kgo.SeedBrokers(t.Bootstrap...)); err != nil {
		return 0, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if t.load.Phase != Drain {
		if err := t.createTopic(ctx); err != nil {
			return 0, err
		}
	}
	if err := t.findLeaders(ctx); err != nil {
		return 0, err
	}
	end, err := t.offsets(ctx, -1)
	if err != nil {
		return 0, err
	}
	t.begin = end // what was there before is not ours
	if t.load.Phase == Drain {
		if t.begin, err = t.offsets(ctx, -2); err != nil {
			return 0, err
		}
		for p := range end {
			backlog += end[p] - t.begin[p]
		}
	}
	return backlog, nil
}

// createTopic creates the topic; one that is there is used as it is.
func (t *kafkaTarget) createTopic(ctx context.Context) error {
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = t.load.Name, int32(t.load.Queues), -1
	for name, value := range t.TopicConfig {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = name, &value
		topic.Configs = append(topic.Configs, c)
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = int32(adminTimeout.Milliseconds())
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return fmt.Errorf("create topic %s: %w", t.load.Name, err)
	}
	for _, answer := range resp.Topics {
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil && err != kerr.TopicAlreadyExists {
			return fmt.Errorf("create topic %s: %w", t.load.Name, err)
		}
	}
	return nil
}

// findLeaders waits until every partition has a leader.
func (t *kafkaTarget) findLeaders(ctx context.Context) error {
	for {
		missing, err := t.askLeaders(ctx)
		if err == nil && missing == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("topic %s: %w", t.load.Name, missing)
		case <-time.After(pollInterval):
		}
		if err != nil {
			return err
		}
	}
}

// askLeaders returns what is missing apart from what failed.
func (t *kafkaTarget) askLeaders(ctx context.Context) (missing, err error) {
	req := kmsg.NewPtrMetadataRequest()
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = kmsg.StringPtr(t.load.Name)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return nil, fmt.Errorf("metadata of %s: %w", t.load.Name, err)
	}
	brokers := map[int32]string{}
	for _, b := range resp.Brokers {
		brokers[b.NodeID] = b.Host + ":" + strconv.Itoa(int(b.Port))
	}
	if len(resp.Topics) != 1 {
		return nil, fmt.Errorf("metadata of %s: %d topics", t.load.Name, len(resp.Topics))
	}
	if err := kerr.ErrorForCode(resp.Topics[0].ErrorCode); err != nil {
		return err, nil
	}
	partitions := resp.Topics[0].Partitions
	t.load.Queues = len(partitions)
	t.leaders = make([]string, len(partitions))
	for _, p := range partitions {
		if int(p.Partition) >= len(partitions) || brokers[p.Leader] == "" {
			return fmt.Errorf("partition %d has no leader", p.Partition), nil
		}
		t.leaders[p.Partition] = brokers[p.Leader]
	}
	return nil, nil
}

// offsets asks for the partitions' first (-2) or next (-1) offsets.
func (t *kafkaTarget) offsets(ctx context.Context, which int64) ([]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	topic := kmsg.NewListOffsetsRequestTopic()
	topic.Topic = t.load.Name
	for p := range t.leaders {
		part := kmsg.NewListOffsetsRequestTopicPartition()
		part.Partition, part.Timestamp = int32(p), which
		topic.Partitions = append(topic.Partitions, part)
	}
	req.Topics = append(req.Topics, topic)
	all := make([]int64, len(t.leaders))
	for _, shard := range t.client.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, fmt.Errorf("list offsets: %w", shard.Err)
		}
		for _, topic := range shard.Resp.(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range topic.Partitions {
				if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
					return nil, fmt.Errorf("list offsets of partition %d: %w", p.Partition, err)
				}
				all[p.Partition] = p.Offset
			}
		}
	}
	return all, nil
}

func (t *kafkaTarget) teardown(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	defer t.client.Close()
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = int32(adminTimeout.Milliseconds())
	req.TopicNames = []string{t.load.Name}
	topic := kmsg.NewDeleteTopicsRequestTopic()
	topic.Topic = kmsg.StringPtr(t.load.Name)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, t.client)
	if err != nil {
		return fmt.Errorf("delete topic %s: %w", t.load.Name, err)
	}
	for _, answer := range resp.Topics {
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
			return fmt.Errorf("delete topic %s: %w", t.load.Name, err)
		}
	}
	return nil
}

func (t *kafkaTarget) ping(ctx context.Context) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(t.Bootstrap...), kgo.RequestRetries(0))
	if err != nil {
		return err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return c.Ping(ctx)
}

func (t *kafkaTarget) producer(ctx context.Context, _ int, out *outlet) (worker, error) {
	if t.load.Stock {
		return t.stockProducer(out)
	}
	return t.leanProducer(ctx, out)
}

func (t *kafkaTarget) consumer(ctx context.Context, i int, in *recorder) (worker, error) {
	if t.load.Stock {
		return t.stockConsumer(ctx, in)
	}
	return t.leanConsumer(ctx, i, in)
}
