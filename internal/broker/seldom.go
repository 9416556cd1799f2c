package broker

import (
	"sync"
	"time"
)

// seldomPause is how long what was said is not said again.
const seldomPause = time.Minute

// seldom keeps what happens again and again from filling the log of the node.
type seldom struct {
	mu     sync.Mutex // guards the rest
	next   time.Time
	unsaid int
}

// now reports whether it is to be said, and how often it was not since the last time.
func (s *seldom) now(now time.Time) (unsaid int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Before(s.next) {
		s.unsaid++
		return 0, false
	}
	unsaid, s.unsaid, s.next = s.unsaid, 0, now.Add(seldomPause)
	return unsaid, true
}
