package broker

import (
	"errors"
	"fmt"
	"math"
	"time"

	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
)

// noOffset is beyond every message.
const noOffset record.Offset = math.MaxInt64

// settleDelay is how long settled messages wait for a publish to carry them.
// An entry of their own costs a sync.
const settleDelay = 10 * time.Millisecond

// errOverflow refuses a publish to a queue that is full.
var errOverflow = errors.New("broker: the queue is full")

// publish is a message on its way into the queue.
type publish struct {
	stored   []byte
	lender   Lender // of stored, until it is built
	to       Publisher
	tag      uint64
	bytes    uint32 // of its body
	expiring bool   // it has a TTL of its own
	shared   bool   // other queues have the same stored
	more     bool   // it shares its entry with the next one
}

// command is what brings the message here, or to the next leader.
func (p *publish) command() command {
	return command{kind: cmdPublish, stored: p.stored, lender: p.lender, to: p.to, tag: p.tag, shared: p.shared, more: p.more}
}

// builtEntry is an entry that was built and is not applied.
type builtEntry struct {
	base  record.Offset
	count int           // number of messages
	dones []func(error) // of what it settles
	at    time.Time     // when it was built
	late  bool          // those who wait for it were told that it takes too long
}

// Restore implements replica.Machine.
func (q *Queue) Restore(state []byte) error { return q.machine.Restore(state) }

// Snapshot implements replica.Machine.
func (q *Queue) Snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	return q.machine.Snapshot(b), q.machine.Live().Intersects
}

// Apply implements replica.Machine.
func (q *Queue) Apply(e replica.Entry) {
	a, err := q.machine.Apply(e.Data)
	if err != nil {
		panic(fmt.Sprintf("broker: %s: entry %d: %v", q, e.Index, err))
	}
	if q.leader == nil {
		return
	}
	b := q.entries.pop()
	if b.base != a.Base || b.count != int(a.Count) {
		panic(fmt.Sprintf("broker: %s: entry %d has %d messages from %d on; it was built with %d from %d on",
			q, e.Index, a.Count, a.Base, b.count, b.base))
	}
	q.leader.Applied(a)
	q.confirm(b.count)
	for _, done := range b.dones {
		done(nil)
	}
	if a.Count > 0 {
		q.source.applied(a.Header, e.Data)
		q.fresh = a.Base
	}
	q.run()
	q.fresh = noOffset
}

// confirm answers the first n publishes.
func (q *Queue) confirm(n int) {
	var size int64
	for range n {
		p := q.pubs.pop()
		size += int64(len(p.stored))
		q.pending -= int64(p.bytes)
		if p.to != nil {
			p.to.Published(p.tag, nil)
		}
	}
	q.built -= n
	if size > 0 {
		q.vhost.b.budget.release(size)
	}
	q.vhost.b.metrics.queues.published.Add(float64(n))
}

// Lead implements replica.Machine.
func (q *Queue) Lead(uint64) {
	q.state = leading
	q.leader = queue.NewLeader(&q.machine, q.config, &q.source)
	q.sums = sums{}
	q.used = q.vhost.b.cfg.Now()
	q.rejoin, q.orphaned = time.Time{}, false
	q.sealed, q.sent = q.machine.Sealed(), time.Time{}
	if q.forwards() && q.machine.Delivered() > 0 {
		q.rejoin = q.used.Add(awayWait)
	}
	held := q.held
	q.held = nil
	for i := range held {
		q.do(&held[i])
	}
	if q.far != nil {
		q.far.home()
	}
	q.run()
}

