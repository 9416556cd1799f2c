package sim

import (
	"time"

	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/test/check"
)

// queueHost hosts a queue's machine and leader, in a short form of broker.Queue.
type queueHost struct {
	*hosted
	held    queue.Machine
	leader  *queue.Leader
	waiting []*publish
	built   []*builtEntry
	settled []check.Value // acked by consumers, and in no entry yet
	due     bool
	fresh   record.Offset
	subs    []*queue.Sub
	rest    map[record.Offset][]byte // stored messages of the entry that was read last
}

// publish is a message on its way into the queue.
type publish struct {
	value  check.Value
	stored []byte
	body   int
	done   func(err error)
}

type builtEntry struct {
	pubs    []*publish
	settled []check.Value
}

// settle is what a consumer says about a message.
type settle struct {
	sub     *queue.Sub
	off     record.Offset
	value   check.Value
	requeue bool
}

const noOffset = record.Offset(1<<63 - 1)

func newQueueHost(h *hosted) *queueHost { return &queueHost{hosted: h, fresh: noOffset} }

func (q *queueHost) restore(b []byte) error { return q.held.Restore(b) }

func (q *queueHost) snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	return q.held.Snapshot(b), q.held.Live().Intersects
}

func (q *queueHost) end() record.Offset { return q.held.Next() }

func (q *queueHost) apply(e replica.Entry) {
	a, err := q.held.Apply(e.Data)
	if err != nil {
		panic(err)
	}
	if q.leader == nil {
		return
	}
	b := q.built[0]
	q.built = q.built[1:]
	q.leader.Applied(a)
	for _, p := range b.pubs {
		p.done(nil)
	}
	for _, v := range b.settled {
		q.n.w.queue.Settled(v)
	}
	if a.Count > 0 {
		q.fresh = a.Base
	}
	q.run()
	q.fresh = noOffset
}

func (q *queueHost) lead(uint64) {
	q.leader = queue.NewLeader(&q.held, queue.Config{MessageTTL: record.NoTTL, MaxLength: -1, MaxBytes: -1}, q)
	q.rest = nil
	for range 1 + q.n.w.rng.IntN(2) {
		s := &queue.Sub{}
		s.Consumer = &consumer{q: q, sub: s, room: 16}
		q.subs = append(q.subs, s)
		if err := q.leader.Subscribe(s); err != nil {
			panic(err)
		}
	}
	q.run()
}

func (q *queueHost) follow(reason error) {
	q.leader, q.subs, q.settled, q.due = nil, nil, nil, false
	for _, b := range q.built {
		for _, p := range b.pubs {
			p.done(replica.ErrUnknown)
		}
	}
	for _, p := range q.waiting {
		p.done(reason)
	}
	q.built, q.waiting = nil, nil
}

func (q *queueHost) handle(event any) {
	switch e := event.(type) {
	case *publish:
		if q.leader == nil {
			e.done(replica.ErrNotLeader)
			return
		}
		q.waiting = append(q.waiting, e)
	case *settle:
		if q.leader == nil {
			return
		}
		if e.requeue {
			q.leader.Requeue(e.sub, []record.Offset{e.off})
		} else {
			before := q.leader.Counters().Unknown
			q.leader.Accept(e.sub, []record.Offset{e.off})
			if q.leader.Counters().Unknown == before {
				q.settled = append(q.settled, e.value)
			}
		}
		e.sub.Consumer.(*consumer).room++
		q.leader.Resume(e.sub)
		q.run()
	}
}

func (q *queueHost) run() {
	if q.leader == nil {
		return
	}
	q.leader.Run(q.n.clock().UnixMilli(), q.fresh)
	if q.leader.Gathered() > 0 && !q.due {
		q.group.SetTimer(q.n.time().Add(10 * time.Millisecond))
	}
}

func (q *queueHost) timer() {
	q.due = true
	q.run()
}

func (q *queueHost) build(int) []byte {
	if q.leader == nil || len(q.waiting) == 0 && !(q.due && q.leader.Gathered() > 0) && !q.leader.Urgent() {
		return nil
	}
	b := &builtEntry{pubs: q.waiting[:min(len(q.waiting), 1+q.n.w.rng.IntN(8))], settled: q.settled}
	q.waiting, q.settled, q.due = q.waiting[len(b.pubs):], nil, false
	base := q.held.Next()
	for _, e := range q.built {
		base += record.Offset(len(e.pubs))
	}
	h := record.Header{Base: base, Count: uint32(len(b.pubs))}
	data := q.leader.Append(h.Append(nil), h.End())
	if len(b.pubs) > 0 {
		batch := queue.Batch{Count: len(b.pubs)}
		for _, p := range b.pubs {
			batch.Size += len(p.stored)
			batch.Bytes += int64(p.body)
		}
		data = batch.AppendHead(data)
		for _, p := range b.pubs {
			data = append(data, p.stored...)
		}
	}
	q.built = append(q.built, b)
	if q.n.w.cfg.Bug == AckOnMinority {
		for _, p := range b.pubs {
			p.done(nil)
			p.done = func(error) {}
		}
	}
	return data
}

// Read implements queue.Source, straight from the log.
func (q *queueHost) Read(off record.Offset, m *record.Message) (size int) {
	if stored, ok := q.rest[off]; ok {
		if _, err := m.Parse(stored); err != nil {
			panic(err)
		}
		return len(stored)
	}
	entries, err := q.group.Log().ReadFrom(off, off+1, 1, true)
	if err != nil || len(entries) == 0 {
		if !q.n.harmed {
			q.n.w.fail("%v: n%d cannot read the message at offset %d: %v", q.g, q.n.id, off, err)
		}
		return 0
	}
	h, payload, err := record.ParseHeader(entries[0].Data)
	if err != nil || off < h.Base || off >= h.End() {
		q.n.w.fail("%v: n%d has no message at offset %d, but %d to %d (%v)", q.g, q.n.id, off, h.Base, h.End(), err)
		return 0
	}
	messages, err := queue.Messages(payload)
	if err != nil {
		panic(err)
	}
	q.rest = make(map[record.Offset][]byte)
	for at := h.Base; at < h.End(); at++ {
		n, err := record.MessageLen(messages)
		if err != nil {
			panic(err)
		}
		q.rest[at], messages = messages[:n], messages[n:]
	}
	return q.Read(off, m)
}

// consumer takes messages, and settles them a little later.
type consumer struct {
	q    *queueHost
	sub  *queue.Sub
	room int
}

// Take implements queue.Consumer.
func (c *consumer) Take(int) bool { return c.room > 0 }

// Deliver implements queue.Consumer.
func (c *consumer) Deliver(d *queue.Delivery) {
	c.room--
	q := c.q
	w := q.n.w
	v, err := check.ParsePayload(d.Message.Body)
	if err != nil {
		w.queue.Malformed(err)
		return
	}
	if q.g.term == q.term {
		w.queue.Received(v, d.Redelivered && w.cfg.Bug != ForgottenFlags)
	} // else a leader that does not know yet that there is another: what is settled there does not count
	e := &settle{sub: c.sub, off: d.Offset, value: v, requeue: !w.calm && w.chance(8)}
	life, term := q.n.life, q.term
	w.after(w.upTo(50*time.Millisecond), func() {
		if q.n.life == life && q.term == term && q.leads {
			q.n.run(func() { q.group.Post(e) })
		}
	})
}
