package amqp

import (
	"sync"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// channel is one AMQP channel. Its methods run on the connection's reader
// goroutine; deliveries, confirms and cancellations come from shards and touch
// only what mu guards.
type channel struct {
	id   uint16
	conn *conn

	// Owned by the reader goroutine.
	incoming  incoming // the publication that is being received
	lastQueue string   // the queue that was declared last; stands for an empty name
	prefetch  int      // window of consumers to come
	confirm   bool     // confirm.select was sent
	tx        *transaction
	pulls     map[pullKey]*consumer
	asker     *consumer  // waits for answers at an address of direct reply-to
	picked    []delivery // scratch of settle
	closing   bool       // channel.close was sent by us: drop all but close-ok

	told chan struct{} // capacity 1: confirms were told

	mu        sync.Mutex // guards the rest; taken before output.mu
	closed    bool       // nothing more is sent on this channel
	consumers map[string]*consumer
	subs      map[*consumer]struct{} // all whose subscription is not ended
	unacked   unacked
	lastTag   uint64 // the last delivery tag
	limit     int    // window of the whole channel, 0 for none
	held      int    // deliveries that fill it
	full      []*consumer
	confirms  confirms
	dirty     bool // the writer is to tell confirms
}

// pullKey names a subscription behind basic.get.
type pullKey struct {
	queue string
	noAck bool
}

func newChannel(c *conn, id uint16) *channel {
	ch := &channel{
		id: id, conn: c, told: make(chan struct{}, 1),
		consumers: map[string]*consumer{}, subs: map[*consumer]struct{}{}, pulls: map[pullKey]*consumer{},
	}
	ch.incoming.init()
	return ch
}

// send appends a method to the output.
func (ch *channel) send(m spec.Method) {
	ch.conn.out.append(func(b []byte) []byte { return appendMethod(b, ch.id, m) })
}

// track gives a delivery its tag, and remembers it until it is settled. Under
// mu.
func (ch *channel) track(c *consumer, offset record.Offset) uint64 {
	ch.lastTag++
	if !c.noAck {
		ch.unacked.push(delivery{tag: ch.lastTag, from: c, offset: offset})
	}
	return ch.lastTag
}

// drop forgets the subscription of c, which has ended. Under mu.
func (ch *channel) drop(c *consumer) {
	delete(ch.subs, c)
}

// credit gives back n deliveries of c's windows, and returns the consumers that
// can go on. Under mu.
func (ch *channel) credit(c *consumer, n int) []*consumer {
	c.held -= n
	if !c.pull {
		ch.held -= n
	}
	return ch.unfull()
}

// unfull returns the consumers that paused because a window was full and that
// can go on. Under mu.
func (ch *channel) unfull() (resumable []*consumer) {
	waiting := ch.full[:0]
	for _, f := range ch.full {
		switch {
		case f.ended || f.queueGone:
			f.full = false
		case f.hasCredit():
			f.full = false
			resumable = append(resumable, f)
		default:
			waiting = append(waiting, f)
		}
	}
	clear(ch.full[len(waiting):])
	ch.full = waiting
	return resumable
}

// close ends everything that the channel holds. Confirms that are known are
// still told; what is unsettled goes back to its queues.
func (ch *channel) close() {
	ch.conn.flushSettled()
	ch.mu.Lock()
	if ch.closed {
		ch.mu.Unlock()
		return
	}
	ch.tellConfirms()
	ch.closed = true
	subs := ch.subs
	ch.subs = nil
	taken := 0
	for c := range subs {
		taken += c.taken
		c.taken = 0
	}
	ch.unacked, ch.confirms, ch.full = unacked{}, confirms{}, nil
	ch.mu.Unlock()
	ch.conn.out.release(taken)
	ch.begin(nil)
	ch.endReplies()
	ch.dropIncoming()
	for c := range subs {
		if c.held > 0 {
			// Close puts the messages back too, but does not say when: whoever reads
			// the queue next on this connection is to find them.
			ch.conn.pending.add()
			c.sub.Recover(ch.conn.pending.settled)
		}
		c.sub.Close()
	}
}

// Published implements broker.Publisher. Tag 0 stands for a publication that is
// not to be confirmed.
func (ch *channel) Published(tag uint64, err error) {
	if tag != 0 {
		ch.resolve(tag, err == nil)
	}
	ch.conn.pending.done()
}

// resolve has the writer tell the client what became of the publication.
func (ch *channel) resolve(tag uint64, ok bool) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.closed {
		return
	}
	ch.confirms.resolve(tag, ok)
	if !ch.dirty {
		ch.dirty = true
		ch.conn.out.markDirty(ch)
	}
}

// tellConfirms encodes the acks and nacks for all publications whose fate is
// known. Under mu.
func (ch *channel) tellConfirms() {
	ch.dirty = false
	if ch.closed {
		return
	}
	out := ch.conn.out
	out.lock()
	b := out.buf
	ch.confirms.tell(func(tag uint64, multiple, nack bool) {
		var at int
		b, at = beginFrame(b, spec.FrameMethod, ch.id)
		if nack {
			m := spec.BasicNack{DeliveryTag: tag, Multiple: multiple}
			b = m.Append(b)
		} else {
			m := spec.BasicAck{DeliveryTag: tag, Multiple: multiple}
			b = m.Append(b)
		}
		b = endFrame(b, at)
		ch.conn.metrics.confirmed(nack)
	})
	out.buf = b
	out.unlock()
	signal(ch.told)
}

// settle decides about the deliveries of a tag.
func (ch *channel) settle(tag uint64, multiple bool, outcome broker.Outcome) error {
	ch.mu.Lock()
	picked, ok := ch.unacked.take(tag, multiple, ch.picked[:0])
	ch.mu.Unlock()
	ch.picked = picked[:0]
	if !ok {
		return exceptionf(spec.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	if ch.tx != nil {
		return ch.tx.settle(picked, outcome)
	}
	ch.conn.metrics.settled(len(picked))
	for _, d := range picked {
		ch.conn.settleLater(d.from, outcome, d.offset)
	}
	clear(picked)
	return nil
}
