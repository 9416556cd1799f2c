package group

import (
	"container/heap"
	"slices"
	"time"
)

// sweepEvery is how often the leader looks for expired offsets.
const sweepEvery = 10 * time.Minute

// timers is a heap of groups by their wake time; those with none are last.
type timers []*group

func (t timers) Len() int { return len(t) }

func (t timers) Less(i, j int) bool {
	a, b := t[i].wake, t[j].wake
	switch {
	case a.Equal(b):
		return t[i].name < t[j].name
	case a.IsZero() || b.IsZero():
		return b.IsZero()
	}
	return a.Before(b)
}

func (t timers) Swap(i, j int) {
	t[i], t[j] = t[j], t[i]
	t[i].pos, t[j].pos = i, j
}

func (t *timers) Push(x any) {
	g := x.(*group)
	g.pos = len(*t)
	*t = append(*t, g)
}

func (t *timers) Pop() any {
	last := len(*t) - 1
	g := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	g.pos = -1
	return g
}

// open makes the live part of a group that has none.
func (m *Machine) open(name string) *group {
	g := newGroup(name)
	if s := m.state.groups[name]; s != nil {
		g.generation, g.highest = s.generation, s.generation
		g.protocolType = s.outcome.protocolType
	}
	m.groups[g.name] = g
	heap.Push(&m.timers, g)
	return g
}

// close forgets the live part: the replicated one says it all.
func (m *Machine) close(g *group) {
	if g.pos >= 0 {
		heap.Remove(&m.timers, g.pos)
		delete(m.groups, g.name)
		m.live -= g.bytes
		g.bytes = 0
	}
}

// arm sets the group's wake time to its earliest deadline. A session that is
// touched needs no arm: when woken too early the group just looks again.
func (m *Machine) arm(g *group) {
	g.wake = time.Time{}
	earlier := func(t time.Time) {
		if !t.IsZero() && (g.wake.IsZero() || t.Before(g.wake)) {
			g.wake = t
		}
	}
	for _, t := range g.handedOut {
		earlier(t)
	}
	for _, mem := range g.members {
		earlier(mem.deadline)
	}
	switch {
	case g.phase == preparing:
		earlier(g.joinEnds)
	case g.phase == completing && g.owed():
		earlier(g.syncEnds)
	}
	heap.Fix(&m.timers, g.pos)
}

// owed reports whether someone was told of the generation and has not synced.
func (g *group) owed() bool {
	return slices.ContainsFunc(g.members, func(mem *member) bool { return mem.owes })
}

// Next is when Tick is wanted; the zero time is never.
func (m *Machine) Next() time.Time {
	next := m.sweepAt
	if len(m.timers) > 0 {
		if w := m.timers[0].wake; !w.IsZero() && w.Before(next) {
			next = w
		}
	}
	return next
}

// late is how late a call may be before this node, and not the members, counts
// as the one that was asleep.
const late = time.Second

// enter begins a call.
func (m *Machine) enter(now time.Time) {
	m.replies = m.replies[:0]
	if m.leading && now.Sub(m.Next()) > late {
		m.excuse(now.Sub(m.entered))
	}
	m.entered = now
}

// Tick does what is due.
func (m *Machine) Tick(now time.Time) []Reply {
	m.enter(now)
	for m.leading && len(m.timers) > 0 {
		g := m.timers[0]
		if g.wake.IsZero() || g.wake.After(now) {
			break
		}
		m.wake(now, g)
	}
	if m.leading && !m.sweepAt.After(now) {
		m.sweepAt = now.Add(sweepEvery)
		m.sweep(now)
	}
	return m.replies
}

// excuse moves all deadlines: the heartbeats that this node did not take while
// it was asleep (a stopped process, a stalled machine) are still in its sockets.
func (m *Machine) excuse(slept time.Duration) {
	for _, g := range m.groups { // the order does not matter
		move := func(t *time.Time) {
			if !t.IsZero() {
				*t = t.Add(slept)
			}
		}
		for _, mem := range g.members {
			move(&mem.deadline)
		}
		move(&g.joinEnds)
		move(&g.joinLast)
		move(&g.syncEnds)
		m.arm(g)
	}
}

// wake looks at all deadlines of a group.
func (m *Machine) wake(now time.Time, g *group) {
	past := func(t time.Time) bool { return !t.IsZero() && !t.After(now) }
	for id, t := range g.handedOut { // in any order: nothing follows from one alone
		if past(t) {
			delete(g.handedOut, id)
		}
	}
	late := g.phase == completing && past(g.syncEnds)
	for _, mem := range slices.Clone(g.members) {
		if past(mem.deadline) || late && mem.owes {
			m.evicted++
			m.evict(now, g, mem)
		}
	}
	if g.phase == preparing && past(g.joinEnds) {
		m.joinTimeout(now, g)
	}
	m.settle(now, g)
}
