package broker

import (
	"bytes"

	"waybill/internal/record"
	"waybill/internal/replica"
)

// command is one thing for a queue to do. It is a value, so that the hot ones
// cost no allocation; each kind uses the fields that its comment names.
type command struct {
	kind    commandKind
	outcome Outcome         // cmdSettle
	sub     *Subscription   // cmdSettle, cmdRecover, cmdResume, cmdCancel, cmdClose
	stored  []byte          // cmdPublish
	lender  Lender          // cmdPublish: of stored; nil: it is the broker's
	shared  bool            // cmdPublish: other queues have the same stored
	more    bool            // cmdPublish: it shares its entry with the next one, see Together
	to      Publisher       // cmdPublish, may be nil; the *guest of cmdGuestOpen and cmdGuestPublish
	tag     uint64          // cmdPublish
	offsets []record.Offset // cmdSettle
	done    func(error)     // cmdSettle, cmdRecover, cmdCancel, may be nil
	verb    *verb           // cmdVerb
}

type commandKind uint8

const (
	cmdPublish commandKind = iota
	cmdSettle
	cmdRecover
	cmdResume
	cmdCancel
	cmdClose
	cmdVerb
	cmdGuestOpen    // another node asks whether the queue is led here
	cmdGuestPublish // a cmdPublish that came from there
)

// borrow makes stored last, by a loan or a copy.
func (c *command) borrow(from Lender) {
	switch {
	case from == nil:
	case from.Lend():
		c.lender = from
	default:
		c.stored = bytes.Clone(c.stored)
	}
}

// giveBack ends the loan: stored is not looked at any more, save for its length.
func (c *command) giveBack() {
	if c.lender != nil {
		c.lender.GiveBack()
		c.lender = nil
	}
}

// own puts a copy in the place of what is lent, for a command that may wait for long.
func (c *command) own() {
	if c.lender != nil {
		c.stored = bytes.Clone(c.stored)
		c.giveBack()
	}
}

// guest returns the node that a command came from, nil when it is this one.
func (c *command) guest() *guest {
	switch {
	case c.verb != nil:
		return c.verb.guest
	case c.sub != nil:
		return c.sub.guest
	}
	g, _ := c.to.(*guest)
	return g
}

// Events that are posted to a queue, beside those of its source.
type (
	wake struct{} // the inbox is not empty
	lead struct{} // begin: a memory group has no election
)

// post puts commands into the inbox, one behind the other. They are all urgent, or
// all patient.
func (q *Queue) post(cs ...command) {
	if q.offline != nil {
		for i := range cs {
			q.fail(&cs[i], q.offline)
		}
		return
	}
	patient := cs[0].patient()
	q.mu.Lock()
	first := len(q.inbox) == 0
	urge := !patient && !q.urged
	q.urged = q.urged || urge
	q.inbox = append(q.inbox, cs...)
	group := q.group
	q.mu.Unlock()
	posted := true
	resting, lazy := group.(restingGroup)
	switch {
	case first && patient && lazy:
		posted = resting.PostLazily(wake{})
	case first || urge:
		posted = group.Post(wake{})
	case patient && lazy:
		resting.Stir()
	}
	if !posted {
		q.abandon()
	}
}

// patient reports whether the command may wait for others to share its entry.
func (c *command) patient() bool {
	return c.kind == cmdPublish || c.kind == cmdSettle && c.outcome == Accept && c.done == nil
}

// abandon answers the inbox of a queue whose host is closed. Nothing that the
// shard owns is touched: it may not have come to its end yet.
func (q *Queue) abandon() {
	q.mu.Lock()
	inbox := q.inbox
	q.inbox, q.urged = nil, false
	q.mu.Unlock()
	for i := range inbox {
		q.fail(&inbox[i], replica.ErrClosed)
	}
}

// drain takes the inbox and handles it.
func (q *Queue) drain() {
	q.mu.Lock()
	q.taken, q.inbox, q.urged = q.inbox, q.taken[:0], false
	q.mu.Unlock()
	for i := range q.taken {
		q.command(&q.taken[i])
	}
	clear(q.taken)
	if cap(q.taken) > maxIdleCommands {
		q.taken = nil
	}
}

// maxIdleCommands is the size of an inbox that is kept for the next burst.
const maxIdleCommands = 4096

func (q *Queue) command(c *command) {
	switch {
	case q.state == leading:
		q.do(c)
	case q.state == removed:
		q.tooLate(c)
	case q.state != shut && q.forwards():
		q.afar().command(c)
	case q.state == starting:
		c.own()
		q.held = append(q.held, *c)
	default:
		q.fail(c, q.reason)
	}
}

// do carries out a command on the leader.
func (q *Queue) do(c *command) {
	switch c.kind {
	case cmdPublish:
		q.take(c)
	case cmdSettle:
		q.settle(c)
	case cmdRecover:
		if c.sub.state != subClosed {
			q.leader.Recover(&c.sub.sub)
		}
		if c.done != nil {
			c.done(nil)
		}
	case cmdResume:
		if c.sub.state == subOpen {
			q.leader.Resume(&c.sub.sub)
		}
	case cmdCancel:
		q.cancel(c.sub)
		if c.done != nil {
			c.done(nil)
		}
	case cmdClose:
		q.close(c.sub)
	case cmdVerb:
		q.waits.push(wait{at: q.tail(), verb: c.verb})
	case cmdGuestOpen:
		c.to.(*guest).welcome()
	case cmdGuestPublish:
		if c.to.(*guest).over {
			q.fail(c, replica.ErrNotLeader) // one before it was refused, and is to come again
			return
		}
		q.take(c)
	}
}

// fail answers a command that cannot be carried out. It touches nothing that
// the shard owns.
func (q *Queue) fail(c *command, err error) {
	switch c.kind {
	case cmdPublish, cmdGuestPublish:
		c.giveBack()
		q.vhost.b.budget.release(int64(len(c.stored)))
		if c.to != nil {
			c.to.Published(c.tag, err)
		}
	case cmdVerb:
		if c.verb.guest == nil {
			err = unavailable(c.verb.doing, err)
		}
		c.verb.done(0, err)
	case cmdGuestOpen:
		c.to.(*guest).moved()
	default:
		if c.done != nil {
			c.done(err)
		}
	}
}

// tooLate answers a command for a queue that was deleted. A message that was
// routed to it went with it, like all the others that it held.
func (q *Queue) tooLate(c *command) {
	switch c.kind {
	case cmdPublish, cmdGuestPublish:
		q.vhost.b.metrics.queues.dropped.deleted.Inc()
		q.fail(c, q.whenDeleted())
	case cmdVerb:
		c.verb.done(0, q.vhost.noQueue(q.spec.Name))
	default:
		q.fail(c, nil)
	}
}

// whenDeleted is what the publisher of a message hears that went with its queue. A node that was cut off may not know that
// the queue was declared anew before the message was published: it must not confirm it.
func (q *Queue) whenDeleted() error {
	if q.forwards() && q.spec.Replicated() {
		return replica.ErrUnknown
	}
	return nil
}
