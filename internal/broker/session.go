package broker

import (
	"context"

	"waybill/internal/record"
)

// DefaultVHost is the virtual host that every broker has.
const DefaultVHost = "/"

// Session is the seat of one AMQP connection in a virtual host: it owns the
// connection's exclusive queues. Its methods are safe for concurrent use.
// Those with a context wait until what they changed is durable.
type Session struct{}

// OpenSession opens a session; NotFound when there is no such virtual host.
func (b *Broker) OpenSession(vhost string) (*Session, error) { panic("broker") }

// Close deletes the session's exclusive queues. The subscriptions are closed before, by
// whoever opened them.
func (s *Session) Close() { panic("broker") }

// ExchangeSpec describes an exchange.
type ExchangeSpec struct {
	Name       string
	Type       string // direct, fanout, topic, headers
	Durable    bool
	AutoDelete bool
	Internal   bool
	Args       record.Table
}

// DeclareExchange makes the exchange, or checks that it exists with the same
// properties (PreconditionFailed when not).
func (s *Session) DeclareExchange(ctx context.Context, x ExchangeSpec) error { panic("broker") }

// CheckExchange is the passive declaration: NotFound when there is none.
func (s *Session) CheckExchange(name string) error { panic("broker") }

// DeleteExchange deletes an exchange; one that does not exist is no error.
func (s *Session) DeleteExchange(ctx context.Context, name string, ifUnused bool) error {
	panic("broker")
}

// QueueSpec describes a queue. An empty Name asks for a generated one.
type QueueSpec struct {
	Name       string
	Durable    bool
	Exclusive  bool
	AutoDelete bool
	Args       record.Table
}

// QueueStatus is what declare-ok tells.
type QueueStatus struct {
	Name      string
	Ready     int // messages ready for delivery
	Consumers int
}

// DeclareQueue makes the queue, or checks that it exists with the same
// properties.
func (s *Session) DeclareQueue(ctx context.Context, q QueueSpec) (QueueStatus, error) {
	panic("broker")
}

// CheckQueue is the passive declaration.
func (s *Session) CheckQueue(ctx context.Context, name string) (QueueStatus, error) {
	panic("broker")
}

// PurgeQueue drops all ready messages and returns their number.
func (s *Session) PurgeQueue(ctx context.Context, name string) (int, error) { panic("broker") }

// DeleteQueue deletes a queue with its bindings and returns the number of its
// ready messages; a queue that does not exist is no error.
func (s *Session) DeleteQueue(ctx context.Context, name string, ifUnused, ifEmpty bool) (int, error) {
	panic("broker")
}

// Binding routes from the exchange Source to a queue, or to an exchange.
type Binding struct {
	Source      string
	Destination string
	ToExchange  bool
	Key         string
	Args        record.Table
}

// Bind adds a binding; one that exists is no error.
func (s *Session) Bind(ctx context.Context, b Binding) error { panic("broker") }

// Unbind removes a binding; one that does not exist is no error.
func (s *Session) Unbind(ctx context.Context, b Binding) error { panic("broker") }

// Publication is one message on its way in.
type Publication struct {
	Exchange   string
	RoutingKey string
	ExtraKeys  []string            // of the headers CC and BCC
	Headers    func() record.Table // the message's headers table, decoded on demand
	Stored     []byte              // the message, encoded with record.Message.Append; owned by the broker from now on
}

// Publisher hears what became of its publications. Published is called once for
// each Publish that was routed, from a shard; it must not block. A nil error
// means that every queue that the message was routed to has it, durably where
// the queue is durable; otherwise at least one of them has not (nack).
type Publisher interface {
	Published(tag uint64, err error)
}

// Publish routes p to queues. It returns how many queues the message is routed to; with 0
// the Publisher hears nothing more. The error is the client's mistake
// (NotFound: no such exchange). to may be nil. Publish blocks while the node
// holds too many bytes that are not durable yet: that is the back-pressure on a
// publishing connection.
func (s *Session) Publish(p *Publication, to Publisher, tag uint64) (queues int, err error) {
	panic("broker")
}

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

// Subscribe adds a consumer. Deliveries may begin before it returns. opened,
// when not nil, is called on the queue's shard before the first delivery.
func (s *Session) Subscribe(ctx context.Context, o SubscribeOptions, sink Sink, opened func(*Subscription)) (*Subscription, error) {
	panic("broker")
}

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
