package broker

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"

	"waybill/internal/replica"
)

// awayWait is how long what is asked of a queue waits for a leader.
const awayWait = 10 * time.Second

// A leader is looked for every awayRetry at first, and every awayPause when it
// is missing for long.
const (
	awayRetry = 20 * time.Millisecond
	awayPause = 250 * time.Millisecond
)

// away is how a Queue works while it is not led here: it forwards the commands
// to the node that leads, over a stream. Its state is the shard's.
//
// # Publishes
//
// They are kept, in order, until they are answered. The leader answers each:
// confirmed; refused; unknown, when it lost the leadership while it had proposed it; or
// moved, when it had not. When the connection is lost, what was sent on it is
// unknown. Unknown is a nack. What has moved, and what was not sent, goes to the next
// leader, in order, when there is one within awayWait, and is nacked else. Nothing is sent to the
// next leader before the previous one has answered all, so that nothing overtakes.
//
// # Verbs
//
// They are sent after the publishes that came before them, and sent again when their answer
// is lost; but for purge, whose number would be wrong.
//
// # Subscriptions
//
// They stay with the queue and are opened again on each leader. What the last one had
// delivered is lost to them (Sink.Lost).
type away struct {
	q      *Queue
	stream *stream // nil: none

	pubs  fifo[awayPub]
	first uint64 // number of the first of pubs
	next  uint64 // number of the first that was not sent on the stream
	open  int    // sent on the stream and not answered

	verbs  fifo[awayVerb]           // not sent
	asked  map[uint64]awayAsked     // sent, by id
	subs   map[uint64]*Subscription // on the stream, by id
	dirty  []*Subscription          // have something to tell after this batch of deliveries
	lastID uint64                   // of asked and subs

	since   time.Time // no node has said that it leads, since then; zero: the stream is open
	retryAt time.Time // no other node is tried before
	ringing bool      // a tick is on its way
}

// awayPub is one publish. One that is answered stays until those before it are.
type awayPub struct {
	stored []byte
	to     Publisher
	tag    uint64
	since  time.Time
	state  awayState
	more   bool // it shares its entry with the next one: they are sent in one frame, or given up together
}

func (p *awayPub) command() command {
	return command{kind: cmdPublish, stored: p.stored, to: p.to, tag: p.tag, more: p.more}
}

type awayState uint8

const (
	awayWaiting  awayState = iota // not sent on the stream
	awaySent                      // not answered
	awayAnswered                  // to be forgotten
)

type awayVerb struct {
	verb  *verb
	since time.Time
	after uint64 // number of the publish that it must not be sent before; those below it are
}

// awayAsked is something that was sent and is to be answered: a verb, or a done.
type awayAsked struct {
	awayVerb
	done func(error)
	safe bool // with done: when the answer is lost it has come to the same
}

type awayTick struct{} // the event that ends a retry's or a deadline's wait

// forwards reports whether what is not led here may be led elsewhere.
func (q *Queue) forwards() bool { return q.vhost.b.links != nil }

// afar returns the forwarding part, made when it is needed.
func (q *Queue) afar() *away {
	if q.far == nil {
		q.far = &away{q: q, since: q.vhost.b.cfg.Now()}
	}
	return q.far
}

// command forwards a command, at once or later. One that came from another
// node is not forwarded again: that node hears that the leader is not here.
func (a *away) command(c *command) {
	if g := c.guest(); g != nil {
		g.refuse(c)
		return
	}
	switch c.kind {
	case cmdPublish:
		a.keep(c)
	case cmdVerb:
		a.verbs.push(awayVerb{verb: c.verb, since: a.now(), after: a.end()})
	case cmdSettle:
		a.settle(c)
	case cmdRecover:
		a.tell(c, frameRecover)
	case cmdResume:
		c.sub.far.paused = false
		a.grant(c.sub)
	case cmdCancel:
		if c.sub.state == subOpen {
			c.sub.state = subCanceled
		}
		a.tell(c, frameCancel)
	case cmdClose:
		a.close(c.sub)
	}
}

// keep takes a publish in. Those that share an entry are of the same time.
func (a *away) keep(c *command) {
	c.own()
	p := awayPub{stored: c.stored, to: c.to, tag: c.tag, since: a.now(), more: c.more}
	if n := a.pubs.len(); n > 0 && a.pubs.at(n-1).more {
		p.since = a.pubs.at(n - 1).since
	}
	a.pubs.push(p)
}

func (a *away) now() time.Time { return a.q.vhost.b.cfg.Now() }

// end is the number after the last of pubs.
func (a *away) end() uint64 { return a.first + uint64(a.pubs.len()) }

func (a *away) pub(number uint64) *awayPub { return a.pubs.at(int(number - a.first)) }

// handle takes an event of the stream, or a tick.
func (a *away) handle(event any) {
	switch e := event.(type) {
	case *farFrames:
		if e.stream == a.stream {
			a.frames(e.frames)
		}
	case *farLost:
		if e.stream == a.stream {
			a.lose(replica.ErrUnknown)
		}
	case awayTick:
		a.ringing = false
	}
}

