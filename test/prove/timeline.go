package prove

import (
	"sync"
	"time"
)

// timeline keeps when acknowledgements came, as the gaps between them.
type timeline struct {
	mu    sync.Mutex
	first time.Time
	last  time.Time
	gaps  []gap
	count int
}

// gap is a time without an acknowledgement.
type gap struct{ from, to time.Time }

// shortGap is not worth keeping.
const shortGap = 20 * time.Millisecond

// ack notes an acknowledgement that comes now.
func (l *timeline) ack() {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.count++
	if l.first.IsZero() {
		l.first = now
	} else if now.Sub(l.last) > shortGap {
		l.gaps = append(l.gaps, gap{l.last, now})
	}
	l.last = now
}

// recovery is the longest time without an acknowledgement between from and to, of which only what lies after
// since counts. ok is false when none came after since.
func (l *timeline) recovery(from, since, to time.Time) (longest time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, g := range l.gaps {
		if g.to.Before(from) || g.from.After(to) {
			continue
		}
		start := g.from
		if start.Before(since) {
			start = since
		}
		longest = max(longest, g.to.Sub(start))
	}
	return longest, l.last.After(since)
}

// ackedAfter reports whether one came after t.
func (l *timeline) ackedAfter(t time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.After(t)
}
