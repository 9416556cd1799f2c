package amqp

import (
	"math"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// consumer is one broker subscription of a channel: that of basic.consume, or
// the one behind basic.get. It is the subscription's [broker.Sink].
type consumer struct {
	ch      *channel
	tag     []byte // consumer tag; none for basic.get
	queue   string
	address string // of direct reply-to, "" for other consumers; sub is nil for it
	noAck   bool
	pull    bool // for basic.get
	silent  bool // no consume-ok: the client asked not to wait

	// sub is set before the first delivery, under ch.mu, and never changes.
	sub *broker.Subscription

	// Guarded by ch.mu.
	limit     int  // prefetch window, 0 for none
	held      int  // deliveries that fill the window: unsettled, or on their way
	taken     int  // bytes reserved in the output for deliveries on their way
	full      bool // paused because a window was full
	ended     bool // canceled by the client
	losses    int  // how often the broker said that what was delivered will be delivered again
	queueGone bool // ended by the broker; there is nothing left to settle

	starved bool // paused for want of output room; guarded by output.mu

	// Owned by the reader goroutine: settlements that were not handed over yet.
	outcome broker.Outcome
	batch   []record.Offset
}

// deliveryOverhead is the room that a delivery takes in the output beyond the
// stored form of its message, for a message of one body frame.
const deliveryOverhead = 64

func (c *consumer) room(size int) int { return size + deliveryOverhead + len(c.tag) }

// Take implements broker.Sink.
func (c *consumer) Take(_ *broker.Subscription, size int) bool {
	ch := c.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.closed || c.ended {
		return false // the subscription is about to end
	}
	if !c.noAck && !c.hasCredit() {
		c.waitCredit()
		return false
	}
	n := c.room(size)
	if !ch.conn.out.reserve(c, n) {
		return false
	}
	c.taken += n
	if !c.noAck {
		c.held++
		ch.held++
	}
	return true
}

// waitCredit notes that c is to be resumed when the prefetch windows have room.
// Under ch.mu.
func (c *consumer) waitCredit() {
	if !c.full {
		c.full = true
		c.ch.full = append(c.ch.full, c)
	}
}

// Room implements broker.Sink.
func (c *consumer) Room(*broker.Subscription) (messages, bytes int) {
	ch := c.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.closed || c.ended {
		return 0, 0
	}
	messages = math.MaxInt32
	if !c.noAck {
		if c.limit > 0 {
			messages = c.limit - c.held
		}
		if ch.limit > 0 {
			messages = min(messages, ch.limit-ch.held)
		}
		if messages <= 0 {
			c.waitCredit()
			return 0, 0
		}
	}
	if bytes = ch.conn.out.room(c); bytes == 0 {
		return 0, 0
	}
	return messages, bytes
}

// hasCredit reports whether the prefetch windows have room. Under ch.mu.
func (c *consumer) hasCredit() bool {
	return (c.limit == 0 || c.held < c.limit) && (c.ch.limit == 0 || c.ch.held < c.ch.limit)
}

// Deliver implements broker.Sink.
func (c *consumer) Deliver(_ *broker.Subscription, d *broker.Delivery) {
	ch := c.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.closed {
		return // the subscription's end puts the message back
	}
	n := min(c.taken, c.room(d.Message.EncodedLen()))
	c.taken -= n
	ch.encodeDelivery(c, d, n)
}

// encodeDelivery gives a delivery its tag and appends its frames to the output, in which
// reserved bytes are set aside for it. Under mu, so that tags ascend on the wire.
func (ch *channel) encodeDelivery(c *consumer, d *broker.Delivery, reserved int) {
	m := spec.BasicDeliver{
		ConsumerTag: c.tag,
		DeliveryTag: ch.track(c, d.Offset),
		Redelivered: d.Redelivered,
		Exchange:    d.Message.Exchange,
		RoutingKey:  d.Message.RoutingKey,
	}
	out := ch.conn.out
	out.lock()
	out.reserved -= reserved
	b, at := beginFrame(out.buf, spec.FrameMethod, ch.id)
	b = endFrame(m.Append(b), at)
	out.buf = appendContent(b, ch.id, ch.conn.frameMax, &d.Message)
	out.unlock()
	ch.conn.metrics.delivered(d)
}

// staleOffset stands in a delivery for a message that will be delivered again.
const staleOffset record.Offset = -1

// Lost implements broker.Sink: the client may settle what it has, which frees
// the prefetch windows, and does nothing else.
func (c *consumer) Lost(*broker.Subscription) {
	ch := c.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	c.losses++
	ch.unacked.forget(c)
}

// Canceled implements broker.Sink: the queue is gone.
func (c *consumer) Canceled(_ *broker.Subscription) {
	ch := c.ch
	ch.mu.Lock()
	taken := c.taken
	c.taken = 0
	c.gone()
	ch.mu.Unlock()
	ch.conn.out.release(taken)
}

// gone notes that the queue is gone, and tells the client. Under ch.mu.
func (c *consumer) gone() {
	ch := c.ch
	c.queueGone = true
	if ch.closed {
		return
	}
	ch.drop(c)
	if c.pull || c.ended {
		return
	}
	delete(ch.consumers, string(c.tag))
	if ch.conn.can.cancelNotify {
		ch.conn.out.append(func(b []byte) []byte {
			return appendMethod(b, ch.id, &spec.BasicCancel{ConsumerTag: string(c.tag), NoWait: true})
		})
	}
}

// opened is called on the queue's shard before the first delivery, so that
// consume-ok comes before it.
func (c *consumer) opened(sub *broker.Subscription) {
	ch := c.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	c.sub = sub
	ch.subs[c] = struct{}{}
	ch.consumers[string(c.tag)] = c
	if !c.silent {
		ch.conn.out.append(func(b []byte) []byte {
			return appendMethod(b, ch.id, &spec.BasicConsumeOK{ConsumerTag: string(c.tag)})
		})
	}
}