// run does what is possible now.
func (a *away) run() {
	if s := a.stream; s != nil && s.moved && a.open == 0 {
		a.lose(replica.ErrUnknown)
	}
	now := a.now()
	if a.stream != nil && !a.stream.opened {
		if node, ok := a.q.leaderElsewhere(); !ok || node != a.stream.link.node {
			a.lose(replica.ErrUnknown) // it went on before it was reached
		}
	}
	if a.stream == nil && a.busy() && !now.Before(a.retryAt) {
		a.connect(now)
	}
	if a.ready() {
		a.sendPubs()
		a.sendVerbs()
		return
	}
	a.expire(now)
	a.wait(now)
}

// ready reports whether the stream leads to a leader.
func (a *away) ready() bool { return a.stream != nil && a.stream.opened && !a.stream.moved }

// busy reports whether a stream is needed.
func (a *away) busy() bool {
	return a.pubs.len() > 0 || a.verbs.len() > 0 || slices.ContainsFunc(a.q.subs, func(s *Subscription) bool { return s.state == subOpen })
}

// wait sees to it that run is called again in time.
func (a *away) wait(now time.Time) {
	if a.ringing || !a.busy() {
		return
	}
	a.ringing = true
	pause := min(max(awayRetry, now.Sub(a.since)/8), awayPause)
	time.AfterFunc(pause, func() { a.q.driver().Post(awayTick{}) })
}

// connect opens a stream to the leader, when one is known.
func (a *away) connect(now time.Time) {
	a.retryAt = now.Add(awayRetry)
	node, ok := a.q.leaderElsewhere()
	if !ok {
		return
	}
	l := a.q.vhost.b.links.get(node)
	if l == nil {
		return
	}
	if a.stream = l.open(a.q, a.q.spec.Log); a.stream == nil {
		return
	}
	a.next = a.first
	a.asked, a.subs = map[uint64]awayAsked{}, map[uint64]*Subscription{}
}

// opened: the node at the other end leads the queue.
func (a *away) opened() {
	a.stream.opened = true
	a.since, a.retryAt = time.Time{}, time.Time{}
	for _, s := range a.q.subs {
		if s.state == subOpen {
			a.subscribeAgain(s)
		}
	}
}

// sendPubs sends what waits, as far as the windows let it.
func (a *away) sendPubs() {
	s := a.stream
	for a.next < a.end() && s.bytes < streamWindow {
		if a.pub(a.next).state == awayAnswered {
			a.next++
			continue
		}
		kind, n, size := a.frameful()
		if !s.link.reserve(s, size) {
			return
		}
		at := a.pubs.head + int(a.next-a.first)
		batch := a.pubs.items[at : at+n]
		s.link.publish(kind, s, a.next, batch)
		for i := range batch {
			batch[i].state = awaySent
		}
		a.next += uint64(n)
		a.open += n
	}
}

// frameful is how many publishes from next on go into one frame, and their
// bytes: some that have nothing to do with each other, or all that share an entry.
func (a *away) frameful() (kind frameKind, n, size int) {
	together := a.pub(a.next).more
	for a.next+uint64(n) < a.end() {
		p := a.pub(a.next + uint64(n))
		if !together && (p.more || p.state == awayAnswered || n > 0 && size+len(p.stored) > publishFrame) {
			break
		}
		n++
		size += len(p.stored)
		if together && !p.more {
			break
		}
	}
	if together {
		return frameTogether, n, size
	}
	return framePublish, n, size
}

// sendVerbs sends the verbs whose turn it is.
func (a *away) sendVerbs() {
	for a.verbs.len() > 0 && a.verbs.at(0).after <= a.next {
		a.ask(a.verbs.pop())
	}
}

// frames takes what the leader has told.
func (a *away) frames(frames []farFrame) {
	link := a.stream.link // a frame may be the stream's end
	for i := range frames {
		f := &frames[i]
		if err := a.frame(f.kind, &f.body); err != nil {
			link.broken()
			break
		}
		if a.stream == nil {
			return
		}
	}
	a.tellDirty()
}

func (a *away) frame(kind frameKind, f *fields) error {
	switch kind {
	case frameOpened:
		if !a.stream.opened {
			a.opened()
		}
	case frameMoved:
		a.stream.moved = true
		if a.open == 0 {
			a.tellDirty()
			a.lose(replica.ErrUnknown)
		}
	case frameAnswered:
		code, first, count := errorCode(f.byte()), f.uvarint(), f.uint32()
		if err := f.end(); err != nil {
			return err
		}
		return a.answered(code, first, uint64(count))
	case frameDeliver:
		return a.delivered(f)
	case frameReply:
		return a.replied(f)
	case frameGot:
		return a.got(f)
	case framePaused:
		return a.paused(f)
	default:
		return errFrame
	}
	return f.end()
}

