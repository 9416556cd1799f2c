package broker

import (
	"encoding/binary"

	"waybill/internal/record"
)

// What a subscription lets the leader send ahead: the sink's room, bounded by this.
const (
	maxCreditMessages = 2000
	maxCreditBytes    = 1 << 20
)

// farSub is what a Subscription is on the stream of its queue. The leader has
// credit for as many messages as the sink had room for; a message for which the sink has
// no room after all goes back. It is owned by the shard.
type farSub struct {
	id       uint64 // on the stream; 0: not there
	admitted bool   // the leader has said so

	messages, bytes int  // the credit that the leader has; bytes is below zero after a large message
	paused          bool // the sink has refused a message, and has not resumed since
	returning       bool // the leader was told to pause, and has not answered
	dirty           bool // is in away.dirty

	refused  []record.Offset // to be returned
	accepted []record.Offset // delivered without acks
}

// verb flags of a subscription.
func (s *Subscription) flags() (b byte) {
	if s.options.Exclusive {
		b |= verbExclusive
	}
	if s.options.Pull {
		b |= verbPull
	}
	return b
}

// ask sends a verb.
func (a *away) ask(v awayVerb) {
	s := v.verb.sub
	switch v.verb.op {
	case verbSubscribe:
		if s.ended {
			v.verb.done(0, a.q.closedSub())
			return
		}
		a.place(s)
	case verbGet:
		if s.far.id == 0 {
			v.verb.done(0, a.q.closedSub())
			return
		}
	}
	a.lastID++
	a.asked[a.lastID] = awayAsked{awayVerb: v}
	a.stream.verb(a.lastID, v.verb)
}

// place gives s a number on the stream.
func (a *away) place(s *Subscription) {
	a.lastID++
	s.far = farSub{id: a.lastID}
	a.subs[s.far.id] = s
}

// subscribeAgain opens s on the next leader.
func (a *away) subscribeAgain(s *Subscription) {
	a.ask(awayVerb{since: a.now(), verb: &verb{op: verbSubscribe, doing: "consume from " + a.q.String(), sub: s, done: func(_ int, err error) {
		if err != nil && s.state == subOpen {
			// Another one has the queue for itself by now.
			a.q.leave(s)
			delete(a.subs, s.far.id)
			if s.sink != nil {
				s.sink.Canceled(s)
			}
		}
	}}})
}

// verb sends a verb that gets the answer id.
func (st *stream) verb(id uint64, v *verb) {
	out := st.link.out
	at := out.begin(frameVerb, st.id)
	b := binary.AppendUvarint(out.buf, id)
	b = append(b, byte(v.op))
	switch v.op {
	case verbSubscribe:
		b = append(b, v.sub.flags())
		b = binary.AppendUvarint(b, v.sub.far.id)
		b = binary.AppendVarint(b, int64(v.sub.options.Priority))
		b = append(b, v.sub.options.Tag...)
	case verbGet:
		b = append(b, 0)
		b = binary.AppendUvarint(b, v.sub.far.id)
	default:
		var flags byte
		if v.ifUnused {
			flags |= verbIfUnused
		}
		if v.ifEmpty {
			flags |= verbIfEmpty
		}
		b = append(b, flags)
	}
	out.buf = b
	out.end(at)
}

// replied takes the answer to a verb, or to something else that was asked.
func (a *away) replied(f *fields) error {
	id, n, consumers := f.uvarint(), f.varint(), f.varint()
	code, text := errorCode(f.byte()), f.text()
	w, ok := a.asked[id]
	if f.err != nil || !ok {
		return errFrame
	}
	delete(a.asked, id)
	err := parseError(code, text)
	switch {
	case w.done != nil:
		if w.safe {
			err = nil
		}
		w.done(err)
	case code == codeMoved || code == codeUnknown:
		a.stream.moved = true
		a.asked[id] = w // goes on with the others
	default:
		w.verb.consumers = int(consumers)
		if w.verb.op == verbSubscribe {
			a.admitted(w.verb, err)
			return nil
		}
		w.verb.done(int(n), err)
	}
	return nil
}