// Follow implements replica.Machine. What a subscription holds is in its hands
// for one term of leadership: it is ready again for the next one.
func (q *Queue) Follow(reason error) {
	q.state, q.reason = following, reason
	switch {
	case errors.Is(reason, replica.ErrRemoved) && q.deleted.Load():
		q.state = removed
	case errors.Is(reason, replica.ErrClosed):
		q.state = shut
	}
	leader := q.leader
	q.leader = nil
	q.source.reset()
	if leader != nil && q.state == following && q.forwards() {
		leader.FailPulls(errMoved)
	} else if leader != nil {
		leader.FailPulls(q.ended("get from", replica.ErrUnknown))
	}
	for i, p := range q.pubs.drain() {
		c := p.command()
		if i < q.built && q.state != removed {
			q.fail(&c, replica.ErrUnknown)
		} else {
			q.command(&c)
		}
	}
	q.built, q.pending, q.hoard = 0, 0, 0
	for _, b := range q.entries.drain() {
		q.endDones(b.dones, replica.ErrUnknown)
	}
	q.endDones(q.dones, reason)
	q.dones = nil
	for _, w := range q.waits.drain() {
		q.command(&command{kind: cmdVerb, verb: w.verb})
	}
	held := q.held
	q.held = nil
	for i := range held {
		q.command(&held[i])
	}
	if q.state == following && q.forwards() {
		q.moveSubscriptions()
	} else {
		q.endSubscriptions()
		if q.far != nil {
			q.far.over()
		}
	}
	q.graves.reset()
	q.sealed, q.sealing, q.decided = false, false, false
	q.show()
	q.run()
}

// endDones answers those who wait for a settle. With the queue all that it
// held is settled.
func (q *Queue) endDones(dones []func(error), err error) {
	if q.state == removed {
		err = nil
	}
	for _, done := range dones {
		done(err)
	}
}

// ended is the error for a verb that leadership, or the queue, ended under.
func (q *Queue) ended(doing string, err error) error {
	if q.state == removed {
		return q.vhost.noQueue(q.spec.Name)
	}
	return unavailable(doing+" "+q.String(), err)
}

// Handle implements replica.Machine.
func (q *Queue) Handle(event any) {
	switch e := event.(type) {
	case wake:
		q.drain()
	case lead:
		q.Lead(1)
		return
	case *piece:
		q.source.arrived(e)
	case *burial:
		q.buried(e)
	case arrive:
		q.arrive()
	case arrived:
		q.arrived(e)
	case depart:
		if q.state != removed {
			q.Follow(e.reason)
		}
	case *farFrames, *farLost, *farRoom, awayTick:
		if q.far != nil {
			q.far.handle(event)
		}
	default:
		panic(fmt.Sprintf("broker: %s: unknown event %T", q, event))
	}
	q.run()
}

// Timer implements replica.Machine.
func (q *Queue) Timer(time.Time) {
	q.alarm = time.Time{}
	q.run()
}

// take takes a message in, or refuses it.
func (q *Queue) take(c *command) {
	var m record.Message
	if _, err := m.Parse(c.stored); err != nil {
		panic(fmt.Sprintf("broker: published to %s: %v", q, err)) // a front end encoded it
	}
	if q.refusing || q.leader.Full(int64(q.pubs.len()), q.pending) {
		q.refuse(c)
		q.refuseBefore()
		q.refusing = c.more
		return
	}
	q.pubs.push(publish{
		stored: c.stored, lender: c.lender, to: c.to, tag: c.tag, bytes: uint32(len(m.Body)), expiring: m.TTL >= 0, shared: c.shared, more: c.more,
	})
	q.pending += int64(len(m.Body))
	q.hoard += len(c.stored)
}

// refuseBefore refuses those that were to share an entry with a message that
// was refused. None of them is built: they have come in one go.
func (q *Queue) refuseBefore() {
	for n := q.pubs.len(); n > q.built && q.pubs.at(n-1).more; n-- {
		p := q.pubs.popLast()
		q.pending -= int64(p.bytes)
		q.hoard -= len(p.stored)
		c := p.command()
		q.refuse(&c)
	}
}

