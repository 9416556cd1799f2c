package replica

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// item is one thing for a group to do.
type item struct {
	group *Group
	kind  itemKind
	event any // itemPost: for the machine; itemWritten: *write; itemStop: the reason; itemCheckpoint: the answer's channel; itemDo: func(); itemMessage: *raftpb.Message
}

type itemKind uint8

const (
	itemPost itemKind = iota
	itemWritten
	itemStart
	itemStop
	itemCheckpoint
	itemDo
	itemMessage
)

// shard drives the groups that belong to it, on one goroutine.
type shard struct {
	now     func() time.Time
	woken   func() // Config.Woken
	metrics *metrics

	mu      sync.Mutex // guards inbox, asleep and closing
	inbox   []item
	asleep  bool
	closing bool

	wake    chan struct{} // one token when the inbox of a sleeping shard fills
	stopped chan struct{} // closed when the goroutine has ended

	// Owned by the goroutine.
	taken  []item   // the previous inbox's array, to be reused
	ready  []*Group // touched in this turn
	timers timerHeap
	out    outbox
	clock  shardClock
	pace   pace
}

func newShard(cfg *Config, m *metrics) *shard {
	return &shard{
		now:     cfg.Now,
		woken:   cfg.Woken,
		metrics: m,
		out:     outbox{transport: cfg.Transport, metrics: m},
		clock:   shardClock{every: cfg.Tick},
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

// post appends to the inbox and wakes the shard; false when it is closing.
func (s *shard) post(items ...item) bool { return s.add(false, items...) }

// postLazily is post for what may wait until a rest is over.
func (s *shard) postLazily(it item) bool {
	s.pace.stir(s.now)
	return s.add(true, it)
}

func (s *shard) add(lazy bool, items ...item) bool {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return false
	}
	s.inbox = append(s.inbox, items...)
	// Looked at under the lock: a rest ends before the shard marks itself asleep, so
	// who sees the mark without a rest is the one to wake it.
	wake := s.asleep && !(lazy && s.pace.resting.Load())
	s.asleep = s.asleep && !wake
	s.mu.Unlock()
	if wake {
		s.wake <- struct{}{}
	}
	if s.woken != nil {
		s.woken()
	}
	return true
}

// stop ends the goroutine after it has handled what was posted before.
func (s *shard) stop() {
	s.mu.Lock()
	s.closing = true
	wake := s.asleep
	s.asleep = false
	s.mu.Unlock()
	if wake {
		s.wake <- struct{}{}
	}
	<-s.stopped
}

// finish is stop for a shard without a goroutine.
func (s *shard) finish(now time.Time) {
	s.mu.Lock()
	s.closing = true
	s.mu.Unlock()
	for s.step(now) {
	}
	close(s.stopped)
}

// take returns the inbox; when it is empty it marks the shard asleep, unless
// the shard is closing.
func (s *shard) take() (items []item, closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.inbox) == 0 {
		s.asleep = !s.closing
		return nil, s.closing
	}
	items, s.inbox = s.inbox, s.taken[:0]
	s.taken = items
	return items, false
}

// awake takes back the mark that take has left: a timer woke the shard.
func (s *shard) awake() {
	s.mu.Lock()
	woken := !s.asleep
	s.asleep = false
	s.mu.Unlock()
	if woken {
		<-s.wake // a poster saw the mark first and sends a token
	}
}

func (s *shard) run() {
	defer close(s.stopped)
	alarm := time.NewTimer(time.Hour)
	defer alarm.Stop()
	for {
		items, closing := s.take()
		if closing {
			return
		}
		if items == nil && !s.due(s.now()) {
			var ring <-chan time.Time
			if at, ok := s.next(); ok {
				alarm.Reset(at.Sub(s.now()))
				ring = alarm.C
			}
			select {
			case <-s.wake:
			case <-ring:
				s.awake()
			}
			continue
		}
		if items == nil {
			s.awake()
		}
		s.turn(s.now(), items)
	}
}

