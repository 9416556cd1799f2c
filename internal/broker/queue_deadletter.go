package broker

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"waybill/internal/queue"
	"waybill/internal/record"
)

const (
	// maxBurials bounds the messages of a queue that are on their way to the
	// dead-letter exchange at the same time.
	maxBurials = 256
	// burialRetry is how long a message that could not be dead-lettered waits.
	burialRetry = time.Second
)

// burials are the messages of a queue that are being dead-lettered. Each stays
// in its queue, in nobody's hands, until every queue that the dead-letter
// exchange routes it to has it durably: dead-lettering loses nothing. After a
// crash in between it is ready again, so it may be dead-lettered twice.
type burials struct {
	waiting fifo[dying]
	open    int
	retryAt time.Time // zero, or nothing is tried before
	cursor  cursor
	router  *router
}

func (b *burials) reset() { *b = burials{} }

// dying is a message to be dead-lettered. Where one of its queues refused it
// the others are not given it again.
type dying struct {
	queue.Grave
	has []*Queue // have it already
}

// burial is one message on its way to the dead-letter exchange, and the event
// that tells its end.
type burial struct {
	queue  *Queue
	leader *queue.Leader // of the term in which it began
	open   atomic.Int32  // queues that have not answered

	mu    sync.Mutex // guards the rest, until open is 0
	dying dying
	err   error
}

// copied tells what became of the copy for one queue, on the shard of that queue.
func (b *burial) copied(to *Queue, err error) {
	b.mu.Lock()
	if err != nil {
		b.err = err
	} else {
		b.dying.has = append(b.dying.has, to)
	}
	b.mu.Unlock()
	if b.open.Add(-1) == 0 {
		b.queue.driver().Post(b)
	}
}

// copyOf is the Publisher of one copy.
type copyOf struct {
	burial *burial
	to     *Queue
}

// Published implements Publisher.
func (c *copyOf) Published(_ uint64, err error) { c.burial.copied(c.to, err) }

// bury begins to dead-letter what the leader has dropped.
func (q *Queue) bury() {
	if !q.config.DeadLetter {
		return
	}
	b := &q.graves
	for _, g := range q.leader.Graves() {
		b.waiting.push(dying{Grave: g})
	}
	if b.waiting.len() == 0 {
		b.cursor.reset()
		return
	}
	now := q.vhost.b.cfg.Now()
	if now.Before(b.retryAt) {
		return
	}
	b.retryAt = time.Time{}
	b.cursor.source = &q.source
	for b.waiting.len() > 0 && b.open < maxBurials && !q.source.isStuck(b.waiting.at(0).Offset) {
		var m record.Message
		g := b.waiting.at(0)
		if b.cursor.read(g.Offset, &m) == 0 {
			return // it is being read from disk
		}
		b.open++
		burial := &burial{queue: q, leader: q.leader, dying: b.waiting.pop()}
		q.deadLetter(&m, burial.dying.Reason.String(), burial)
	}
}

// buried takes the end of a burial.
func (q *Queue) buried(b *burial) {
	if b.leader != q.leader || q.leader == nil {
		return // its term is over; the message is ready again
	}
	q.graves.open--
	if b.err != nil {
		q.vhost.b.metrics.queues.retried.Inc()
		q.vhost.b.log.Warn("a message could not be dead-lettered yet; it is kept and tried again",
			"queue", q.spec.Name, "vhost", q.vhost.name, "exchange", q.config.DeadLetterExchange, "error", b.err)
		q.graves.waiting.push(b.dying)
		q.graves.retryAt = q.vhost.b.cfg.Now().Add(burialRetry)
		return
	}
	q.leader.Buried(b.dying.Grave)
}

// refuse answers a publish beyond the length limit.
func (q *Queue) refuse(c *command) {
	q.vhost.b.metrics.queues.refused.Inc()
	if q.config.Overflow == queue.RejectPublishDLX {
		var m record.Message
		if _, err := m.Parse(c.stored); err == nil {
			q.deadLetter(&m, queue.Overflow.String(), nil)
		}
	}
	q.fail(c, errOverflow)
}

// deadLetter publishes m to the dead-letter exchange. b, which may be nil,
// hears of every queue that it leads to; it ends at once when there is none.
func (q *Queue) deadLetter(m *record.Message, reason string, b *burial) {
	metrics := q.vhost.b.metrics.queues
	dead, deaths := q.dead(m, reason)
	x, ok := q.vhost.exchanges.get(dead.Exchange)
	var targets []*Queue
	if ok {
		if q.graves.router == nil {
			q.graves.router = new(router)
		}
		targets = slices.Clone(q.graves.router.route(x, dead))
	}
	if len(targets) == 0 {
		metrics.dropped.noTarget.Inc()
	}
	targets = slices.DeleteFunc(targets, func(t *Queue) bool {
		circle := deaths.circle(t.spec.Name)
		if circle {
			metrics.dropped.cycle.Inc()
		}
		return circle || b != nil && slices.Contains(b.dying.has, t)
	})
	if len(targets) == 0 {
		if b != nil {
			q.group.Post(b)
		}
		return
	}
	metrics.buried.Inc()
	if b != nil {
		b.open.Store(int32(len(targets)))
	}
	for _, t := range targets {
		var to Publisher
		if b != nil {
			to = &copyOf{burial: b, to: t}
		}
		// A shard must not wait for room; maxBurials bounds what goes over it.
		q.vhost.b.budget.used.Add(int64(len(dead.Stored)))
		t.post(command{kind: cmdPublish, stored: dead.Stored, to: to})
	}
}

// dead makes the message that is published to the dead-letter exchange.
func (q *Queue) dead(m *record.Message, reason string) (*Publication, deaths) {
	props, err := record.ParseProperties(m.Properties)
	if err != nil {
		// It was checked when it came in, or written by another version: what
		// can be kept of it is its body.
		q.vhost.b.log.Error("a dead-lettered message loses its properties", "queue", q.spec.Name, "error", err)
		props = record.Properties{}
	}
	headers := record.Table{}
	for name, value := range props.Headers {
		headers[name] = value
	}
	keys := append([]string{string(m.RoutingKey)}, textList(headers["CC"])...)
	d := recordDeath(headers, death{
		queue: q.spec.Name, reason: reason, exchange: string(m.Exchange), keys: keys,
		time: q.vhost.b.cfg.Now(), expiration: props.Expiration,
	})
	p := &Publication{Exchange: q.config.DeadLetterExchange, RoutingKey: keys[0], ExtraKeys: keys[1:]}
	if q.config.HasDeadLetterKey {
		p.RoutingKey, p.ExtraKeys = q.config.DeadLetterKey, nil
		delete(headers, "CC")
	}
	p.Headers = func() record.Table { return headers }
	props.Headers, props.Expiration = headers, ""
	encoded, err := props.Append(nil)
	if err != nil {
		panic("broker: properties of a dead-lettered message: " + err.Error()) // they were decoded just now
	}
	stored := record.Message{
		Time: q.vhost.b.cfg.Now().UnixMilli(), TTL: record.NoTTL, Properties: encoded, Body: m.Body,
		Exchange: []byte(p.Exchange), RoutingKey: []byte(p.RoutingKey),
	}
	p.Stored = stored.Append(make([]byte, 0, stored.EncodedLen()))
	return p, d
}
