package broker

import (
	"slices"
	"sync"
	"time"
)

// Intake bounds the bytes that all clients together have sent of what is not
// handed over yet: messages and requests that are not complete, transactions
// that are not committed. What is handed over is bounded by
// Config.InFlightBytes.
//
// When nothing is left, one client at a time has the turn: it may exceed the
// limit until it has given back all that it took. So there is always one that
// gets on, whatever the others hold. A turn that keeps others waiting for too
// long ends with the client's expulsion.
type Intake struct {
	limit int64
	turns time.Duration // how long a turn may keep others waiting

	mu      sync.Mutex // guards the rest, and the shares
	used    int64
	turn    *Share   // may exceed the limit; nil when nobody has to
	waiting []*Share // in the order of their coming
	bell    *time.Timer
}

// NewIntake returns an Intake of so many bytes, in which a client that has the
// turn may keep others waiting for the time turn, 30 s when that is 0.
func NewIntake(limit int64, turn time.Duration) *Intake {
	if turn == 0 {
		turn = 30 * time.Second
	}
	return &Intake{limit: limit, turns: turn}
}

// Used is the number of bytes that are taken.
func (i *Intake) Used() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.used
}

// Share is what one client holds of an Intake. One goroutine calls Grow;
// Shrink and Close may be called from any.
type Share struct {
	intake *Intake
	expel  func() // ends the client
	held   int64
	closed bool
	look   chan struct{} // capacity 1: there may be what Grow waits for
}

// Share returns a share that holds nothing. expel is called, from a timer, when
// the client keeps others waiting; it leads to Close, unless the waiting is not
// the client's fault.
func (i *Intake) Share(expel func()) *Share {
	return &Share{intake: i, expel: expel, look: make(chan struct{}, 1)}
}

// Grow takes n more bytes, and waits for them. It answers false when the share
// is closed.
func (s *Share) Grow(n int64) bool {
	i := s.intake
	i.mu.Lock()
	defer i.mu.Unlock()
	for waits := false; !s.closed; waits = true {
		if i.grant(s, n) {
			i.leave(s)
			return true
		}
		if !waits {
			i.waiting = append(i.waiting, s)
			i.watch()
		}
		i.mu.Unlock()
		<-s.look
		i.mu.Lock()
	}
	i.leave(s)
	return false
}

// grant gives s n bytes if they are there, or s has the turn, which it gets
// when nobody else has it. Under mu.
func (i *Intake) grant(s *Share, n int64) bool {
	if i.used+n > i.limit {
		if i.turn == nil {
			i.turn = s
			i.watch()
		}
		if i.turn != s {
			return false
		}
	}
	i.used += n
	s.held += n
	return true
}

// leave takes s out of those that wait, if it does. Under mu.
func (i *Intake) leave(s *Share) {
	if at := slices.Index(i.waiting, s); at >= 0 {
		i.waiting = slices.Delete(i.waiting, at, at+1)
	}
}

// Shrink gives n bytes back.
func (s *Share) Shrink(n int64) {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	if !s.closed {
		s.giveBack(n)
	}
}

// Close gives everything back, and ends a Grow that waits.
func (s *Share) Close() {
	s.intake.mu.Lock()
	defer s.intake.mu.Unlock()
	if !s.closed {
		s.closed = true
		s.giveBack(s.held)
		s.ring()
	}
}

// giveBack has the others look at what is there now. Under mu.
func (s *Share) giveBack(n int64) {
	i := s.intake
	i.used -= n
	if s.held -= n; s.held == 0 && i.turn == s {
		i.turn = nil
		if i.bell != nil {
			i.bell.Stop()
			i.bell = nil
		}
	}
	for _, other := range i.waiting {
		other.ring()
	}
}

func (s *Share) ring() {
	select {
	case s.look <- struct{}{}:
	default: // it will look anyway
	}
}

// watch limits the time of a turn that keeps others waiting. Under mu.
func (i *Intake) watch() {
	if i.bell != nil || i.turn == nil || len(i.waiting) == 0 {
		return
	}
	s := i.turn
	i.bell = time.AfterFunc(i.turns, func() {
		i.mu.Lock()
		i.bell = nil
		late := i.turn == s && len(i.waiting) > 0
		i.mu.Unlock()
		if !late {
			return
		}
		s.expel()
		i.mu.Lock()
		defer i.mu.Unlock()
		i.watch() // it may have an excuse
	})
}
