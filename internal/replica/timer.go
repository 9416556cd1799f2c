package replica

import (
	"container/heap"
	"time"
)

// timerHeap orders the groups of a shard that wait for a time. A group is in
// it at most once; it knows its place (Group.timerPos, 1-based; 0 when out).
type timerHeap struct{ groups []*Group }

func (h *timerHeap) Len() int           { return len(h.groups) }
func (h *timerHeap) Less(i, j int) bool { return h.groups[i].timer.Before(h.groups[j].timer) }
func (h *timerHeap) Swap(i, j int) {
	h.groups[i], h.groups[j] = h.groups[j], h.groups[i]
	h.groups[i].timerPos, h.groups[j].timerPos = i+1, j+1
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	g := x.(*Group)
	h.groups = append(h.groups, g)
	g.timerPos = len(h.groups)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := len(h.groups) - 1
	g := h.groups[last]
	h.groups[last] = nil
	h.groups = h.groups[:last]
	g.timerPos = 0
	return g
}

// set moves g to t; the zero time takes it out.
func (h *timerHeap) set(g *Group, t time.Time) {
	switch {
	case t.IsZero() && g.timerPos == 0:
		return
	case t.IsZero():
		heap.Remove(h, g.timerPos-1)
	case g.timerPos == 0:
		g.timer = t
		heap.Push(h, g)
	case !g.timer.Equal(t):
		g.timer = t
		heap.Fix(h, g.timerPos-1)
	}
}

// next is the earliest time that a group waits for.
func (h *timerHeap) next() (time.Time, bool) {
	if len(h.groups) == 0 {
		return time.Time{}, false
	}
	return h.groups[0].timer, true
}

func (h *timerHeap) due(now time.Time) bool {
	at, ok := h.next()
	return ok && !at.After(now)
}

// pop takes out the first group whose time has come, or returns nil.
func (h *timerHeap) pop(now time.Time) *Group {
	if !h.due(now) {
		return nil
	}
	return heap.Pop(h).(*Group)
}
