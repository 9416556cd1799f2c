package sim

import (
	"context"
	"slices"
	"sync"
	"time"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/test/check"
)

// queueCheck is what is known of a queue, beside what check.Queue knows.
type queueCheck struct {
	h    *whole
	name string

	mu      sync.Mutex                    // guards the rest
	plain   map[check.Value]bool          // was delivered without the flag
	settled map[check.Value]bool          // its ack is durable
	offsets map[check.Value]record.Offset // where it lies
	values  map[record.Offset]check.Value
	sent    [][]check.Value // by connection, in the order of publishing
}

func newQueueCheck(h *whole, name string) *queueCheck {
	return &queueCheck{
		h: h, name: name, plain: make(map[check.Value]bool), settled: make(map[check.Value]bool),
		offsets: make(map[check.Value]record.Offset), values: make(map[record.Offset]check.Value),
	}
}

// received takes a delivery. A delivery without the flag may be overtaken by one that has
// it, on the way from a leader that has lost its place; but there is only one of them.
func (q *queueCheck) received(d *broker.Delivery) (check.Value, bool) {
	w := q.h.w
	v, err := check.ParsePayload(d.Message.Body)
	if err != nil {
		w.fail("%s: at offset %d: %v", q.name, d.Offset, err)
		return v, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if at, ok := q.offsets[v]; ok && at != d.Offset {
		w.fail("%s: %v lies at offset %d and at %d", q.name, v, at, d.Offset)
	}
	if other, ok := q.values[d.Offset]; ok && other != v {
		w.fail("%s: at offset %d there are %v and %v", q.name, d.Offset, other, v)
	}
	q.offsets[v], q.values[d.Offset] = d.Offset, v
	flagged := d.Redelivered && w.cfg.Bug != ForgottenFlags
	if !flagged && q.plain[v] {
		w.fail("%s: %v was delivered twice without the flag", q.name, v)
	}
	q.plain[v] = q.plain[v] || !flagged
	w.queue.Received(v, true)
	return v, true
}

// done: the ack of v is durable. A delivery that was on its way may come later, but
// its ack has no effect.
func (q *queueCheck) done(v check.Value) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.settled[v] {
		q.h.w.fail("%s: %v was acked twice", q.name, v)
	}
	q.settled[v] = true
}

// connection begins the list of what is published over one.
func (q *queueCheck) connection() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent = append(q.sent, nil)
	return len(q.sent) - 1
}

func (q *queueCheck) publishes(connection int, v check.Value) {
	q.h.w.queue.Attempt(v)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sent[connection] = append(q.sent[connection], v)
}

// judge: what was published over one connection lies in its order.
func (q *queueCheck) judge() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, values := range q.sent {
		there := slices.DeleteFunc(slices.Clone(values), func(v check.Value) bool { _, ok := q.offsets[v]; return !ok })
		for i := 1; i < len(there); i++ {
			if a, b := there[i-1], there[i]; q.offsets[a] >= q.offsets[b] {
				q.h.w.fail("%s: %v was published before %v, and lies at offset %d, behind %d", q.name, a, b, q.offsets[a], q.offsets[b])
				return
			}
		}
	}
}

// sender publishes with confirms.
type sender struct {
	user
	q       *queueCheck
	id      uint32
	counter uint32
}

func (s *sender) run() {
	for !s.h.calm.Load() {
		p := s.connect()
		if p == nil {
			return
		}
		s.talk(p)
		if !s.sleep(200 * time.Millisecond) {
			return
		}
	}
}

// talk is one connection.
func (s *sender) talk(p *process) {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	session, err := p.broker.OpenSession(broker.DefaultVHost)
	if err == nil {
		_, err = session.DeclareQueue(ctx, broker.QueueSpec{Name: s.q.name, Durable: true})
	}
	if err != nil {
		s.trace("cannot declare at n%d: %v", p.n.id, err)
		return
	}
	c := &confirms{q: s.q, p: p, open: make(map[uint64]check.Value), changed: make(chan struct{}, 1)}
	connection := s.q.connection()
	for tag := uint64(1); tag < 200 && p.ctx.Err() == nil && !s.h.calm.Load(); tag++ {
		v := check.Value{Producer: s.id, Counter: s.counter}
		s.counter++
		s.q.publishes(connection, v)
		size := 30
		if s.chance(6) {
			size = s.rng.IntN(4000)
		}
		m := record.Message{TTL: record.NoTTL, RoutingKey: []byte(s.q.name), Body: v.Payload(size)}
		c.expect(tag, v)
		n, err := session.Publish(&broker.Publication{RoutingKey: s.q.name, Stored: m.Append(nil)}, c, tag)
		if n != 1 || err != nil {
			s.h.w.fail("%s: %v is routed to %d queues, %v", s.name, v, n, err)
			return
		}
		s.sleep(40 * time.Millisecond)
		for c.waiting() > 20 && c.wait(s.h.ctx, time.Minute) {
		}
	}
	for c.waiting() > 0 && p.ctx.Err() == nil {
		if !c.wait(s.h.ctx, time.Minute) {
			break
		}
	}
	if n := c.waiting(); n > 0 && p.ctx.Err() == nil && s.h.ctx.Err() == nil {
		s.h.w.fail("%s: for a minute %d publishes at n%d have no answer", s.name, n, p.n.id)
	}
	session.Close(ctx)
}

