package queue

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"waybill/internal/record"
)

// where a message of the model is.
type where uint8

const (
	inReady  where = iota
	inHand         // unacked by holder
	inGrave        // handed out to be dead-lettered
	settling       // settled by an entry that is not applied
	gone           // settled by an applied entry
)

// mmsg is a message of the model.
type mmsg struct {
	stored    []byte
	bytes     int
	where     where
	holder    *msub
	reason    Reason
	delivered bool // ever, in any term
	thisTerm  bool
	ends      int64 // -1: never
	zero      bool  // TTL 0: may still be delivered at once
}

// msub is a subscription of the model, and the consumer that it delivers to.
type msub struct {
	Sub
	w      *world
	window int // Take answers true while it holds less
	parked bool
	holds  []record.Offset
	pulls  int
}

// world is a queue with everything around it: the log, the clock, and a naive
// model of what must be the case.
type world struct {
	t       *rapid.T
	config  Config
	log     [][]byte // applied entries
	snap    []byte   // snapshot after snapAt entries
	snapAt  int
	machine *Machine
	leader  *Leader
	built   [][]byte
	leaves  [][]record.Offset // of each built entry
	next    record.Offset     // of the next message to be built
	msgs    []*mmsg           // by offset, applied ones and built ones
	subs    []*msub
	graves  []Grave
	mark    record.Offset
	cold    bool
	ahead   record.Offset
	now     int64
	fresh   record.Offset
}

const never record.Offset = 1 << 60

// Read implements Source.
func (w *world) Read(off record.Offset, m *record.Message) int {
	if w.cold {
		return 0
	}
	if w.msgs[off].where != inReady {
		w.t.Fatalf("reads %d, which is not ready but %d", off, w.msgs[off].where)
	}
	if _, err := m.Parse(w.msgs[off].stored); err != nil {
		w.t.Fatal(err)
	}
	return len(w.msgs[off].stored)
}

func (s *msub) Take(size int) bool {
	s.parked = len(s.holds) >= s.window
	return !s.parked
}

func (s *msub) Deliver(d *Delivery) { s.w.delivered(s, d) }

func (s *msub) Pulled(d *Delivery, remaining int64, err error) {
	s.pulls--
	if d != nil {
		s.w.delivered(s, d)
	} else if err == nil && s.w.firstReady(true) >= 0 {
		s.w.t.Fatalf("a pull found nothing, but %d is ready", s.w.firstReady(true))
	}
}

// firstReady is the first ready message, or -1. deliverable leaves out those that
// Run is about to drop.
func (w *world) firstReady(deliverable bool) record.Offset {
	for i, m := range w.msgs[:w.machine.Next()] {
		if m.where == inReady && !(deliverable && w.expired(record.Offset(i))) {
			return record.Offset(i)
		}
	}
	return -1
}

// expired reports whether the message must not be delivered any more.
func (w *world) expired(off record.Offset) bool {
	m := w.msgs[off]
	return m.ends >= 0 && w.now >= m.ends && !(m.zero && off >= w.fresh)
}

func (w *world) delivered(s *msub, d *Delivery) {
	m := w.msgs[d.Offset]
	if first := w.firstReady(true); first != d.Offset {
		w.t.Fatalf("delivers %d, but %d is ready and before it", d.Offset, first)
	}
	if m.delivered && !d.Redelivered {
		w.t.Fatalf("%d was delivered before and has no flag", d.Offset)
	}
	if d.Redelivered && !m.thisTerm && d.Offset >= w.mark {
		w.t.Fatalf("%d has the flag, but was never delivered", d.Offset)
	}
	if string(d.Message.Body) != string(w.body(d.Offset)) {
		w.t.Fatalf("%d has the wrong body", d.Offset)
	}
	if w.expired(d.Offset) {
		w.t.Fatalf("%d is delivered at %d, but expired at %d", d.Offset, w.now, m.ends)
	}
	m.delivered, m.thisTerm = true, true
	if s.NoAck {
		m.where, m.reason = settling, Accepted
		return
	}
	m.where, m.holder = inHand, s
	s.holds = append(s.holds, d.Offset)
}

