package broker

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"waybill/internal/record"
	"waybill/internal/replica"
)

// guests are the connections of other nodes that forward what their clients
// want from queues that are led here.
type guests struct {
	mu     sync.Mutex // guards the rest
	links  map[*guestLink]struct{}
	newest map[uint64]*guestLink // of each node
	closed bool
	runs   sync.WaitGroup // one for each link
}

// serveQueues serves a connection that another node has opened, until it ends. A
// node that opens one has given up the one before. What is still on its way over that must not
// overtake, behind a cut that was mended, what comes over this one: it is ended first.
func (b *Broker) serveQueues(from uint64, conn net.Conn) {
	l := &guestLink{b: b, conn: conn, out: newOutbox(), guests: map[uint64]*guest{}, ended: make(chan struct{})}
	gs := &b.guests
	gs.mu.Lock()
	if gs.closed {
		gs.mu.Unlock()
		_ = conn.Close()
		return
	}
	if gs.links == nil {
		gs.links, gs.newest = map[*guestLink]struct{}{}, map[uint64]*guestLink{}
	}
	before := gs.newest[from]
	gs.links[l], gs.newest[from] = struct{}{}, l
	gs.runs.Add(1)
	gs.mu.Unlock()
	if before != nil {
		_ = before.conn.Close()
		<-before.ended
	}
	l.serve()
	close(l.ended)
	gs.mu.Lock()
	delete(gs.links, l)
	if gs.newest[from] == l {
		delete(gs.newest, from)
	}
	gs.mu.Unlock()
	gs.runs.Done()
}

// close ends all connections and waits for them.
func (gs *guests) close() {
	gs.mu.Lock()
	gs.closed = true
	for l := range gs.links {
		_ = l.conn.Close()
	}
	gs.mu.Unlock()
	gs.runs.Wait()
}

// guestLink is one such connection.
type guestLink struct {
	b      *Broker
	conn   net.Conn
	out    *outbox
	guests map[uint64]*guest // by stream; owned by the reader
	ended  chan struct{}     // closed when nothing that came over it can do anything any more

	mu      sync.Mutex // guards the rest
	stalled []stalled  // publishes that wait for the end of an alarm, in order
}

// stalled are publishes that are posted in one go, while the node is short of disk. The
// other node's window bounds them.
type stalled struct {
	guest    *guest
	commands []command
}

// guest is a stream: a queue, as another node uses it.
type guest struct {
	link *guestLink
	id   uint64
	q    *Queue               // nil: there is none
	subs map[uint64]*guestSub // owned by the reader

	// Owned by the queue's shard. The other node was told, or is about to be, that the leader
	// is not here: all that comes on the stream is refused, also when the leader is back. So
	// nothing overtakes what was refused.
	over bool
}

// guestSub is the sink of a subscription of another node: credit that this node
// has got.
type guestSub struct {
	guest *guest
	id    uint64
	sub   *Subscription

	messages, bytes atomic.Int64

	starved bool // guarded by outbox.mu
}

func (l *guestLink) serve() {
	unwatch := l.b.OnAlarm(func(reason string) {
		if reason == "" {
			go l.unstall()
		}
	})
	ended, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		_ = l.out.run(l.conn, ended) // the reader sees that it is over
		_ = l.conn.Close()
	}()
	err := l.read()
	if errors.Is(err, errFrame) {
		l.b.log.Error("a node does not speak as it should about queues; its connection is closed", "peer", l.conn.RemoteAddr(), "error", err)
	}
	close(ended)
	<-written
	unwatch()
	l.out.close()
	for _, g := range l.guests {
		g.leave()
	}
	l.mu.Lock()
	dropped := l.stalled
	l.stalled = nil
	l.mu.Unlock()
	for _, d := range dropped {
		for i := range d.commands {
			l.b.budget.release(int64(len(d.commands[i].stored)))
		}
	}
}

func (l *guestLink) read() error {
	r := newFrameReader(patient{l.conn})
	for {
		kind, id, body, err := r.next()
		if err == nil {
			err = l.frame(kind, id, &body)
		}
		if err != nil {
			return err
		}
	}
}

// frame takes one frame.
func (l *guestLink) frame(kind frameKind, id uint64, f *fields) error {
	switch kind {
	case framePing:
		return f.end()
	case frameDirect:
		return l.b.takeDirect(f)
	}
	g := l.guests[id]
	if kind == frameOpen {
		log := record.LogID(f.uvarint())
		if err := f.end(); err != nil || g != nil {
			return errFrame
		}
		l.open(id, log)
		return nil
	}
	if g == nil {
		return errFrame
	}
	switch kind {
	case frameLeave:
		g.leave()
		delete(l.guests, id)
		return f.end()
	case framePublish:
		return g.publish(f)
	case frameTogether:
		return g.together(f)
	case frameVerb:
		return g.verb(f)
	}
	s := g.subs[f.uvarint()]
	if s == nil {
		// It could not be opened, because the queue was not here.
		return f.err
	}
	return s.frame(kind, f)
}