// confirms are the publishes of a connection that were not answered.
type confirms struct {
	q *queueCheck
	p *process

	mu      sync.Mutex // guards open
	open    map[uint64]check.Value
	changed chan struct{}
}

func (c *confirms) expect(tag uint64, v check.Value) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[tag] = v
}

func (c *confirms) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// wait waits for an answer; false when there is none for so long, or never will be.
func (c *confirms) wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-c.changed:
		return true
	case <-t.C:
	case <-ctx.Done():
	case <-c.p.ctx.Done():
	}
	return false
}

// Published implements broker.Publisher.
func (c *confirms) Published(tag uint64, err error) {
	c.mu.Lock()
	v, ok := c.open[tag]
	delete(c.open, tag)
	c.mu.Unlock()
	wakeUp(c.changed)
	switch {
	case c.p.ctx.Err() != nil: // the connection is gone
	case !ok:
		c.q.h.w.fail("%s: n%d answers publish %d, which has an answer or was never made (%v)", c.q.name, c.p.n.id, tag, err)
	case err == nil:
		c.q.h.w.queue.Acked(v)
		c.q.h.acked.Add(1)
	}
}

// taker consumes with acks.
type taker struct {
	user
	q *queueCheck
}

// prefetch is how many messages a taker has in its hands.
const prefetch = 16

func (t *taker) run() {
	for {
		p := t.connect()
		if p == nil {
			return
		}
		t.talk(p)
		if !t.sleep(100 * time.Millisecond) {
			return
		}
	}
}

// talk is one connection.
func (t *taker) talk(p *process) {
	ctx, cancel := context.WithTimeout(p.ctx, 30*time.Second)
	defer cancel()
	session, err := p.broker.OpenSession(broker.DefaultVHost)
	if err == nil {
		_, err = session.DeclareQueue(ctx, broker.QueueSpec{Name: t.q.name, Durable: true})
	}
	in := &inbox{q: t.q, room: prefetch, filled: make(chan struct{}, 1)}
	var sub *broker.Subscription
	if err == nil {
		sub, err = session.Subscribe(ctx, broker.SubscribeOptions{Queue: t.q.name}, in, nil)
	}
	if err != nil {
		t.trace("cannot consume at n%d: %v", p.n.id, err)
		return
	}
	defer sub.Close()
	until := time.NewTimer(time.Second + time.Duration(t.rng.Int64N(int64(10*time.Second))))
	defer until.Stop()
	for {
		select {
		case <-in.filled:
		case <-until.C:
			if !t.h.calm.Load() {
				return
			}
		case <-p.ctx.Done():
			return
		case <-t.h.ctx.Done():
			return
		}
		for {
			item, over, ok := in.next()
			if over && p.ctx.Err() == nil {
				t.h.w.fail("%s: n%d ends the subscription", t.name, p.n.id)
			}
			if over {
				return
			}
			if !ok {
				break
			}
			t.settle(sub, in, item)
		}
	}
}

// settle decides about a message, a little later.
func (t *taker) settle(sub *broker.Subscription, in *inbox, item taken) {
	if t.chance(4) {
		t.sleep(20 * time.Millisecond)
	}
	if !t.h.calm.Load() && t.chance(8) {
		sub.Settle(broker.Requeue, []record.Offset{item.offset}, nil)
	} else {
		sub.Settle(broker.Accept, []record.Offset{item.offset}, func(err error) {
			if err == nil {
				t.q.done(item.value)
			}
		})
	}
	if in.settled(item) {
		sub.Resume()
	}
}

// inbox is a taker's broker.Sink.
type inbox struct {
	q *queueCheck

	mu     sync.Mutex // guards the rest
	room   int
	items  []taken
	times  int  // the leader was lost
	over   bool // canceled
	filled chan struct{}
}

// taken is a message in a taker's hands.
type taken struct {
	value  check.Value
	offset record.Offset
	times  int
}

// Take implements broker.Sink, as do the next ones.
func (i *inbox) Take(*broker.Subscription, int) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.room == 0 {
		return false
	}
	i.room--
	return true
}

// Deliver takes a message.
func (i *inbox) Deliver(_ *broker.Subscription, d *broker.Delivery) {
	v, ok := i.q.received(d)
	if !ok {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.items = append(i.items, taken{v, d.Offset, i.times})
	wakeUp(i.filled)
}

// Room is what Take would accept.
func (i *inbox) Room(*broker.Subscription) (messages, bytes int) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.room, 1 << 20
}

// Lost gives up what is not settled.
func (i *inbox) Lost(*broker.Subscription) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.times++
	i.items, i.room = nil, prefetch
}

// Canceled ends it.
func (i *inbox) Canceled(*broker.Subscription) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.over = true
	wakeUp(i.filled)
}

func (i *inbox) next() (t taken, over, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.items) == 0 {
		return taken{}, i.over, false
	}
	t, i.items = i.items[0], i.items[1:]
	return t, i.over, true
}

// settled makes room for another message; false when it was given up before.
func (i *inbox) settled(t taken) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if t.times != i.times {
		return false
	}
	i.room++
	return true
}