// admitted: the leader has admitted a subscription, or refused it.
func (a *away) admitted(v *verb, err error) {
	s := v.sub
	if s.ended {
		err = a.q.closedSub() // the leader was told by now
	}
	if err != nil {
		if s.state == subClosed {
			delete(a.subs, s.far.id)
			s.far = farSub{}
		}
		v.done(0, err)
		return
	}
	switch s.state {
	case subCanceled: // while it was opened again
		a.stream.link.out.put(frameClose, a.stream.id, s.far.id)
		delete(a.subs, s.far.id)
		s.far = farSub{}
	case subClosed:
		s.far.admitted = true
		a.q.enter(s)
		if v.opened != nil {
			v.opened(s)
		}
	case subOpen:
		s.far.admitted = true
	}
	v.done(0, nil)
	a.grant(s)
}

// grant gives the leader credit as the sink has room.
func (a *away) grant(s *Subscription) {
	f := &s.far
	if s.options.Pull || s.state != subOpen || !f.admitted || f.paused || f.returning {
		return
	}
	messages, bytes := s.sink.Room(s)
	if messages <= 0 {
		return // Resume follows
	}
	messages, bytes = min(messages, maxCreditMessages), min(bytes, maxCreditBytes)
	// The leader goes on as long as it has both; more is worth a frame when it is much.
	if f.messages > messages/2 && f.bytes > bytes/2 {
		return
	}
	addMessages, addBytes := max(0, messages-f.messages), max(0, bytes-f.bytes)
	if addMessages+addBytes == 0 {
		return
	}
	f.messages += addMessages
	f.bytes += addBytes
	a.stream.link.out.put(frameCredit, a.stream.id, f.id, uint64(addMessages), uint64(addBytes))
}

// delivered hands a message on to its sink.
func (a *away) delivered(f *fields) error {
	id := f.uvarint()
	d := Delivery{Offset: f.offset(), Redelivered: f.byte() != 0}
	stored := f.message(&d.Message)
	if err := f.end(); err != nil {
		return err
	}
	s := a.subs[id]
	if s == nil {
		return nil // closed by us: the leader puts it back
	}
	a.markDirty(s)
	s.far.messages--
	s.far.bytes -= len(stored)
	refuse := s.far.paused || s.far.returning // what comes after a refused one is not delivered either
	if !refuse && !s.sink.Take(s, len(stored)) {
		refuse = true
		s.far.paused = true
	}
	if refuse {
		s.far.refused = append(s.far.refused, d.Offset)
		return nil
	}
	s.sink.Deliver(s, &d)
	if s.options.NoAck {
		s.far.accepted = append(s.far.accepted, d.Offset)
	}
	return nil
}

func (a *away) markDirty(s *Subscription) {
	if !s.far.dirty {
		s.far.dirty = true
		a.dirty = append(a.dirty, s)
	}
}

// tellDirty tells the leader what became of the last deliveries, and gives it credit for more.
func (a *away) tellDirty() {
	for i, s := range a.dirty {
		a.dirty[i] = nil
		f := &s.far
		f.dirty = false
		if a.stream == nil || f.id == 0 {
			continue
		}
		if len(f.accepted) > 0 {
			a.stream.settle(f.id, 0, Accept, f.accepted)
			f.accepted = f.accepted[:0]
		}
		if len(f.refused) > 0 {
			a.stream.giveBack(f.id, !f.returning, f.refused)
			f.returning = true
			f.refused = f.refused[:0]
		}
		a.grant(s)
	}
	a.dirty = a.dirty[:0]
}

// paused: the leader has no credit for the subscription any more, and nothing is on its way.
func (a *away) paused(f *fields) error {
	id := f.uvarint()
	if s := a.subs[id]; s != nil {
		a.tellDirty() // what is refused goes before new credit
		s.far.returning = false
		s.far.messages, s.far.bytes = 0, 0
		a.grant(s)
	}
	return f.end()
}

