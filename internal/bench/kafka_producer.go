package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// How a producer batches: a request takes at most a quarter of the window, so that others are
// under way while one is answered, and at most as many bytes as a broker takes by default.
const (
	requestsPerWindow = 4
	requestsInFlight  = 5 // what brokers keep in order for an idempotent producer
	batchBytes        = 1_000_000
	requestBytes      = 8 << 20
	produceVersion    = 7
	produceTimeout    = 30_000 // milliseconds
)

// kafkaProducer writes to all partitions in turn, one request per leader and turn.
type kafkaProducer struct {
	out    *outlet
	topic  string
	acks   int16
	batch  batchWriter
	turn   int // next partition
	chunk  int // most records of a turn
	paced  bool
	parts  []producedPartition
	links  []*produceLink
	closed sync.Once
}

// producedPartition is what a producer keeps of a partition.
type producedPartition struct {
	link     *produceLink
	sequence int32
	times    []int64 // of the records of this turn
}

// produceLink is the connection to a leader.
type produceLink struct {
	conn       *kafkaConn
	partitions []int32
	waiting    chan []int64 // times of the records of each request under way
	free       chan []int64 // to be used again
	buf        []byte
}

func (t *kafkaTarget) leanProducer(ctx context.Context, out *outlet) (worker, error) {
	p := &kafkaProducer{out: out, topic: t.load.Name, acks: t.acks, paced: t.load.Rate > 0}
	p.batch = batchWriter{producerID: -1, producerEpoch: -1, body: newBody(t.load.Size), codec: t.codec}
	room := batchBytes / (t.load.Size + 32) * len(t.leaders)
	p.chunk = max(1, min(t.load.InFlight/requestsPerWindow, room, requestBytes/t.load.Size))
	if t.Idempotent {
		req := kmsg.NewPtrInitProducerIDRequest()
		resp, err := req.RequestWith(ctx, t.client)
		if err == nil {
			err = kerr.ErrorForCode(resp.ErrorCode)
		}
		if err != nil {
			return nil, fmt.Errorf("producer id: %w", err)
		}
		p.batch.producerID, p.batch.producerEpoch = resp.ProducerID, resp.ProducerEpoch
	}
	links := map[string]*produceLink{}
	for i, addr := range t.leaders {
		l := links[addr]
		if l == nil {
			c, err := dialKafka(ctx, addr)
			if err != nil {
				p.close()
				return nil, err
			}
			l = &produceLink{conn: c, waiting: make(chan []int64, requestsInFlight-1), free: make(chan []int64, requestsInFlight+1)}
			links[addr] = l
			p.links = append(p.links, l)
		}
		l.partitions = append(l.partitions, int32(i))
		p.parts = append(p.parts, producedPartition{link: l})
	}
	return p, nil
}

func (p *kafkaProducer) close() {
	p.closed.Do(func() {
		for _, l := range p.links {
			l.conn.close()
		}
	})
}

func (p *kafkaProducer) run() error {
	failures := make([]error, len(p.links)+1)
	var wg sync.WaitGroup
	for i, l := range p.links {
		wg.Go(func() {
			failures[i] = p.read(l)
			if failures[i] != nil {
				p.out.stop()
				p.close()
				for range l.waiting { // the writer must not wait for ever
				}
			}
		})
	}
	failures[len(p.links)] = p.write()
	for _, l := range p.links {
		close(l.waiting)
	}
	wg.Wait()
	p.close()
	return errors.Join(failures...)
}

func (p *kafkaProducer) write() error {
	if p.paced {
		keepThread()
	}
	times := make([]int64, p.chunk)
	for {
		n := p.out.take(times)
		if n == 0 {
			return nil
		}
		p.spread(times[:n])
		for _, l := range p.links {
			if err := p.send(l); err != nil {
				return err
			}
		}
	}
}

// spread gives the partitions their shares: in turn, the same number each.
func (p *kafkaProducer) spread(times []int64) {
	each := max(1, len(times)/len(p.parts))
	for len(times) > 0 {
		n := min(each, len(times))
		part := &p.parts[p.turn]
		part.times = append(part.times, times[:n]...)
		times = times[n:]
		if p.turn++; p.turn == len(p.parts) {
			p.turn = 0
		}
	}
}

// send writes the link's share of a turn as one request.
func (p *kafkaProducer) send(l *produceLink) error {
	var times []int64
	select {
	case times = <-l.free:
	default:
	}
	times = times[:0]
	b := l.conn.begin(l.buf[:0], int16(kmsg.Produce), produceVersion)
	b = binary.BigEndian.AppendUint16(b, 1<<16-1) // no transaction
	b = binary.BigEndian.AppendUint16(b, uint16(p.acks))
	b = binary.BigEndian.AppendUint32(b, produceTimeout)
	b = binary.BigEndian.AppendUint32(b, 1)
	b = appendString(b, p.topic)
	countAt, count := len(b), 0
	b = binary.BigEndian.AppendUint32(b, 0)
	for _, i := range l.partitions {
		part := &p.parts[i]
		if len(part.times) == 0 {
			continue
		}
		count++
		b = binary.BigEndian.AppendUint32(b, uint32(i))
		at := len(b)
		b = binary.BigEndian.AppendUint32(b, 0)
		b = p.batch.append(b, p.sequence(part), part.times)
		binary.BigEndian.PutUint32(b[at:], uint32(len(b)-at-4))
		times = append(times, part.times...)
		part.times = part.times[:0]
	}
	l.buf = b
	if count == 0 {
		l.conn.asked-- // it was begun for nothing
		return nil
	}
	binary.BigEndian.PutUint32(b[countAt:], uint32(count))
	if p.acks != 0 {
		l.waiting <- times
	}
	if _, err := l.conn.Write(l.conn.end(b)); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	if p.acks == 0 { // nobody answers
		p.out.confirmed(time.Now().UnixNano(), times)
	}
	return nil
}

// sequence returns the number of a partition's next record and counts those of this
// turn. Numbers begin anew after the largest.
func (p *kafkaProducer) sequence(part *producedPartition) int32 {
	if p.batch.producerID < 0 {
		return -1
	}
	s := part.sequence
	part.sequence = int32((int64(s) + int64(len(part.times))) & (1<<31 - 1))
	return s
}

// read takes the answers of the requests that were sent.
func (p *kafkaProducer) read(l *produceLink) error {
	for times := range l.waiting {
		b, err := l.conn.answer()
		if err != nil {
			return fmt.Errorf("answer to produce: %w", err)
		}
		now := time.Now().UnixNano()
		resp := kmsg.ProduceResponse{Version: produceVersion}
		if err := resp.ReadFrom(b); err != nil {
			return fmt.Errorf("answer to produce: %w", err)
		}
		for _, topic := range resp.Topics {
			for _, part := range topic.Partitions {
				if err := kerr.ErrorForCode(part.ErrorCode); err != nil {
					return fmt.Errorf("produce to partition %d: %w", part.Partition, err)
				}
			}
		}
		p.out.confirmed(now, times)
		select {
		case l.free <- times:
		default:
		}
	}
	return nil
}
