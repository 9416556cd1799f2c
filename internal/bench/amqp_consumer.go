package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"waybill/internal/amqp/spec"
)

// amqpConsumer consumes queues and acknowledges what it has read with one
// write for each read.
type amqpConsumer struct {
	conn     *amqpConn
	in       *recorder
	ackEvery int

	ack     spec.BasicAck // of the last delivery that was read whole
	unacked int           // deliveries since the last ack
	tag     uint64        // of the delivery that is being read
	body    uint64        // bytes of it that are to come
	first   bool          // whether its next body frame is the first
	times   []int64       // of the messages of this read
	out     []byte        // acks to be written
}

func (t *amqpTarget) leanConsumer(ctx context.Context, i int, in *recorder) (worker, error) {
	c, err := dialAMQP(ctx, t.URL)
	if err != nil {
		return nil, err
	}
	if err := t.subscribe(c, i); err != nil {
		c.close()
		return nil, err
	}
	return &amqpConsumer{conn: c, in: in, ackEvery: t.AckEvery}, nil
}

func (t *amqpTarget) subscribe(c *amqpConn, i int) error {
	if _, err := c.call(&spec.BasicQos{PrefetchCount: uint16(t.Prefetch)}, spec.BasicQosOKID); err != nil {
		return err
	}
	// Without waiting for the answers: deliveries may come before them.
	var b []byte
	for _, q := range share(i, t.load.Consumers, t.load.Queues) {
		b = appendMethod(b, channel, &spec.BasicConsume{
			Queue: t.queue(q), ConsumerTag: fmt.Sprint("c", q), NoAck: t.AckEvery == 0, NoWait: true})
	}
	_, err := c.Write(b)
	return err
}

func (c *amqpConsumer) close() { c.conn.finish() }

func (c *amqpConsumer) run() error {
	defer c.conn.close()
	for {
		if err := c.conn.fill(); err != nil {
			return fmt.Errorf("consume: %w", err)
		}
		now := time.Now().UnixNano()
		c.times, c.out = c.times[:0], c.out[:0]
		for {
			f, ok, err := c.conn.frame()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if err := c.frame(f); err != nil {
				return err
			}
		}
		if c.unacked > 0 { // nothing more is here: the broker may wait for it
			c.acknowledge()
		}
		if len(c.out) > 0 {
			if _, err := c.conn.Write(c.out); err != nil {
				return fmt.Errorf("ack: %w", err)
			}
		}
		if len(c.times) > 0 {
			c.in.add(now, c.times)
		}
	}
}

// frame takes the next frame of the stream.
func (c *amqpConsumer) frame(f frame) error {
	switch f.kind {
	case spec.FrameMethod:
		return c.method(f.payload)
	case spec.FrameHeader:
		if len(f.payload) < 12 {
			return errFrame
		}
		c.body, c.first = binary.BigEndian.Uint64(f.payload[4:]), true
		if c.body < minSize {
			return fmt.Errorf("a message of %d bytes is not one of ours", c.body)
		}
	case spec.FrameBody:
		if uint64(len(f.payload)) > c.body || c.first && len(f.payload) < minSize {
			return errFrame
		}
		if c.first {
			c.times = append(c.times, int64(binary.BigEndian.Uint64(f.payload)))
			c.first = false
		}
		if c.body -= uint64(len(f.payload)); c.body == 0 {
			c.received()
		}
	}
	return nil
}

func (c *amqpConsumer) method(payload []byte) error {
	id, args, err := spec.SplitID(payload)
	if err != nil {
		return err
	}
	if id != spec.BasicDeliverID {
		return unexpected(id, args)
	}
	var m spec.BasicDeliver
	if err := m.Decode(args); err != nil {
		return err
	}
	c.tag = m.DeliveryTag
	return nil
}

// received counts a delivery that was read whole.
func (c *amqpConsumer) received() {
	c.ack.DeliveryTag = c.tag
	if c.ackEvery == 0 {
		return
	}
	if c.unacked++; c.unacked >= c.ackEvery {
		c.acknowledge()
	}
}

func (c *amqpConsumer) acknowledge() {
	c.ack.Multiple = c.unacked > 1
	c.out = appendMethod(c.out, channel, &c.ack)
	c.unacked = 0
}