// open begins a stream.
func (l *guestLink) open(id uint64, log record.LogID) {
	g := &guest{link: l, id: id, subs: map[uint64]*guestSub{}}
	l.guests[id] = g
	if q, ok := l.b.queueOf(log); ok && q.offline == nil {
		g.q = q
		q.post(command{kind: cmdGuestOpen, to: g})
		return
	}
	// Not known yet, or not any more. The other node knows better, or will.
	l.out.put(frameMoved, id)
}

// welcome tells that the queue is led here.
func (g *guest) welcome() { g.link.out.put(frameOpened, g.id) }

// moved tells that it is not, or not any more. On the shard.
func (g *guest) moved() {
	if !g.over {
		g.over = true
		g.link.out.put(frameMoved, g.id)
	}
}

// refuse answers a command that came from another node while the leader is not
// here.
func (g *guest) refuse(c *command) {
	if c.kind != cmdGuestOpen && c.kind != cmdVerb && c.stored != nil {
		g.over = true
	}
	g.q.fail(c, replica.ErrNotLeader)
}

// leave ends the stream: what its subscriptions hold goes back.
func (g *guest) leave() {
	for _, s := range g.subs {
		s.sub.Close()
	}
}

// Published implements Publisher.
func (g *guest) Published(number uint64, err error) { g.link.out.answer(g, number, codeFor(err)) }

// reply answers something that was asked.
func (g *guest) reply(id uint64, n, consumers int, err error) {
	out := g.link.out
	at := out.begin(frameReply, g.id)
	b := binary.AppendUvarint(out.buf, id)
	b = binary.AppendVarint(b, int64(n))
	b = binary.AppendVarint(b, int64(consumers))
	out.buf = appendError(b, err)
	out.end(at)
}

// publish takes messages.
func (g *guest) publish(f *fields) error {
	number := f.uvarint()
	for len(f.rest) > 0 {
		c, err := g.message(f, number)
		if err != nil {
			return err
		}
		g.link.post(g, c)
		number++
	}
	return f.err
}

// together takes messages that share an entry.
func (g *guest) together(f *fields) error {
	var cs []command
	for number := f.uvarint(); len(f.rest) > 0; number++ {
		c, err := g.message(f, number)
		if err != nil {
			for i := range cs {
				g.link.b.budget.release(int64(len(cs[i].stored)))
			}
			return err
		}
		c.more = len(f.rest) > 0
		cs = append(cs, c)
	}
	if f.err == nil && len(cs) > 0 {
		g.link.post(g, cs...)
	}
	return f.err
}

// message takes one message of a frame.
func (g *guest) message(f *fields, number uint64) (command, error) {
	var m record.Message
	stored := f.message(&m)
	if f.err != nil {
		return command{}, f.err
	}
	// Whoever reads for many must not wait for room; the other node's window bounds what comes.
	g.link.b.budget.used.Add(int64(len(stored)))
	return command{kind: cmdGuestPublish, stored: stored, to: g, tag: number}, nil
}

// post hands publishes to the queue, later while there is an alarm.
func (l *guestLink) post(g *guest, cs ...command) {
	if !l.b.alarmed() && !l.stalling() {
		g.post(cs...)
		return
	}
	l.mu.Lock()
	l.stalled = append(l.stalled, stalled{g, cs})
	l.mu.Unlock()
	if !l.b.alarmed() {
		l.unstall() // the alarm ended meanwhile
	}
}

func (l *guestLink) stalling() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.stalled) > 0
}

// unstall hands on what has waited for the end of an alarm.
func (l *guestLink) unstall() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.stalled {
		s.guest.post(s.commands...)
	}
	l.stalled = nil
}

// post hands publishes to the queue.
func (g *guest) post(cs ...command) {
	if g.q == nil {
		for i := range cs {
			g.link.b.budget.release(int64(len(cs[i].stored)))
			g.Published(cs[i].tag, replica.ErrNotLeader)
		}
		return
	}
	g.q.post(cs...)
}

// verb takes a call that waits for its answer.
func (g *guest) verb(f *fields) error {
	id, op, flags := f.uvarint(), verbOp(f.byte()), f.byte()
	v := &verb{op: op, guest: g}
	v.done = func(n int, err error) { g.reply(id, n, v.consumers, err) }
	switch op {
	case verbStatus, verbPurge:
	case verbDelete:
		v.ifUnused, v.ifEmpty = flags&verbIfUnused != 0, flags&verbIfEmpty != 0
	case verbSubscribe:
		if err := g.subscribe(v, flags, f); err != nil {
			return err
		}
	case verbGet:
		s := g.subs[f.uvarint()]
		if f.err != nil || s == nil {
			return errFrame
		}
		v.sub = s.sub
		v.get = &get{answer: func(r *getResult) { g.answerGet(id, r) }}
		v.done = func(_ int, err error) {
			if err != nil {
				g.reply(id, 0, 0, err)
			}
		}
	default:
		return errFrame
	}
	if err := f.end(); err != nil {
		return err
	}
	if g.q == nil {
		v.done(0, replica.ErrNotLeader)
		return nil
	}
	v.doing = "answer another node about " + g.q.String()
	g.q.post(command{kind: cmdVerb, verb: v})
	return nil
}

