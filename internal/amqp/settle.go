package amqp

import (
	"waybill/internal/broker"
	"waybill/internal/record"
)

// settleLater collects settlements, so that those of many frames reach the
// broker in one call. They are handed over before the connection waits for its
// client, and before any method but acks and publications.
func (c *conn) settleLater(from *consumer, outcome broker.Outcome, offset record.Offset) {
	if offset == staleOffset {
		from.free(1)
		return
	}
	if len(from.batch) > 0 && (from.outcome != outcome || len(from.batch) >= maxSettleBatch) {
		c.flushConsumer(from)
	}
	if len(from.batch) == 0 {
		c.settling = append(c.settling, from)
		from.outcome = outcome
	}
	from.batch = append(from.batch, offset)
}

const maxSettleBatch = 4096

func (c *conn) flushSettled() {
	for i, from := range c.settling {
		c.flushConsumer(from)
		c.settling[i] = nil
	}
	c.settling = c.settling[:0]
}

func (c *conn) flushConsumer(from *consumer) {
	if len(from.batch) == 0 {
		return
	}
	offsets := from.batch
	from.batch = nil
	var done func(error)
	if from.outcome != broker.Accept {
		c.pending.add()
		done = c.pending.settled
	}
	c.handOver(from, from.outcome, offsets, done)
}

// handOver settles deliveries of a consumer and gives its windows their room
// back.
func (c *conn) handOver(from *consumer, outcome broker.Outcome, offsets []record.Offset, done func(error)) {
	ch := from.ch
	n := len(offsets) // the broker owns them in a moment
	ch.mu.Lock()
	gone := from.queueGone
	ch.mu.Unlock()
	if !gone {
		from.sub.Settle(outcome, offsets, done)
	} else if done != nil {
		done(nil)
	}
	from.free(n)
}

// free gives the windows of c the room of n deliveries back.
func (c *consumer) free(n int) {
	ch := c.ch
	ch.mu.Lock()
	resumable := ch.credit(c, n)
	finished := ch.finished(c)
	ch.mu.Unlock()
	resume(resumable)
	if finished {
		c.sub.Close()
	}
}