// got takes the answer to a verbGet.
func (a *away) got(f *fields) error {
	id, remaining := f.uvarint(), f.uvarint()
	r := getResult{remaining: int(remaining), ok: len(f.rest) > 0}
	if r.ok {
		r.delivery = Delivery{Offset: f.offset(), Redelivered: f.byte() != 0}
		f.message(&r.delivery.Message)
	}
	w, ok := a.asked[id]
	if err := f.end(); err != nil || !ok || w.verb == nil || w.verb.op != verbGet {
		return errFrame
	}
	delete(a.asked, id)
	s := w.verb.sub
	w.verb.done(0, nil)
	claimed := w.verb.get.claimed.CompareAndSwap(false, true)
	if claimed {
		w.verb.get.result <- r
	}
	if !r.ok || s.far.id == 0 {
		return nil
	}
	switch offset := []record.Offset{r.delivery.Offset}; {
	case !claimed:
		a.stream.giveBack(s.far.id, false, offset) // nobody waits for it any more
	case s.options.NoAck:
		a.stream.settle(s.far.id, 0, Accept, offset)
	}
	return nil
}

// settle sends a cmdSettle.
func (a *away) settle(c *command) {
	s := c.sub
	if !s.far.admitted {
		a.q.vhost.b.metrics.queues.unknown.Add(float64(len(c.offsets)))
		if c.done == nil {
			return
		}
		if c.outcome == Requeue {
			c.done(nil)
		} else {
			c.done(errNotHeld)
		}
		return
	}
	var id uint64
	if c.done != nil {
		id = a.expect(c.done, c.outcome == Requeue)
	}
	a.stream.settle(s.far.id, id, c.outcome, c.offsets)
}

// expect notes a done that will be answered. safe: when the stream is lost
// instead, it has come to the same.
func (a *away) expect(done func(error), safe bool) (id uint64) {
	a.lastID++
	a.asked[a.lastID] = awayAsked{done: done, safe: safe}
	return a.lastID
}

// tell sends a cmdRecover or a cmdCancel.
func (a *away) tell(c *command, kind frameKind) {
	if !c.sub.far.admitted {
		if c.done != nil {
			c.done(nil) // the subscription holds nothing, and gets nothing
		}
		return
	}
	var id uint64
	if c.done != nil {
		id = a.expect(c.done, true)
	}
	a.stream.link.out.put(kind, a.stream.id, c.sub.far.id, id)
}

// close ends s.
func (a *away) close(s *Subscription) {
	s.ended = true
	if s.far.id != 0 {
		a.stream.link.out.put(frameClose, a.stream.id, s.far.id)
		delete(a.subs, s.far.id)
		s.far = farSub{}
	}
	if s.state != subClosed {
		a.q.leave(s)
	}
}

// loseSubs: what the subscriptions hold is delivered again, by another leader.
func (a *away) loseSubs() {
	a.dirty = nil
	for _, s := range a.subs {
		admitted := s.far.admitted
		s.far = farSub{}
		if admitted && s.sink != nil && a.q.state != removed {
			s.sink.Lost(s)
		}
	}
	a.subs = nil
}

// comeHome makes s a subscription of the leader here.
func (q *Queue) comeHome(s *Subscription) {
	s.reset()
	if s.state != subOpen || s.options.Pull {
		return
	}
	if q.leader.Subscribe(&s.sub) != nil {
		// Another one has the queue for itself by now.
		q.leave(s)
		if s.sink != nil {
			s.sink.Canceled(s)
		}
	}
}

// settle sends settlements; id 0: the answer does not matter.
func (st *stream) settle(sub, id uint64, o Outcome, offsets []record.Offset) {
	out := st.link.out
	at := out.begin(frameSettle, st.id)
	b := binary.AppendUvarint(out.buf, sub)
	b = binary.AppendUvarint(b, id)
	b = append(b, byte(o))
	out.buf = appendOffsets(b, offsets)
	out.end(at)
}

// giveBack returns messages that were not delivered.
func (st *stream) giveBack(sub uint64, pause bool, offsets []record.Offset) {
	out := st.link.out
	at := out.begin(frameReturn, st.id)
	b := binary.AppendUvarint(out.buf, sub)
	flag := byte(0)
	if pause {
		flag = 1
	}
	b = append(b, flag)
	out.buf = appendOffsets(b, offsets)
	out.end(at)
}

// closedSub is the error for a subscription that is over.
func (q *Queue) closedSub() *Error {
	return errorf(NotFound, "the subscription to %s is closed", q)
}