// answered tells the publishers of count messages from first on.
func (a *away) answered(code errorCode, first, count uint64) error {
	if first < a.first || first > a.next || count > a.next-first {
		return errFrame
	}
	err := parseError(code, nil)
	var size int
	for number := first; number < first+count; number++ {
		p := a.pub(number)
		if p.state != awaySent {
			return errFrame
		}
		a.open--
		size += len(p.stored)
		if code == codeMoved {
			p.state = awayWaiting
			a.stream.moved = true
			continue
		}
		a.finish(p, err)
	}
	a.stream.bytes -= size
	a.stream.link.release(a.stream, size)
	a.trim()
	return nil
}

// finish answers one publish.
func (a *away) finish(p *awayPub, err error) {
	c := p.command()
	*p = awayPub{state: awayAnswered}
	a.q.fail(&c, err)
}

// trim forgets the publishes at the front that are answered.
func (a *away) trim() {
	for a.pubs.len() > 0 && a.pubs.at(0).state == awayAnswered {
		a.pubs.pop()
		a.first++
	}
	a.next = max(a.next, a.first)
}

// lose ends the stream. What was not answered on it gets err, or goes on to the next. nil: the queue was
// deleted.
func (a *away) lose(err error) {
	s := a.stream
	if s == nil {
		return
	}
	a.stream = nil
	if a.since.IsZero() {
		a.since = a.now()
	}
	if s.opened && !s.moved {
		a.retryAt = time.Time{} // there may be another leader already
	}
	s.link.leave(s)
	for number := a.first; number < a.next; number++ {
		if p := a.pub(number); p.state == awaySent {
			a.finish(p, cmp.Or(err, a.q.whenDeleted()))
		}
	}
	a.open = 0
	a.next = a.first
	a.trim()
	a.loseSubs()
	a.loseAsked(err)
}

// loseAsked sees to what was asked and not answered.
func (a *away) loseAsked(err error) {
	asked := a.asked
	a.asked = nil
	var again []awayVerb
	for _, id := range slices.Sorted(maps.Keys(asked)) {
		switch w := asked[id]; {
		case w.done != nil && w.safe:
			w.done(nil)
		case w.done != nil:
			w.done(err)
		case w.verb.op == verbPurge && a.q.state != removed:
			w.verb.done(0, unavailable(w.verb.doing, err))
		case w.verb.op == verbSubscribe && w.verb.sub.state == subOpen:
			// It is opened again with the others.
		default:
			again = append(again, w.awayVerb)
		}
	}
	if len(again) > 0 {
		again = append(again, a.verbs.drain()...)
		a.verbs = fifo[awayVerb]{items: again}
	}
}

// expire gives up what has waited for a leader too long.
func (a *away) expire(now time.Time) {
	late := func(since time.Time) bool {
		if since.Before(a.since) {
			since = a.since
		}
		return now.Sub(since) >= awayWait
	}
	for a.pubs.len() > 0 && late(a.pubs.at(0).since) {
		a.finish(a.pubs.at(0), errNoLeader)
		a.trim()
	}
	for a.verbs.len() > 0 && late(a.verbs.at(0).since) {
		v := a.verbs.pop().verb
		v.done(0, unavailable(v.doing, errNoLeader))
	}
	// A queue in memory has gone with its node; the catalog says so when that starts again.
	if !a.q.spec.Replicated() && late(a.since) {
		a.q.endSubscriptions()
	}
}

// home: the queue is led here from now on. What was with another leader is
// settled there; the rest goes on here.
func (a *away) home() {
	q := a.q
	a.lose(replica.ErrUnknown)
	q.far = nil
	for _, s := range slices.Clone(q.subs) {
		q.comeHome(s)
	}
	for _, p := range a.pubs.drain() {
		if p.state != awayAnswered {
			c := p.command()
			q.do(&c)
		}
	}
	for _, v := range a.verbs.drain() {
		q.do(&command{kind: cmdVerb, verb: v.verb})
	}
}

// over: the queue was removed, or the host is closed. Nothing is forwarded any more.
func (a *away) over() {
	q := a.q
	reason := q.reason
	if q.state == removed {
		reason = nil
	}
	// What was with the leader has the fate of the queue.
	a.lose(reason)
	q.far = nil
	for _, p := range a.pubs.drain() {
		if p.state != awayAnswered {
			c := p.command()
			q.command(&c)
		}
	}
	for _, v := range a.verbs.drain() {
		q.command(&command{kind: cmdVerb, verb: v.verb})
	}
}

// leaderElsewhere names the node that leads the queue, when it is not this one.
func (q *Queue) leaderElsewhere() (node uint64, ok bool) {
	b := q.vhost.b
	node, ok = b.leaderNode(q)
	return node, ok && node != b.NodeID()
}

// leaderMoved tells that the queue may have got another leader.
func (q *Queue) leaderMoved() {
	if g := q.driver(); g != nil {
		g.Post(awayTick{})
	}
}

var errMoved = errors.New("broker: the queue is led elsewhere now")
