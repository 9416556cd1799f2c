package broker

import (
	"context"

	"waybill/internal/record"
)

// Delivery is one message on its way out. The message's bytes are shared:
// read only, and valid for as long as they are referenced.
type Delivery struct {
	Offset      record.Offset
	Redelivered bool
	Message     record.Message
}

// Sink is where a subscription's messages go. Its methods are called from a
// shard and must not block.
type Sink interface {
	// Take reserves room (prefetch window, output buffer) for one message whose stored form has
	// size bytes. When it answers false the subscription pauses until Resume.
	Take(s *Subscription, size int) bool
	// Deliver hands over a message for which Take answered true.
	Deliver(s *Subscription, d *Delivery)
	// Cancelled tells that the subscription ended from the broker's side,
	// because its queue is gone; what it held unsettled is gone with it.
	Cancelled(s *Subscription)
}

// SubscribeOptions say what to subscribe to, and how.
type SubscribeOptions struct {
	Queue     string
	Tag       string // the consumer tag, for listings
	NoAck     bool   // a delivered message counts as settled
	Exclusive bool   // refuse when there are other consumers, and keep others out
	Priority  int    // x-priority
	Pull      bool   // deliver only on Get (basic.get); not counted as a consumer
	Args      record.Table
}

// Subscription is a consumer of one queue, and the holder of what it was
// delivered and has not settled. Its methods are safe for concurrent use and do not wait.
type Subscription struct{}

// Get takes one message from the queue of a Pull subscription; ok is false
// when none is ready. remaining is the number of ready messages after it. Take is not asked.
func (s *Subscription) Get(ctx context.Context) (d *Delivery, remaining int, ok bool, err error) {
	panic("broker")
}

// Resume tells that the sink has room again.
func (s *Subscription) Resume() { panic("broker") }

// Outcome is what a consumer decided about a message.
type Outcome uint8

const (
	Accept  Outcome = iota // done: remove it
	Requeue                // put it back, to be delivered again
	Discard                // dead-letter or drop it
)

// Settle decides about delivered messages, in the order of the calls. offsets
// belongs to the broker from now on. done, when not nil, is called once it is durable
// (for Requeue: once the messages are ready again), from a shard.
func (s *Subscription) Settle(o Outcome, offsets []record.Offset, done func(error)) {
	panic("broker")
}

// Recover requeues everything that the subscription holds unsettled.
func (s *Subscription) Recover(done func(error)) { panic("broker") }

// Cancel ends deliveries; what is unsettled stays with the subscription. done
// is called on the shard, after the last Deliver.
func (s *Subscription) Cancel(done func()) { panic("broker") }

// Close ends the subscription and requeues what is unsettled.
func (s *Subscription) Close() { panic("broker") }
