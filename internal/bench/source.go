package bench

import (
	"sync"
	"sync/atomic"
	"time"
)

// source gives one producer the right to send: within the window of unconfirmed
// messages, on the schedule if there is one, until the run ends.
type source struct {
	window   int
	interval float64       // nanoseconds between two messages; 0: no schedule
	offset   int64         // of the schedule behind the run's start, nanoseconds
	left     *atomic.Int64 // messages that all producers may still send; nil: no end

	mu       sync.Mutex // protects what follows
	room     sync.Cond  // signalled when inFlight falls, or stopped is set
	inFlight int
	start    int64 // of the schedule, nanoseconds since the epoch
	sent     int64 // messages taken
	stopped  bool
}

func newSource(window int, interval float64, offset int64, left *atomic.Int64) *source {
	s := &source{window: window, interval: interval, offset: offset, left: left}
	s.room.L = &s.mu
	return s
}

// begin sets the start of the schedule.
func (s *source) begin(now int64) { s.start = now + s.offset }

// take waits until a message may be sent. It fills times with the time at which each of
// them is due and returns how many they are; 0 when the run is over. The
// caller keeps its thread, because a schedule needs the kernel's timer.
func (s *source) take(times []int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.inFlight >= s.window && !s.stopped {
			s.room.Wait()
		}
		if s.stopped {
			return 0
		}
		now := time.Now().UnixNano()
		n := min(len(times), s.window-s.inFlight)
		if s.interval > 0 {
			due := int64(float64(now-s.start)/s.interval) + 1 - s.sent
			if now < s.start || due <= 0 {
				next := s.start + int64(float64(s.sent)*s.interval)
				s.mu.Unlock()
				sleepUntil(next)
				s.mu.Lock()
				continue
			}
			n = int(min(int64(n), due))
		}
		if n = s.claim(n); n == 0 {
			return 0
		}
		for i := range n {
			times[i] = now
			if s.interval > 0 {
				times[i] = s.start + int64(float64(s.sent+int64(i))*s.interval)
			}
		}
		s.sent += int64(n)
		s.inFlight += n
		return n
	}
}

// claim takes up to n of the messages that are left.
func (s *source) claim(n int) int {
	if s.left == nil {
		return n
	}
	after := s.left.Add(-int64(n))
	return max(0, n+int(min(after, 0)))
}

// done gives back the room of n messages: they are confirmed, or refused.
func (s *source) done(n int) {
	s.mu.Lock()
	s.inFlight -= n
	s.mu.Unlock()
	s.room.Signal()
}

// stop ends the sending; what is in flight stays so.
func (s *source) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.room.Broadcast()
}

// pending is the number of messages that are sent and not answered.
func (s *source) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.inFlight
}

// longestSleep bounds a sleep, so that the end of a run is noticed.
const longestSleep = 50 * time.Millisecond

// sleepUntil sleeps until t, nanoseconds since the epoch, or shorter.
func sleepUntil(t int64) {
	if d := min(time.Duration(t-time.Now().UnixNano()), longestSleep); d > 0 {
		preciseSleep(d)
	}
}

// outlet is what a producer sends through and reports to.
type outlet struct {
	*source
	confirms *recorder
	refused  *atomic.Int64
}

// confirmed reports messages that were due at the times and are answered now.
func (o *outlet) confirmed(now int64, times []int64) {
	o.confirms.add(now, times)
	o.done(len(times))
}

// refuse reports n messages that the broker did not take.
func (o *outlet) refuse(n int) {
	o.refused.Add(int64(n))
	o.done(n)
}