// Build implements replica.Machine.
func (q *Queue) Build(limit int) []byte {
	if q.leader == nil {
		return nil
	}
	batch := q.nextBatch(limit)
	settles := q.due && q.leader.Gathered() > 0 || len(q.dones) > 0
	if batch.Count == 0 && !settles && !q.sealing && !q.leader.Urgent() {
		return nil
	}
	h := record.Header{Base: q.machine.Next() + record.Offset(q.built), Count: uint32(batch.Count)}
	q.scratch = q.leader.Append(q.scratch[:0], h.End())
	data := make([]byte, 0, record.HeaderLen+len(q.scratch)+queue.MaxBatchHead+batch.Size)
	data = append(h.Append(data), q.scratch...)
	if q.sealing {
		data = queue.AppendSeal(data)
		q.sealing = false
	}
	if batch.Count > 0 {
		data = batch.AppendHead(data)
	}
	q.spans = nil
	for i := range batch.Count {
		p := q.pubs.at(q.built + i)
		from := len(data)
		data = append(data, p.stored...)
		if p.shared {
			q.spans = append(q.spans, storage.Span{From: from, To: len(data), Body: &p.stored[0]})
		}
		if p.lender != nil {
			p.lender.GiveBack()
			p.lender = nil
		}
	}
	q.built += batch.Count
	q.hoard -= batch.Size
	q.entries.push(builtEntry{base: h.Base, count: batch.Count, dones: q.dones, at: q.vhost.b.cfg.Now()})
	q.dones = nil
	q.stuck = time.Time{}
	q.gathered, q.due = time.Time{}, false
	return data
}

// Waiting implements replica.Hoarder.
func (q *Queue) Waiting() int {
	if q.leader == nil || q.sealed {
		return 0
	}
	return q.hoard
}

// Shared implements replica.Sharer.
func (q *Queue) Shared() []storage.Span {
	spans := q.spans
	q.spans = nil
	return spans
}

// nextBatch is what of the waiting messages goes into the next entry. It is not cut
// between messages that are to share one.
func (q *Queue) nextBatch(limit int) (b queue.Batch) {
	if q.sealed {
		return b // they wait for the queue's end
	}
	for i := q.built; i < q.pubs.len(); i++ {
		p := q.pubs.at(i)
		if b.Count > 0 && b.Size+len(p.stored) > limit && !q.pubs.at(i-1).more {
			break
		}
		b.Count++
		b.Size += len(p.stored)
		b.Bytes += int64(p.bytes)
		b.Expiring = b.Expiring || p.expiring
	}
	return b
}

// run lets the leader do what is possible now, and sees to what it asks for.
func (q *Queue) run() {
	if q.leader == nil {
		if q.far != nil {
			q.far.run()
		}
		return
	}
	now := q.vhost.b.cfg.Now()
	q.runWaits()
	q.source.refused = false
	q.leader.Run(now.UnixMilli(), q.fresh)
	if q.source.refused {
		q.leader.FailPulls(unavailable("get from "+q.String(), q.source.stuck))
	}
	q.bury()
	q.source.tend(now)
	q.retire(now)
	q.note(now)
	q.show()
}

// note sets the timer for what has to happen later.
func (q *Queue) note(now time.Time) {
	next := time.Time{}
	soonest := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	if q.leader.Gathered() > 0 && !q.due {
		if q.gathered.IsZero() {
			q.gathered = now
		}
		at := q.gathered.Add(q.settleDelay())
		if q.due = !now.Before(at); !q.due {
			soonest(at)
		}
	}
	if ms, ok := q.leader.Expires(); ok {
		soonest(time.UnixMilli(ms))
	}
	soonest(q.overdue(now))
	soonest(q.source.idleAt)
	soonest(q.graves.retryAt)
	soonest(q.ends())
	// A timer that rings too early costs less than setting it again for
	// every message.
	if !next.IsZero() && (q.alarm.IsZero() || next.Before(q.alarm)) {
		q.alarm = next
		q.group.SetTimer(next)
	}
}

// settleDelay: in memory there is no sync to save.
func (q *Queue) settleDelay() time.Duration {
	if !q.spec.Replicated() {
		return 0
	}
	return settleDelay
}