// subscribe makes the subscription of a verb.
func (g *guest) subscribe(v *verb, flags byte, f *fields) error {
	id, priority := f.uvarint(), f.varint()
	o := SubscribeOptions{
		Exclusive: flags&verbExclusive != 0, Pull: flags&verbPull != 0,
		Priority: int(int32(priority)), Tag: string(f.text()),
	}
	if f.err != nil || g.subs[id] != nil {
		return errFrame
	}
	if g.q == nil {
		return nil
	}
	s := &guestSub{guest: g, id: id}
	s.sub = newSubscription(g.q, o, s)
	s.sub.guest = g
	g.subs[id] = s
	v.sub = s.sub
	return nil
}

// answerGet answers a verbGet.
func (g *guest) answerGet(id uint64, r *getResult) {
	if r.err != nil {
		g.reply(id, 0, 0, r.err)
		return
	}
	out := g.link.out
	at := out.begin(frameGot, g.id)
	b := binary.AppendUvarint(out.buf, id)
	b = binary.AppendUvarint(b, uint64(r.remaining))
	if r.ok {
		b = appendDelivery(b, &r.delivery)
	}
	out.buf = b
	out.end(at)
}

func appendDelivery(b []byte, d *Delivery) []byte {
	b = binary.AppendUvarint(b, uint64(d.Offset))
	flag := byte(0)
	if d.Redelivered {
		flag = 1
	}
	return d.Message.Append(append(b, flag))
}

// frame takes a frame about one subscription.
func (s *guestSub) frame(kind frameKind, f *fields) error {
	switch kind {
	case frameCredit:
		messages, bytes := f.uvarint(), f.uvarint()
		if err := f.end(); err != nil || messages > maxCreditMessages || bytes > 1<<40 {
			return errFrame
		}
		s.messages.Add(int64(messages))
		s.bytes.Add(int64(bytes))
		s.sub.Resume()
	case frameSettle:
		id, outcome := f.uvarint(), Outcome(f.byte())
		offsets := f.offsets()
		if outcome > Discard || f.err != nil {
			return errFrame
		}
		s.sub.Settle(outcome, offsets, s.answer(id))
	case frameReturn:
		pause := f.byte() != 0
		offsets := f.offsets()
		if f.err != nil {
			return errFrame
		}
		var done func(error)
		if pause {
			done = s.pause
		}
		s.sub.Settle(giveBack, offsets, done)
	case frameRecover:
		s.sub.Recover(s.answer(f.uvarint()))
	case frameCancel:
		s.sub.end(s.answer(f.uvarint()))
	case frameClose:
		s.sub.Close()
		delete(s.guest.subs, s.id)
	default:
		return errFrame
	}
	return f.end()
}

// answer is the done of something that was asked with an id.
func (s *guestSub) answer(id uint64) func(error) {
	if id == 0 {
		return nil
	}
	return func(err error) { s.guest.reply(id, 0, 0, err) }
}

// pause takes the credit back. On the shard: what was delivered before is in
// the outbox.
func (s *guestSub) pause(error) {
	s.messages.Store(0)
	s.bytes.Store(0)
	s.guest.link.out.put(framePaused, s.guest.id, s.id)
}

// Take implements Sink.
func (s *guestSub) Take(_ *Subscription, _ int) bool {
	return s.messages.Load() > 0 && s.bytes.Load() > 0 && s.guest.link.out.roomy(s)
}

// Deliver implements Sink.
func (s *guestSub) Deliver(_ *Subscription, d *Delivery) {
	s.messages.Add(-1)
	s.bytes.Add(-int64(d.Message.EncodedLen()))
	out := s.guest.link.out
	at := out.begin(frameDeliver, s.guest.id)
	out.buf = appendDelivery(binary.AppendUvarint(out.buf, s.id), d)
	out.end(at)
}

// Room implements Sink. A subscription of another node is served where the leader is, or not at all.
func (s *guestSub) Room(*Subscription) (messages, bytes int) { return 0, 0 }

// Lost implements Sink.
func (s *guestSub) Lost(*Subscription) {}

// Canceled implements Sink: the other node hears it from the catalog, as this one does.
func (s *guestSub) Canceled(*Subscription) {}

// moveSubscriptions: the queue is led elsewhere now. The subscriptions of this
// node's clients go there; other nodes do so themselves.
func (q *Queue) moveSubscriptions() {
	subs := q.subs
	q.subs = nil
	for _, s := range subs {
		if s.guest != nil {
			s.state = subClosed
			s.guest.moved()
			continue
		}
		s.at = len(q.subs)
		q.subs = append(q.subs, s)
		if s.sink != nil {
			s.sink.Lost(s)
		}
	}
	if len(q.subs) > 0 {
		q.afar()
	}
}
