package broker

import (
	"context"
	"errors"

	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// verb is a call to a queue that waits for its answer. It says what is wanted
// in words that can be sent to another node, where the queue may be led.
type verb struct {
	op    verbOp
	doing string // for the error

	ifUnused, ifEmpty bool                // verbDelete
	sub               *Subscription       // verbSubscribe, verbGet
	opened            func(*Subscription) // verbSubscribe, may be nil
	get               *get                // verbGet

	guest     *guest // the node that asks, nil when it is this one
	consumers int    // beside the answer to verbStatus
	// done hears the answer, once. It is called on the shard as a rule, and must not block.
	done func(n int, err error)
}

type verbOp uint8

const (
	verbStatus    verbOp = iota // the number of ready messages, and of consumers
	verbPurge                   // drop all ready messages
	verbDelete                  // check the conditions, and see to the end
	verbSubscribe               // admit a subscription
	verbGet                     // take one message
)

// wait is a verb that runs when everything below offset at is applied.
type wait struct {
	at   record.Offset
	verb *verb
}

// ask has the verb carried out when everything that was published before is
// applied: a client that publishes and then asks sees its message.
func (q *Queue) ask(ctx context.Context, v *verb) (int, error) {
	if q.offline != nil {
		return 0, unavailable(v.doing, q.offline)
	}
	type result struct {
		n   int
		err error
	}
	answer := make(chan result, 1)
	v.done = func(n int, err error) { answer <- result{n, err} }
	q.post(command{kind: cmdVerb, verb: v})
	select {
	case r := <-answer:
		return r.n, r.err
	case <-ctx.Done():
		return 0, unavailable(v.doing, ctx.Err())
	}
}

// tail is the offset after the last message that was taken.
func (q *Queue) tail() record.Offset {
	return q.machine.Next() + record.Offset(q.pubs.len())
}

// runWaits runs the verbs whose time has come.
func (q *Queue) runWaits() {
	for q.waits.len() > 0 && !q.sealed && q.waits.at(0).at <= q.machine.Next() {
		q.carryOut(q.waits.pop().verb)
	}
}

// carryOut does what v asks for, on the leader. The answer may come later.
func (q *Queue) carryOut(v *verb) {
	if v.guest != nil && v.guest.over {
		v.done(0, replica.ErrNotLeader)
		return
	}
	switch v.op {
	case verbStatus:
		q.used = q.vhost.b.cfg.Now()
		v.consumers = q.leader.Consumers()
		q.show() // who looks at the list after the answer sees no less
		v.done(int(q.leader.Ready()), nil)
	case verbPurge:
		n := int(q.leader.Purge())
		if n == 0 {
			v.done(0, nil)
			return
		}
		q.afterSettled(func(err error) { v.done(n, err) })
	case verbDelete:
		q.delete(v)
	case verbSubscribe:
		q.used = q.vhost.b.cfg.Now()
		err := q.admit(v.sub)
		if err == nil && v.opened != nil {
			v.opened(v.sub)
		}
		v.done(0, err)
	case verbGet:
		q.used = q.vhost.b.cfg.Now()
		v.done(0, q.pull(v))
	}
}

// status is the answer to a declaration. It counts what was published before.
func (q *Queue) status(ctx context.Context) (QueueStatus, error) {
	v := &verb{op: verbStatus, doing: "look at " + q.String()}
	n, err := q.ask(ctx, v)
	if err != nil {
		return QueueStatus{}, err
	}
	return QueueStatus{Name: q.spec.Name, Ready: n, Consumers: v.consumers}, nil
}

// purge drops all ready messages and returns their number once that is durable.
func (q *Queue) purge(ctx context.Context) (int, error) {
	return q.ask(ctx, &verb{op: verbPurge, doing: "purge " + q.String()})
}

// prepareDelete checks the conditions on the shard and returns the number of
// ready messages. After nil no consumer is admitted, and what is published
// waits for the queue's end. Its leader brings that about: the caller may be gone by then.
func (q *Queue) prepareDelete(ctx context.Context, ifUnused, ifEmpty bool) (int, error) {
	if q.group == nil {
		return 0, nil // offline: nobody can look into it; deleting it is the operator's way out
	}
	n, err := q.ask(ctx, &verb{
		op: verbDelete, doing: "delete " + q.String(), ifUnused: ifUnused, ifEmpty: ifEmpty,
	})
	if isNotFound(err) {
		return 0, nil // somebody else deleted it meanwhile
	}
	return n, err
}

func isNotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == NotFound
}

// subscribe adds a consumer, or one that pulls.
func (q *Queue) subscribe(ctx context.Context, o SubscribeOptions, sink Sink, opened func(*Subscription)) (*Subscription, error) {
	s := newSubscription(q, o, sink)
	_, err := q.ask(ctx, &verb{op: verbSubscribe, doing: "consume from " + q.String(), sub: s, opened: opened})
	if err != nil {
		s.Close() // it may have been admitted after the caller gave up
		return nil, err
	}
	return s, nil
}

// admit adds s to the queue.
func (q *Queue) admit(s *Subscription) error {
	if s.ended {
		return q.closedSub() // its owner gave up waiting
	}
	if !s.options.Pull {
		if err := q.leader.Subscribe(&s.sub); err != nil {
			return q.refusal(err)
		}
	}
	q.enter(s)
	return nil
}

// pull asks for one message.
func (q *Queue) pull(v *verb) error {
	if v.sub.state != subOpen {
		return q.closedSub()
	}
	if err := q.leader.Pull(&v.sub.sub); err != nil {
		return q.refusal(err)
	}
	v.sub.gets.push(v.get)
	return nil
}

// refusal words an error of the leader for the client.
func (q *Queue) refusal(err error) error {
	switch {
	case errors.Is(err, queue.ErrExclusive):
		return errorf(AccessRefused, "%s in exclusive use", q)
	case errors.Is(err, queue.ErrSingleActive):
		return errorf(ResourceLocked, "cannot obtain access to locked %s: basic.get is not supported by a queue with a single active consumer; consume from it", q)
	}
	return err
}
