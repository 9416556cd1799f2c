package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/test/check"
	"waybill/test/stock"
)

// Sizes and paces of the Kafka load.
const (
	kafkaPartitions = 2
	kafkaWindow     = 100
	kafkaPace       = 4 * time.Millisecond
)

// acksKind is what a producer asks for.
type acksKind int

const (
	acksNone acksKind = iota
	acksLeader
	acksAll
	idempotent
)

// options of a client for the kind.
func (k acksKind) options() []kgo.Opt {
	switch k {
	case acksNone:
		return []kgo.Opt{kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()}
	case acksLeader:
		return []kgo.Opt{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)}
	case acksAll:
		return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)}
	default:
		return []kgo.Opt{kgo.RequiredAcks(kgo.AllISRAcks())}
	}
}

// kafkaMode is a topic with a producer that lives as long as the run.
type kafkaMode struct {
	r       *rig
	name    string // of the topic, too
	kind    acksKind
	checker check.Kafka
	parts   []*check.Partition
	times   timeline
	told    stock.Refusals
	failed  int // records that the client gave up
	mu      sync.Mutex
}

func newKafkaMode(r *rig, name string, kind acksKind) *kafkaMode {
	m := &kafkaMode{r: r, name: name, kind: kind}
	for i := range int32(kafkaPartitions) {
		m.parts = append(m.parts, m.checker.Partition(name, i))
	}
	return m
}

func (m *kafkaMode) acks() *timeline {
	if m.kind == acksNone {
		return nil
	}
	return &m.times
}

// kafkaClient makes a client that comes back quickly.
func (r *rig) kafkaClient(opts ...kgo.Opt) (*kgo.Client, error) {
	return stock.Kafka(r.cluster.Kafka(), r.links.dial, opts...)
}

func (m *kafkaMode) refusals() *stock.Refusals { return &m.told }

// createTopic creates a topic with as many replicas as there may be.
func (r *rig) createTopic(ctx context.Context, partitions int32, name string) error {
	cl, err := r.kafkaClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	resp, err := kadm.NewClient(cl).CreateTopic(ctx, partitions, -1, nil, name)
	if err == nil {
		err = resp.Err
	}
	if errors.Is(err, kerr.TopicAlreadyExists) { // the answer to the first attempt was lost
		return nil
	}
	return err
}

func (m *kafkaMode) prepare(ctx context.Context) error {
	return m.r.createTopic(ctx, kafkaPartitions, m.name)
}

func (m *kafkaMode) run(ctx context.Context) {
	cl, err := m.r.kafkaClient(append(m.kind.options(), m.told.Ear(), kgo.ProducerBatchCompression(m.r.codec()))...)
	if err != nil {
		m.r.note("%s: %v", m.name, err)
		return
	}
	defer cl.Close()
	next := m.r.producer()
	window := make(chan struct{}, kafkaWindow)
	pace := time.NewTicker(m.r.pace(kafkaPace))
	defer pace.Stop()
	for ctx.Err() == nil {
		select {
		case <-pace.C:
		case <-ctx.Done():
			continue
		}
		select {
		case window <- struct{}{}:
			m.produce(cl, next, window)
			next.Counter++
		case <-ctx.Done():
		}
	}
	last, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := cl.Flush(last); err != nil {
		m.r.note("%s: what was sent last is not answered: %v", m.name, err)
	}
}

func (m *kafkaMode) produce(cl *kgo.Client, v check.Value, window chan struct{}) {
	part := rand.Int32N(kafkaPartitions)
	m.checker.Attempt(v)
	rec := &kgo.Record{Topic: m.name, Partition: part, Value: m.r.body(v)}
	cl.Produce(context.Background(), rec, func(rec *kgo.Record, err error) {
		switch {
		case err != nil:
			m.mu.Lock()
			m.failed++
			m.mu.Unlock()
			m.r.note("%s: %v: %v", m.name, v, err)
			m.told.Error(err)
		case m.kind != acksNone:
			m.parts[part].Acked(v, rec.Offset)
			m.times.ack()
		}
		<-window
	})
}

// drain reads the topic from its start to its end.
func (m *kafkaMode) drain(ctx context.Context) error {
	at := map[int32]kgo.Offset{}
	for i := range int32(kafkaPartitions) {
		at[i] = kgo.NewOffset().At(0)
	}
	cl, err := m.r.kafkaClient(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{m.name: at}))
	if err != nil {
		return err
	}
	defer cl.Close()
	ends, err := m.r.endOffsets(ctx, cl, m.name, kafkaPartitions)
	if err != nil {
		return err
	}
	next := make([]int64, kafkaPartitions)
	for left(next, ends) {
		fetches := cl.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("read up to %v of %v: %w", next, ends, err)
		}
		fetches.EachRecord(func(rec *kgo.Record) {
			next[rec.Partition] = rec.Offset + 1
			v, err := check.ParsePayload(rec.Value)
			if err != nil {
				m.checker.Malformed(fmt.Errorf("offset %d of partition %d: %w", rec.Offset, rec.Partition, err))
				return
			}
			m.parts[rec.Partition].Seen(v, rec.Offset)
		})
	}
	for i, p := range m.parts {
		p.Drained(0, next[i])
	}
	return nil
}

// endOffsets asks until every partition has told.
func (r *rig) endOffsets(ctx context.Context, cl *kgo.Client, topic string, partitions int) ([]int64, error) {
	for {
		ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
		all := make([]int64, partitions)
		for i := range all {
			end, ok := ends.Lookup(topic, int32(i))
			if err == nil && !ok {
				err = errors.New("a partition is missing")
			}
			if err == nil {
				err = end.Err
			}
			all[i] = end.Offset
		}
		if err == nil || ctx.Err() != nil {
			return all, err
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// left reports whether something is to be read yet.
func left(next, ends []int64) bool {
	for i := range ends {
		if next[i] < ends[i] {
			return true
		}
	}
	return false
}

func (m *kafkaMode) outcome() outcome {
	rep := m.checker.Report()
	o := outcome{Acked: rep.Acked, Lost: rep.Count(check.Lost) + rep.Count(check.Unseen), Duplicated: rep.Duplicates, Nacked: m.failed}
	allowed := []check.Kind{check.Lost, check.Unseen}
	switch m.kind {
	case idempotent:
	case acksNone:
		o.Lost = rep.Attempted - rep.Received
		allowed = append(allowed, check.Duplicated)
	default: // a batch whose answer was lost is sent again: it may be there twice, and at two places
		allowed = append(allowed, check.Duplicated, check.NonmonotonicSend)
	}
	if err := rep.Err(allowed...); err != nil {
		o.Wrong = append(o.Wrong, err.Error())
	}
	return o
}