// step is one round of run without the waiting; false when there was nothing to do.
func (s *shard) step(now time.Time) bool {
	items, closing := s.take()
	if items == nil {
		if !closing {
			s.awake()
		}
		if !s.due(now) {
			return false
		}
	}
	s.turn(now, items)
	return true
}

// due reports whether a timer, a tick or the end of a rest is.
func (s *shard) due(now time.Time) bool {
	return s.timers.due(now) || s.clock.due(now) || s.pace.over(now)
}

// next is the time of the next timer or tick, or of the end of a rest.
func (s *shard) next() (time.Time, bool) {
	at, ok := s.pace.next(s.timers.next())
	if tick, ticks := s.clock.next(); ticks && (!ok || tick.Before(at)) {
		return tick, true
	}
	return at, ok
}

// turn handles items, the timers and the tick that are due at now, then advances
// every group that was touched, and sends what they have to say.
func (s *shard) turn(now time.Time, items []item) {
	s.clock.now = now
	if s.pace.over(now) {
		s.endRest(now)
	}
	for i := range items {
		items[i].group.handle(&items[i])
		s.touch(items[i].group)
		items[i] = item{}
	}
	for g := s.timers.pop(now); g != nil; g = s.timers.pop(now) {
		if g.stopped {
			continue
		}
		g.machine.Timer(now)
		s.touch(g)
	}
	if s.clock.due(now) {
		s.tick(now)
	}
	for i, g := range s.ready {
		g.touched = false
		g.advance()
		s.ready[i] = nil
	}
	s.ready = s.ready[:0]
	s.out.flush()
	s.pace.turned(now)
	s.metrics.turns.Inc()
}

// endRest ends a rest; the groups that were held back propose in this turn.
func (s *shard) endRest(now time.Time) {
	s.pace.end(now)
	for i, g := range s.pace.held {
		g.held = false
		s.touch(g)
		s.pace.held[i] = nil
	}
	s.pace.held = s.pace.held[:0]
}

// touch queues g to be advanced, at most once in a turn.
func (s *shard) touch(g *Group) {
	if !g.touched {
		g.touched = true
		s.ready = append(s.ready, g)
	}
}

// shardClock has the groups of a shard that tick.
type shardClock struct {
	every time.Duration
	now   time.Time // of the turn
	at    time.Time // of the next tick, when any group is awake
	awake []*Group
}

func (c *shardClock) due(now time.Time) bool { return len(c.awake) > 0 && !c.at.After(now) }

func (c *shardClock) next() (time.Time, bool) { return c.at, len(c.awake) > 0 }

func (s *shard) addAwake(g *Group) {
	c := &s.clock
	if len(c.awake) == 0 {
		c.at = c.now.Add(c.every)
	}
	c.awake = append(c.awake, g)
	g.clock.place = len(c.awake)
	s.metrics.awake.Inc()
}

func (s *shard) removeAwake(g *Group) {
	c := &s.clock
	last := len(c.awake) - 1
	moved := c.awake[last]
	c.awake[g.clock.place-1], moved.clock.place = moved, g.clock.place
	c.awake[last] = nil
	c.awake = c.awake[:last]
	g.clock.place = 0
	s.metrics.awake.Dec()
}

// tick ticks all groups that are awake, once however late it is: a process
// that was stopped for a while must not think that it has heard nothing from its leaders.
func (s *shard) tick(now time.Time) {
	for i := len(s.clock.awake) - 1; i >= 0; i-- {
		if i >= len(s.clock.awake) {
			continue
		}
		g := s.clock.awake[i]
		g.tick()
		s.touch(g)
	}
	s.clock.at = now.Add(s.clock.every)
}

// sortItems puts items in the order of their groups' ids: a map has none.
func sortItems(items []item) []item {
	slices.SortFunc(items, func(a, b item) int { return cmp.Compare(a.group.id, b.group.id) })
	return items
}
