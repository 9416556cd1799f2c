package amqp

import (
	"crypto/rand"
	"errors"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// The methods of the class basic by which a client receives.

func (ch *channel) qos(m *spec.BasicQos) error {
	if m.PrefetchSize != 0 {
		return exceptionf(spec.NotImplemented, "prefetch_size!=0 (%d); use prefetch_count", m.PrefetchSize)
	}
	if m.Global {
		ch.mu.Lock()
		ch.limit = int(m.PrefetchCount)
		resumable := ch.unfull()
		ch.mu.Unlock()
		resume(resumable)
	} else {
		ch.prefetch = int(m.PrefetchCount)
	}
	ch.send(&spec.BasicQosOK{})
	return nil
}

func (ch *channel) consume(m *spec.BasicConsume) error {
	queue, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	tag := m.ConsumerTag
	if tag == "" {
		tag = "amq.ctag-" + rand.Text()
	}
	ch.mu.Lock()
	_, used := ch.consumers[tag]
	ch.mu.Unlock()
	if used {
		return exceptionf(spec.NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	if queue == replyQueue {
		return ch.consumeReplies(m, tag)
	}
	priority, err := consumerPriority(m.Arguments)
	if err != nil {
		return err
	}
	c := &consumer{ch: ch, tag: []byte(tag), queue: queue, noAck: m.NoAck, silent: m.NoWait, limit: ch.prefetch}
	_, err = ch.conn.session.Subscribe(ch.conn.ctx, broker.SubscribeOptions{
		Queue: queue, Tag: tag, NoAck: m.NoAck, Exclusive: m.Exclusive, Priority: priority, Args: m.Arguments,
	}, c, c.opened)
	return err
}

func consumerPriority(args record.Table) (int, error) {
	if _, set := args["x-priority"]; !set {
		return 0, nil
	}
	n, ok := args.Int("x-priority")
	if !ok || int64(int32(n)) != n {
		return 0, exceptionf(spec.PreconditionFailed, "invalid arg 'x-priority': not a 32-bit integer")
	}
	return int(n), nil
}

func (ch *channel) cancel(m *spec.BasicCancel) error {
	ch.mu.Lock()
	c, ok := ch.consumers[m.ConsumerTag]
	if ok {
		delete(ch.consumers, m.ConsumerTag)
	}
	ch.mu.Unlock()
	if !ok {
		return ch.reply(m.NoWait, &spec.BasicCancelOK{ConsumerTag: m.ConsumerTag})
	}
	if c == ch.asker {
		ch.endReplies()
		return ch.reply(m.NoWait, &spec.BasicCancelOK{ConsumerTag: m.ConsumerTag})
	}
	done := make(chan struct{})
	c.sub.Cancel(func() { close(done) })
	select {
	case <-done: // the last delivery is in the output, so cancel-ok comes after it
	case <-ch.conn.ctx.Done():
		return nil
	}
	ch.mu.Lock()
	c.ended = true
	taken := c.taken
	c.taken = 0
	finished := ch.finished(c)
	ch.mu.Unlock()
	ch.conn.out.release(taken)
	if finished {
		c.sub.Close()
	}
	return ch.reply(m.NoWait, &spec.BasicCancelOK{ConsumerTag: m.ConsumerTag})
}

// finished reports whether c, canceled by the client, has nothing left to
// settle; its subscription is to be closed then. Under mu.
func (ch *channel) finished(c *consumer) bool {
	if !c.ended || c.held > 0 || c.queueGone {
		return false
	}
	_, ok := ch.subs[c]
	ch.drop(c)
	return ok
}

// maxPulls is how many queues a channel remembers to have pulled from.
const maxPulls = 64

func (ch *channel) get(m *spec.BasicGet) error {
	queue, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	ch.conn.pending.wait(ch.conn.ctx)
	c, fresh, err := ch.puller(pullKey{queue, m.NoAck})
	if err != nil {
		return err
	}
	d, remaining, ok, err := c.sub.Get(ch.conn.ctx)
	if isNotFound(err) && !fresh {
		// The queue that was pulled from before is gone; there may be a new one of that name.
		delete(ch.pulls, pullKey{queue, m.NoAck})
		if c, _, err = ch.puller(pullKey{queue, m.NoAck}); err == nil {
			d, remaining, ok, err = c.sub.Get(ch.conn.ctx)
		}
	}
	if err != nil {
		return err
	}
	if !ok {
		ch.conn.metrics.getEmpty.Inc()
		ch.send(&spec.BasicGetEmpty{})
		return nil
	}
	ch.answerGet(c, d, remaining)
	return nil
}

func isNotFound(err error) bool {
	var b *broker.Error
	return errors.As(err, &b) && b.Kind == broker.NotFound
}

func (ch *channel) answerGet(c *consumer, d *broker.Delivery, remaining int) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if !c.noAck {
		c.held++
	}
	m := spec.BasicGetOK{
		DeliveryTag:  ch.track(c, d.Offset),
		Redelivered:  d.Redelivered,
		Exchange:     d.Message.Exchange,
		RoutingKey:   d.Message.RoutingKey,
		MessageCount: uint32(remaining),
	}
	ch.conn.out.append(func(b []byte) []byte {
		b = appendMethod(b, ch.id, &m)
		return appendContent(b, ch.id, ch.conn.frameMax, &d.Message)
	})
	ch.conn.metrics.delivered(d)
}

// puller returns the subscription behind basic.get on a queue; fresh says that
// it was opened just now.
func (ch *channel) puller(key pullKey) (c *consumer, fresh bool, err error) {
	if c := ch.pulls[key]; c != nil && !ch.isGone(c) {
		return c, false, nil
	}
	ch.forgetPulls()
	c = &consumer{ch: ch, queue: key.queue, noAck: key.noAck, pull: true}
	sub, err := ch.conn.session.Subscribe(ch.conn.ctx, broker.SubscribeOptions{
		Queue: key.queue, NoAck: key.noAck, Pull: true,
	}, c, nil)
	if err != nil {
		return nil, false, err
	}
	ch.pulls[key] = c
	ch.mu.Lock()
	defer ch.mu.Unlock()
	c.sub = sub
	if !c.queueGone {
		ch.subs[c] = struct{}{}
	}
	return c, true, nil
}

func (ch *channel) isGone(c *consumer) bool {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return c.queueGone
}

// forgetPulls closes subscriptions of basic.get that hold nothing when there are many.
func (ch *channel) forgetPulls() {
	if len(ch.pulls) < maxPulls {
		return
	}
	for key, c := range ch.pulls {
		ch.mu.Lock()
		c.ended = true // closed now, or when the last message of it is settled
		gone := c.queueGone
		finished := ch.finished(c)
		ch.mu.Unlock()
		delete(ch.pulls, key)
		if finished && !gone {
			c.sub.Close()
		}
	}
}

func (ch *channel) recover(requeue, answer bool) error {
	if !requeue {
		return exceptionf(spec.NotImplemented, "requeue=false; use basic.recover with requeue=true")
	}
	ch.mu.Lock()
	picked, _ := ch.unacked.take(0, true, nil)
	ch.mu.Unlock()
	for _, d := range picked {
		ch.conn.settleLater(d.from, broker.Requeue, d.offset)
	}
	ch.conn.flushSettled()
	if answer {
		ch.conn.pending.wait(ch.conn.ctx)
		ch.send(&spec.BasicRecoverOK{})
	}
	return nil
}