func (w *world) body(off record.Offset) []byte {
	var m record.Message
	m.Parse(w.msgs[off].stored)
	return m.Body
}

func (w *world) run() {
	w.leader.Run(w.now, w.fresh)
	w.fresh = never
	w.graves = append(w.graves, w.leader.Graves()...)
	// What Run dropped, the model learns from the leader, and checks that there
	// was cause.
	for i, m := range w.msgs[:w.machine.Next()] {
		if m.where != inReady || w.leader.ready.Contains(record.Offset(i)) {
			continue
		}
		m.where, m.reason = settling, Overflow
		if w.config.DeadLetter {
			m.where = inGrave
		}
		if m.ends >= 0 && w.now >= m.ends {
			m.reason = Expired
		} else if w.config.MaxLength < 0 && w.config.MaxBytes < 0 || w.config.Overflow != DropHead {
			w.t.Fatalf("%d was dropped without cause", i)
		}
	}
	w.checkRun()
}

func (w *world) checkRun() {
	head := w.firstReady(false)
	if w.cold || head < 0 {
		return
	}
	m := w.msgs[head]
	if m.ends >= 0 && w.now >= m.ends {
		w.t.Fatalf("%d at the head expired at %d, now is %d", head, m.ends, w.now)
	}
	if c := w.config; c.Overflow == DropHead && (c.MaxLength >= 0 && w.leader.Ready() > c.MaxLength ||
		c.MaxBytes >= 0 && w.leader.ReadyBytes() > c.MaxBytes) {
		w.t.Fatalf("%d ready messages of %d bytes are over the limit", w.leader.Ready(), w.leader.ReadyBytes())
	}
	if ends, ok := w.leader.Expires(); (m.ends >= 0) != ok || ok && ends != m.ends {
		w.t.Fatalf("Expires() = %d %v, want %d", ends, ok, m.ends)
	}
	if w.leader.Urgent() || len(w.built) > 0 {
		return
	}
	for _, s := range w.subs {
		if s.consuming && !s.parked && (!w.config.SingleActive || w.leader.consumers.active == &s.Sub) {
			w.t.Fatalf("%d is ready, a consumer has room, and nothing happens", head)
		}
		if s.pulls > 0 {
			w.t.Fatalf("%d is ready, a pull waits, and nothing happens", head)
		}
	}
}

func (w *world) check() {
	var ready, unacked, bytes, readyBytes int64
	for i, m := range w.msgs[:w.machine.Next()] {
		off := record.Offset(i)
		if w.machine.live.Contains(off) != (m.where != gone) {
			w.t.Fatalf("%d is in place %d, live %v", off, m.where, w.machine.live.Contains(off))
		}
		if w.leader.ready.Contains(off) != (m.where == inReady) {
			w.t.Fatalf("%d is in place %d, ready %v", off, m.where, w.leader.ready.Contains(off))
		}
		if m.delivered && off >= w.machine.Delivered() {
			w.t.Fatalf("%d was delivered above the watermark %d", off, w.machine.Delivered())
		}
		switch m.where {
		case inReady:
			ready++
			readyBytes += int64(m.bytes)
		case inHand:
			unacked++
		}
		if m.where != gone {
			bytes += int64(m.bytes)
		}
	}
	l := w.leader
	if l.Ready() != ready || l.Unacked() != unacked || l.ReadyBytes() != readyBytes || w.machine.Bytes() != bytes {
		w.t.Fatalf("ready %d of %d bytes, unacked %d, bytes %d; want %d of %d, %d, %d",
			l.Ready(), l.ReadyBytes(), l.Unacked(), w.machine.Bytes(), ready, readyBytes, unacked, bytes)
	}
	for _, s := range w.subs {
		if s.Unacked() != len(s.holds) {
			w.t.Fatalf("a subscription holds %d, want %d", s.Unacked(), len(s.holds))
		}
	}
}

