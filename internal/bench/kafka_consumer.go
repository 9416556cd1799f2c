package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What a fetch asks for: the defaults of Kafka's own consumer.
const (
	fetchVersion      = 11
	fetchWait         = 500 // milliseconds
	fetchBytes        = 50 << 20
	fetchPartitionMax = 1 << 20
)

// kafkaConsumer fetches its share of the partitions, without a group, and commits offsets in
// the name of one.
type kafkaConsumer struct {
	target *kafkaTarget
	in     *recorder
	links  []*fetchLink
	end    context.CancelFunc
	ctx    context.Context
}

// fetchLink is the connection to a leader. The next fetch is sent before
// the records of the last are looked at.
type fetchLink struct {
	conn       *kafkaConn
	partitions []fetchedPartition
	index      map[int32]int
	times      []int64
	request    []byte
}

type fetchedPartition struct {
	id   int32
	next atomic.Int64 // offset to fetch, and to commit
}

func (t *kafkaTarget) leanConsumer(ctx context.Context, i int, in *recorder) (worker, error) {
	c := &kafkaConsumer{target: t, in: in}
	shares := map[string][]int{}
	for p := i; p < len(t.leaders); p += t.load.Consumers { // a partition has one consumer
		shares[t.leaders[p]] = append(shares[t.leaders[p]], p)
	}
	for addr, parts := range shares {
		conn, err := dialKafka(ctx, addr)
		if err != nil {
			return nil, err
		}
		l := &fetchLink{conn: conn, partitions: make([]fetchedPartition, len(parts)), index: map[int32]int{}}
		for k, p := range parts {
			l.partitions[k].id = int32(p)
			l.partitions[k].next.Store(t.begin[p])
			l.index[int32(p)] = k
		}
		c.links = append(c.links, l)
	}
	c.ctx, c.end = context.WithCancel(context.WithoutCancel(ctx))
	return c, nil
}

func (c *kafkaConsumer) close() {
	c.end()
	for _, l := range c.links {
		l.conn.close()
	}
}

func (c *kafkaConsumer) run() error {
	failures := make([]error, len(c.links)+1)
	var wg sync.WaitGroup
	for i, l := range c.links {
		wg.Go(func() {
			failures[i] = c.fetch(l)
			c.end()
		})
	}
	failures[len(c.links)] = c.commit()
	wg.Wait()
	return errors.Join(failures...)
}

func (c *kafkaConsumer) fetch(l *fetchLink) error {
	inflate := kgo.DefaultDecompressor()
	if err := c.ask(l); err != nil {
		return err
	}
	for {
		b, err := l.conn.answer()
		if err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		now := time.Now().UnixNano()
		resp := kmsg.FetchResponse{Version: fetchVersion}
		if err := resp.ReadFrom(b); err != nil {
			return fmt.Errorf("fetch: %w", err)
		}
		batches, err := l.advance(&resp)
		if err != nil {
			return err
		}
		if err := c.ask(l); err != nil {
			return err
		}
		l.times = l.times[:0]
		for i := range batches {
			if l.times, err = batches[i].appendTimes(l.times, batches[i].from, inflate); err != nil {
				return err
			}
		}
		if len(l.times) > 0 {
			c.in.add(now, l.times)
		}
	}
}

// fetchedBatch is a batch of which the records from an offset on are wanted.
type fetchedBatch struct {
	batchSpan
	from int64
}

// advance moves the offsets behind the batches that came.
func (l *fetchLink) advance(resp *kmsg.FetchResponse) ([]fetchedBatch, error) {
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	var batches []fetchedBatch
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("fetch from partition %d: %w", p.Partition, err)
			}
			i, ok := l.index[p.Partition]
			if !ok {
				return nil, fmt.Errorf("partition %d came, but was not asked for", p.Partition)
			}
			part := &l.partitions[i]
			for b := p.RecordBatches; ; {
				span, rest, ok, err := splitBatch(b)
				if err != nil {
					return nil, fmt.Errorf("partition %d: %w", p.Partition, err)
				}
				if !ok {
					break
				}
				batches = append(batches, fetchedBatch{span, part.next.Load()})
				part.next.Store(max(part.next.Load(), span.next))
				b = rest
			}
		}
	}
	return batches, nil
}

// ask sends a fetch.
func (c *kafkaConsumer) ask(l *fetchLink) error {
	req := kmsg.NewFetchRequest()
	req.Version, req.MaxWaitMillis, req.MinBytes, req.MaxBytes = fetchVersion, fetchWait, 1, fetchBytes
	req.SessionEpoch = -1 // no session
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = c.target.load.Name
	topic.Partitions = make([]kmsg.FetchRequestTopicPartition, len(l.partitions))
	for i := range l.partitions {
		p := kmsg.NewFetchRequestTopicPartition()
		p.Partition, p.FetchOffset, p.PartitionMaxBytes = l.partitions[i].id, l.partitions[i].next.Load(), fetchPartitionMax
		topic.Partitions[i] = p
	}
	req.Topics = append(req.Topics, topic)
	l.request = l.conn.end(req.AppendTo(l.conn.begin(l.request[:0], int16(kmsg.Fetch), fetchVersion)))
	if _, err := l.conn.Write(l.request); err != nil {
		return fmt.Errorf("fetch: %w", err)
	}
	return nil
}

// commit commits the offsets at every interval, until the consumer ends.
func (c *kafkaConsumer) commit() error {
	if c.target.Commit == 0 || len(c.links) == 0 {
		<-c.ctx.Done()
		return nil
	}
	tick := time.NewTicker(c.target.Commit)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := c.commitOnce(); err != nil && c.ctx.Err() == nil {
			return fmt.Errorf("commit offsets: %w", err)
		}
	}
}

func (c *kafkaConsumer) commitOnce() error {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group = c.target.load.Name
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = c.target.load.Name
	for _, l := range c.links {
		for i := range l.partitions {
			p := kmsg.NewOffsetCommitRequestTopicPartition()
			p.Partition, p.Offset = l.partitions[i].id, l.partitions[i].next.Load()
			topic.Partitions = append(topic.Partitions, p)
		}
	}
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(c.ctx, c.target.client)
	if err != nil {
		return err
	}
	for _, topic := range resp.Topics {
		for _, p := range topic.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}
