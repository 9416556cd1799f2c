package broker

import (
	"sync"
	"time"

	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// loopGroup drives a queue of which nothing is on this node: it hands the
// events on, one at a time. It has no goroutine while nothing happens.
type loopGroup struct {
	queue *Queue

	mu      sync.Mutex // guards the rest
	inbox   []any
	running bool       // a goroutine takes from the inbox
	next    queueGroup // has taken over; nil as long as this one drives
}

// Events about who drives a queue.
type (
	// arrive: a replica of the queue comes to this node.
	arrive struct{}
	// arrived: it is here; events are what comes first.
	arrived struct {
		group  raftGroup
		events []any
	}
	// depart: the queue was removed, or the broker is closed.
	depart struct{ reason error }
)

// Post implements queueGroup.
func (g *loopGroup) Post(event any) bool {
	g.mu.Lock()
	if g.next != nil {
		g.mu.Unlock()
		return g.next.Post(event)
	}
	g.inbox = append(g.inbox, event)
	start := !g.running
	g.running = true
	g.mu.Unlock()
	if start {
		go g.loop()
	}
	return true
}

func (g *loopGroup) loop() {
	for {
		g.mu.Lock()
		events := g.inbox
		g.inbox = nil
		g.running = len(events) > 0
		g.mu.Unlock()
		if len(events) == 0 {
			return
		}
		for i, event := range events {
			if _, ok := event.(arrive); ok && g.hand(events[i+1:]) {
				g.queue.opened()
				return
			}
			g.queue.Handle(event)
		}
	}
}

// hand passes the queue on to its raft group: from now on the group's shard
// drives it, and first of all gets what is left of the inbox. False when there
// is no group to be had.
func (g *loopGroup) hand(events []any) bool {
	next, ok := g.queue.open()
	if !ok {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	next.Post(arrived{next, append(events, g.inbox...)})
	g.inbox, g.next = nil, next
	next.Start()
	return true
}

// open opens the raft group of a replica that is new to this node.
func (q *Queue) open() (g raftGroup, ok bool) {
	b := q.vhost.b
	p := b.places.get(q.spec.Log)
	if q.deleted.Load() || p == nil || !p.Holds(b.cfg.Replica) {
		return raftGroup{}, false // it was decided otherwise meanwhile
	}
	q.machine = queue.Machine{}
	group, err := b.host.Open(q.spec.Log, p.Voters(b.cfg.Replica), q)
	b.healer.opened(q.spec.Log, err)
	if err != nil {
		b.log.Error("a replica cannot begin on this node; the others go on", "what", q.String(), "log", q.spec.Log, "error", err)
		return raftGroup{}, false
	}
	b.groups.Store(q.spec.Log, group)
	return raftGroup{group, b.host}, true
}

// arrive goes on with a new replica, where the last one has left the queue to
// the same shard. When it came, left and came again before the shard heard of it, the first
// news opens what the last decision says, and the second finds it open.
func (q *Queue) arrive() {
	if g, ok := q.group.(raftGroup); !ok || g.host.IsOpen(q.spec.Log) {
		return
	}
	if g, ok := q.open(); ok {
		q.mu.Lock()
		q.group = g
		q.mu.Unlock()
		g.Start()
		q.opened()
	}
}

// opened: who has moved the replica away while it was being opened has found no raft group to remove. It is for
// the catalog's shard to look again: what comes and goes has one order only there.
func (q *Queue) opened() {
	if !q.here() {
		q.vhost.b.directory.group.Post(misplaced{q})
	}
}

// here reports whether a replica of the queue shall be on this node.
func (q *Queue) here() bool {
	p := q.vhost.b.places.get(q.spec.Log)
	return p != nil && p.Holds(q.vhost.b.cfg.Replica)
}

// arrived goes on with the inbox of the loopGroup that has driven the queue so far.
func (q *Queue) arrived(e arrived) {
	q.mu.Lock()
	q.group = e.group
	q.mu.Unlock()
	for _, event := range e.events {
		q.Handle(event)
	}
}

// SetTimer implements queueGroup: nothing here has a time.
func (g *loopGroup) SetTimer(time.Time) {}

// readFrom implements queueGroup: nothing is here.
func (g *loopGroup) readFrom(record.Offset, record.Offset, int, bool) ([][]byte, error) {
	return nil, nil
}

// remove implements queueGroup.
func (g *loopGroup) remove() { g.Post(depart{replica.ErrRemoved}) }

// driver is what drives the queue now. The shard itself may read q.group.
func (q *Queue) driver() queueGroup {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.group
}
