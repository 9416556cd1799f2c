package queue

import (
	"slices"

	"waybill/internal/record"
)

// ahead is how far the delivered watermark runs ahead of the deliveries, in
// messages: the most that a new leader may wrongly flag as redelivered, and enough
// that a fast consumer does not wait for the watermark to be durable.
const ahead = 8192

// Source is where a Leader reads the messages that it delivers.
type Source interface {
	// Read reads the live message at off into m and returns the size of its
	// stored form; 0 when it is not at hand. Then the host fetches it, and
	// calls Leader.Run again when it is there.
	Read(off record.Offset, m *record.Message) (size int)
}

// Leader is what the leading replica of a queue has beside the Machine. It is
// made anew for each term of leadership. The host
//
//   - calls Applied after each Machine.Apply,
//   - calls Run after any change, with the time,
//   - puts what Append gives into each entry that it builds, and builds one
//     soon when Urgent says so, and some milliseconds later when Gathered does.
type Leader struct {
	machine *Machine
	config  Config
	source  Source

	ahead      record.Offset // the constant, save in tests
	mark       record.Offset // what is below may have been delivered by an earlier leader
	proposed   record.Offset // the highest watermark proposed
	ready      Offsets
	readyBytes int64
	unacked    int64
	again      Offsets // ready or unacked, and delivered in this term before
	consumers  consumers
	pulls      []*Sub // one for each unanswered Pull
	pulling    int    // subscriptions that have pulled and are not closed

	settled  [reasons]leaving
	gathered int64   // number of offsets in settled
	graves   []Grave // waiting for the host to dead-letter them
	buried   int64   // graves handed to the host, and not settled

	head    head
	expiry  expiry
	scratch Delivery

	counters Counters
}

// leaving are settled messages that no entry carries yet.
type leaving struct {
	offsets Offsets
	bytes   int64
}

// Counters count what a Leader did since it was made.
type Counters struct {
	Delivered   uint64 // to consumers and pulls
	Redelivered uint64 // of them, with the flag
	Requeued    uint64
	Unknown     uint64 // settles of what the subscription did not hold: ignored
}

// Grave is a message that left the queue without being consumed and has to be
// dead-lettered before it is settled.
type Grave struct {
	Offset record.Offset
	Bytes  int // of its body
	Reason Reason
}

// NewLeader begins a term of leadership with the machine's state.
func NewLeader(m *Machine, c Config, src Source) *Leader {
	return &Leader{
		machine:    m,
		config:     c,
		source:     src,
		ahead:      ahead,
		mark:       m.delivered,
		proposed:   m.delivered,
		ready:      *m.live.Clone(),
		readyBytes: m.bytes,
		consumers:  consumers{singleActive: c.SingleActive},
	}
}

// Applied takes notice of an entry that this leader built.
func (l *Leader) Applied(a Applied) {
	l.ready.Add(a.Base, a.End())
	l.readyBytes += a.Bytes
}

// Ready is the number of messages that are ready for delivery.
func (l *Leader) Ready() int64 { return l.ready.Count() }

// ReadyBytes is the size of their bodies.
func (l *Leader) ReadyBytes() int64 { return l.readyBytes }

// Unacked is the number of messages that subscriptions hold.
func (l *Leader) Unacked() int64 { return l.unacked }

// Consumers is the number of consumers; pulling subscriptions do not count.
func (l *Leader) Consumers() int { return len(l.consumers.all) }

// Counters returns what was counted so far.
func (l *Leader) Counters() Counters { return l.counters }

// Full reports whether a publish must be refused, when waiting messages with
// that many bytes in their bodies are on their way into the queue. As long as a
// consumer has room nothing is refused: what is on its way is on its way to it.
func (l *Leader) Full(waiting, bytes int64) bool {
	c := &l.config
	if c.Overflow == DropHead || l.consumers.turn() != nil {
		return false
	}
	return c.MaxLength >= 0 && l.ready.Count()+waiting >= c.MaxLength ||
		c.MaxBytes >= 0 && l.readyBytes+bytes >= c.MaxBytes
}

// Subscribe adds a consumer; ErrExclusive when it is kept out.
func (l *Leader) Subscribe(s *Sub) error { return l.consumers.add(s) }

// Cancel ends the deliveries to a consumer; it keeps what it holds.
func (l *Leader) Cancel(s *Sub) { l.consumers.remove(s) }

// Close ends a subscription and requeues what it holds. Pulls of it that wait
// find nothing.
func (l *Leader) Close(s *Sub) {
	l.consumers.remove(s)
	if s.pulling {
		s.pulling = false
		l.pulling--
		l.forgetPulls(s)
	}
	l.Recover(s)
}

// forgetPulls answers the pulls of s: a message that it was given later would
// never come back.
func (l *Leader) forgetPulls(s *Sub) {
	before := len(l.pulls)
	l.pulls = slices.DeleteFunc(l.pulls, func(o *Sub) bool { return o == s })
	for range before - len(l.pulls) {
		s.Puller.Pulled(nil, l.ready.Count(), nil)
	}
}

// Resume tells that s has room again.
func (l *Leader) Resume(s *Sub) { l.consumers.resume(s) }

// Pull asks for one message for s, which is answered by the Puller, perhaps in
// a later Run.
func (l *Leader) Pull(s *Sub) error {
	if l.config.SingleActive {
		return ErrSingleActive
	}
	if l.consumers.exclusive() {
		return ErrExclusive
	}
	l.pulls = append(l.pulls, s)
	if !s.pulling {
		s.pulling = true
		l.pulling++
	}
	return nil
}

// FailPulls answers all pulls with err.
func (l *Leader) FailPulls(err error) {
	pulls := l.pulls
	l.pulls = nil
	for _, s := range pulls {
		s.Puller.Pulled(nil, 0, err)
	}
}

// Urgent reports whether an entry should be built now, though no message
// waits: somebody has room, and the deliveries come close to the watermark.
func (l *Leader) Urgent() bool {
	if len(l.pulls) == 0 && l.consumers.turn() == nil {
		return false
	}
	head, ok := l.ready.First()
	return ok && l.proposed < min(l.machine.next, head+l.ahead/2)
}

// Gathered is the number of settled messages that wait for an entry.
func (l *Leader) Gathered() int64 { return l.gathered }

// Append appends the leader's part of the entry that ends at offset end.
func (l *Leader) Append(b []byte, end record.Offset) []byte {
	for reason := range l.settled {
		g := &l.settled[reason]
		if g.offsets.Count() > 0 {
			b = appendSettle(b, Reason(reason), g.bytes, &g.offsets)
			g.offsets.Reset()
			g.bytes = 0
		}
	}
	l.gathered = 0
	if l.pulling == 0 && len(l.consumers.all) == 0 {
		return b
	}
	head, ok := l.ready.First()
	if !ok {
		head = l.machine.next
	}
	if mark := min(end, head+l.ahead); mark > l.proposed {
		l.proposed = mark
		b = appendWatermark(b, mark)
	}
	return b
}
