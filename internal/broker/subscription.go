package broker

import (
	"context"
	"sync/atomic"

	"waybill/internal/queue"
	"waybill/internal/record"
)

// Delivery is one message on its way out. The message's bytes are shared:
// read only, and valid for as long as they are referenced.
type Delivery = queue.Delivery

// Sink is where a subscription's messages go. Its methods are called from a
// shard and must not block.
type Sink interface {
	// Take reserves room (prefetch window, output buffer) for one message whose
	// stored form has size bytes. When it answers false the subscription pauses
	// until Resume.
	Take(s *Subscription, size int) bool
	// Deliver hands over a message for which Take answered true. The Delivery
	// itself is valid during the call, the bytes that it refers to for longer.
	Deliver(s *Subscription, d *Delivery)
	// Room tells how many messages, and how many bytes of their stored form, Take would
	// accept now; it reserves nothing. So much is asked for of a queue that another
	// node leads. Without room for a message the subscription pauses until Resume.
	Room(s *Subscription) (messages, bytes int)
	// Lost tells that what was delivered and is not settled will be delivered again:
	// the queue got another leader. Settling it has no effect any more.
	Lost(s *Subscription)
	// Canceled tells that the subscription ended from the broker's side,
	// because its queue is gone; what it held unsettled is gone with it.
	Canceled(s *Subscription)
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
// delivered and has not settled. Its methods are safe for concurrent use and do
// not wait.
type Subscription struct {
	queue   *Queue
	sink    Sink
	options SubscribeOptions
	guest   *guest // the node that it came from, nil when it is this one

	// Owned by the queue's shard.
	sub   queue.Sub
	far   farSub // while another node leads
	state subState
	ended bool       // Close was called
	at    int        // its place in Queue.subs, unless closed
	gets  fifo[*get] // not answered, in order
}

type subState uint8

const (
	subClosed subState = iota // not admitted yet, or over
	subOpen
	subCanceled // no deliveries any more, but it may hold messages
)

func newSubscription(q *Queue, o SubscribeOptions, sink Sink) *Subscription {
	s := &Subscription{queue: q, sink: sink, options: o}
	s.reset()
	return s
}

// reset makes the side of s that a leader here sees anew.
func (s *Subscription) reset() {
	o := &s.options
	s.sub = queue.Sub{NoAck: o.NoAck, Exclusive: o.Exclusive, Priority: o.Priority}
	if o.Pull {
		s.sub.Puller = (*outlet)(s)
	} else {
		s.sub.Consumer = (*outlet)(s)
	}
}

// Tag is the consumer tag.
func (s *Subscription) Tag() string { return s.options.Tag }

// outlet is the side of a subscription that the leader sees.
type outlet Subscription

// Take implements queue.Consumer.
func (o *outlet) Take(size int) bool { return o.sink.Take((*Subscription)(o), size) }

// Deliver implements queue.Consumer.
func (o *outlet) Deliver(d *Delivery) { o.sink.Deliver((*Subscription)(o), d) }

// Pulled implements queue.Puller.
func (o *outlet) Pulled(d *Delivery, remaining int64, err error) {
	g := o.gets.pop()
	if err == errMoved {
		q := o.queue
		q.command(&command{kind: cmdVerb, verb: &verb{
			op: verbGet, doing: "get from " + q.String(), sub: (*Subscription)(o), get: g, guest: o.guest, done: g.failed,
		}})
		return
	}
	r := getResult{remaining: int(remaining), err: err}
	if d != nil {
		r.delivery, r.ok = *d, true
	}
	if g.answer != nil {
		g.answer(&r)
		return
	}
	if g.claimed.CompareAndSwap(false, true) {
		g.result <- r
	} else if d != nil && !o.options.NoAck {
		(*Subscription)(o).Settle(Requeue, []record.Offset{d.Offset}, nil) // nobody waits for it any more
	}
}

// get is one call of Get that waits for its answer.
type get struct {
	claimed atomic.Bool      // by the answer, or by a caller that gives up
	result  chan getResult   // capacity 1
	answer  func(*getResult) // called instead, on the shard, where the caller is another node
}

// failed ends a get whose verb failed after it had been answered once.
func (g *get) failed(_ int, err error) {
	if err == nil {
		return
	}
	if g.answer != nil {
		g.answer(&getResult{err: err})
	} else if g.claimed.CompareAndSwap(false, true) {
		g.result <- getResult{err: err}
	}
}

type getResult struct {
	delivery  Delivery
	remaining int
	ok        bool
	err       error
}

// Get takes one message from the queue of a Pull subscription; ok is false when
// none is ready. remaining is the number of ready messages after it. Take is
// not asked.
func (s *Subscription) Get(ctx context.Context) (d *Delivery, remaining int, ok bool, err error) {
	q := s.queue
	g := &get{result: make(chan getResult, 1)}
	_, err = q.ask(ctx, &verb{op: verbGet, doing: "get from " + q.String(), sub: s, get: g})
	if err != nil && g.claimed.CompareAndSwap(false, true) {
		return nil, 0, false, err
	}
	select {
	case r := <-g.result:
		return r.unpack()
	case <-ctx.Done():
		if g.claimed.CompareAndSwap(false, true) {
			return nil, 0, false, unavailable("get from "+q.String(), ctx.Err())
		}
		r := <-g.result
		return r.unpack()
	}
}

func (r *getResult) unpack() (*Delivery, int, bool, error) {
	if r.err != nil || !r.ok {
		return nil, 0, false, r.err
	}
	return &r.delivery, r.remaining, true, nil
}

// Resume tells that the sink has room again.
func (s *Subscription) Resume() { s.queue.post(command{kind: cmdResume, sub: s}) }

// Outcome is what a consumer decided about a message.
type Outcome uint8

const (
	Accept   Outcome = iota // done: remove it
	Requeue                 // put it back, to be delivered again
	Discard                 // dead-letter or drop it
	giveBack                // put it back: it was not delivered after all
)

// Settle decides about delivered messages, in the order of the calls. offsets
// belongs to the broker from now on. done, when not nil, is called once it is durable
// (for Requeue: once the messages are ready again), from a shard.
//
// What the subscription does not hold is ignored and counted
// (waybill_queue_settles_unknown_total), and done hears of it: a settle can cross the
// end of the subscription or of the leader's term (Sink.Lost). A client's mistake is
// found by the front end, which knows the delivery tags.
func (s *Subscription) Settle(o Outcome, offsets []record.Offset, done func(error)) {
	s.queue.post(command{kind: cmdSettle, sub: s, outcome: o, offsets: offsets, done: done})
}

// Recover requeues everything that the subscription holds unsettled.
func (s *Subscription) Recover(done func(error)) {
	s.queue.post(command{kind: cmdRecover, sub: s, done: done})
}

// Cancel ends deliveries; what is unsettled stays with the subscription. done
// is called on the shard, after the last Deliver.
func (s *Subscription) Cancel(done func()) {
	if done == nil {
		s.end(nil)
		return
	}
	s.end(func(error) { done() })
}

func (s *Subscription) end(done func(error)) {
	s.queue.post(command{kind: cmdCancel, sub: s, done: done})
}

// Close ends the subscription and requeues what is unsettled.
func (s *Subscription) Close() { s.queue.post(command{kind: cmdClose, sub: s}) }

// settle carries out a cmdSettle.
func (q *Queue) settle(c *command) {
	s := &c.sub.sub
	unknown := q.leader.Counters().Unknown
	if c.sub.state == subClosed {
		q.vhost.b.metrics.queues.unknown.Add(float64(len(c.offsets)))
		c.offsets = nil
		unknown--
	}
	switch c.outcome {
	case Accept:
		q.leader.Accept(s, c.offsets)
	case Discard:
		q.leader.Discard(s, c.offsets)
	case Requeue:
		q.leader.Requeue(s, c.offsets)
	case giveBack:
		q.leader.Return(s, c.offsets)
	}
	switch {
	case c.done == nil:
	case c.outcome == Requeue || c.outcome == giveBack:
		c.done(nil)
	case q.leader.Counters().Unknown != unknown:
		c.done(errNotHeld)
	default:
		q.afterSettled(c.done)
	}
}

// errNotHeld: what was settled is not, or not any more, in the hands of the
// subscription; it will be delivered again.
var errNotHeld = errorf(PreconditionFailed, "a message that was settled is not held any more and will be delivered again: the leader of its queue changed")

// afterSettled calls done when all that is settled by now is applied.
func (q *Queue) afterSettled(done func(error)) { q.dones = append(q.dones, done) }

// cancel ends the deliveries to s.
func (q *Queue) cancel(s *Subscription) {
	if s.state != subOpen {
		return
	}
	s.state = subCanceled
	q.leader.Cancel(&s.sub)
	q.left(s)
}

// close ends s.
func (q *Queue) close(s *Subscription) {
	s.ended = true
	if s.state == subClosed {
		return
	}
	consuming := s.state == subOpen
	q.leave(s)
	q.leader.Close(&s.sub)
	if consuming {
		q.left(s)
	}
}

// enter and leave keep the list of the subscriptions that are not closed.
func (q *Queue) enter(s *Subscription) {
	s.state = subOpen
	if !s.options.Pull {
		q.orphaned = false
	}
	s.at = len(q.subs)
	q.subs = append(q.subs, s)
}

func (q *Queue) leave(s *Subscription) {
	s.state = subClosed
	last := len(q.subs) - 1
	q.subs[s.at] = q.subs[last]
	q.subs[s.at].at = s.at
	q.subs[last] = nil
	q.subs = q.subs[:last]
}

// left: s does not consume any more. With the last consumer an auto-delete
// queue goes.
func (q *Queue) left(s *Subscription) {
	q.used = q.vhost.b.cfg.Now()
	if !q.spec.AutoDelete || s.options.Pull || q.leader.Consumers() > 0 || q.sealed {
		return
	}
	q.orphaned = true
	if !q.used.Before(q.rejoin) { // before, others may be on their way from the last leader
		q.seal()
	}
}

// endSubscriptions tells all subscriptions that they are over.
func (q *Queue) endSubscriptions() {
	subs := q.subs
	q.subs = nil
	for _, s := range subs {
		open := s.state == subOpen
		s.state = subClosed
		if open && s.sink != nil {
			s.sink.Canceled(s)
		}
	}
}
