package replica

import (
	"sync"
	"time"
)

// item is one thing for a group to do.
type item struct {
	group *Group
	kind  itemKind
	event any // itemPost: for the machine; itemWritten: *write; itemStop: the reason; itemCheckpoint: the answer's channel; itemDo: func()
}

type itemKind uint8

const (
	itemPost itemKind = iota
	itemWritten
	itemStart
	itemStop
	itemCheckpoint
	itemDo
)

// shard drives the groups that belong to it, on one goroutine.
type shard struct {
	now     func() time.Time
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
}

func newShard(now func() time.Time, m *metrics) *shard {
	return &shard{
		now:     now,
		metrics: m,
		wake:    make(chan struct{}, 1),
		stopped: make(chan struct{}),
	}
}

// post appends to the inbox; false when the shard is closing.
func (s *shard) post(it item) bool {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return false
	}
	s.inbox = append(s.inbox, it)
	wake := s.asleep
	s.asleep = false
	s.mu.Unlock()
	if wake {
		s.wake <- struct{}{}
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
		if items == nil && !s.timers.due(s.now()) {
			var ring <-chan time.Time
			if at, ok := s.timers.next(); ok {
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

// turn handles items and the timers that are due at now, and then advances
// every group that was touched.
func (s *shard) turn(now time.Time, items []item) {
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
	for i, g := range s.ready {
		g.touched = false
		g.advance()
		s.ready[i] = nil
	}
	s.ready = s.ready[:0]
	s.metrics.turns.Inc()
}

// touch queues g to be advanced, at most once in a turn.
func (s *shard) touch(g *Group) {
	if !g.touched {
		g.touched = true
		s.ready = append(s.ready, g)
	}
}