// build makes an entry with n new messages.
func (w *world) build(n int) {
	b := record.Header{Base: w.next, Count: uint32(n)}.Append(nil)
	batch := Batch{Count: n}
	var all []byte
	for range n {
		m := record.Message{Time: w.now, TTL: record.NoTTL, Body: make([]byte, rapid.IntRange(0, 20).Draw(w.t, "body"))}
		if rapid.IntRange(0, 4).Draw(w.t, "has ttl") == 0 {
			m.TTL = time.Duration(rapid.IntRange(0, 30).Draw(w.t, "ttl")) * time.Millisecond
			batch.Expiring = true
		}
		for i := range m.Body {
			m.Body[i] = byte(len(w.msgs))
		}
		mm := &mmsg{stored: m.Append(nil), bytes: len(m.Body), ends: -1}
		ttl := m.TTL
		if q := w.config.MessageTTL; q >= 0 && (ttl < 0 || q < ttl) {
			ttl = q
		}
		if ttl >= 0 {
			mm.ends, mm.zero = w.now+ttl.Milliseconds(), ttl == 0
		}
		w.msgs = append(w.msgs, mm)
		all = append(all, mm.stored...)
		batch.Size += len(mm.stored)
		batch.Bytes += int64(mm.bytes)
	}
	w.next += record.Offset(n)
	b = w.leader.Append(b, w.next)
	if n > 0 {
		b = append(batch.AppendHead(b), all...)
	}
	var leaves []record.Offset
	for i, m := range w.msgs {
		if m.where == settling && !slices.ContainsFunc(w.leaves, func(o []record.Offset) bool { return slices.Contains(o, record.Offset(i)) }) {
			leaves = append(leaves, record.Offset(i))
		}
	}
	w.built, w.leaves = append(w.built, b), append(w.leaves, leaves)
}

// apply applies the first built entry; the leader hears of it unless it is gone.
func (w *world) apply(leads bool) {
	data := w.built[0]
	before := w.machine.Next()
	a, err := w.machine.Apply(data)
	if err != nil {
		w.t.Fatal(err)
	}
	w.log = append(w.log, data)
	for _, off := range w.leaves[0] {
		w.msgs[off].where = gone
	}
	w.built, w.leaves = w.built[1:], w.leaves[1:]
	if leads {
		w.leader.Applied(a)
		w.fresh = before
	}
}

// crash loses what is volatile and some of the entries that are not committed.
func (w *world) crash() {
	for n := rapid.IntRange(0, len(w.built)).Draw(w.t, "survive"); n > 0; n-- {
		w.apply(false)
	}
	w.built, w.leaves = nil, nil
	w.msgs = w.msgs[:w.machine.Next()]
	w.next = w.machine.Next()
	for _, m := range w.msgs {
		if m.where != gone {
			m.where, m.holder = inReady, nil
		}
		m.thisTerm = false
	}
	old := w.machine
	w.machine = &Machine{}
	if w.snap != nil {
		if err := w.machine.Restore(w.snap); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, data := range w.log[w.snapAt:] {
		if _, err := w.machine.Apply(data); err != nil {
			w.t.Fatal(err)
		}
	}
	if string(old.Snapshot(nil)) != string(w.machine.Snapshot(nil)) {
		w.t.Fatal("the state is another one after recovery")
	}
	w.lead()
}

func (w *world) lead() {
	w.subs, w.graves = nil, nil
	w.leader = NewLeader(w.machine, w.config, w)
	w.leader.ahead = w.ahead
	w.mark = w.machine.Delivered()
	w.fresh = never
}

func (w *world) sub(pull bool) *msub {
	var some []*msub
	for _, s := range w.subs {
		if (s.Puller != nil) == pull {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		w.t.Skip("no subscription")
	}
	return rapid.SampledFrom(some).Draw(w.t, "sub")
}

// hold draws some of the offsets that a subscription holds and takes them from it.
func (w *world) hold(s *msub) []record.Offset {
	if len(s.holds) == 0 {
		w.t.Skip("holds nothing")
	}
	n := rapid.IntRange(1, len(s.holds)).Draw(w.t, "n")
	at := rapid.IntRange(0, len(s.holds)-n).Draw(w.t, "at")
	offsets := slices.Clone(s.holds[at : at+n])
	s.holds = slices.Delete(s.holds, at, at+n)
	return offsets
}

func (w *world) place(offsets []record.Offset, to where, why Reason) {
	for _, off := range offsets {
		w.msgs[off].where, w.msgs[off].holder, w.msgs[off].reason = to, nil, why
	}
}
