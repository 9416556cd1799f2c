package broker

import (
	"sync"
	"time"

	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// memoryGroup drives a queue that is not replicated as a raft group would, so
// that there is one code for both: what the queue builds is applied at once
// and kept in memory for as long as a message of it is held. It has no goroutine while
// nothing happens.
type memoryGroup struct {
	queue *Queue
	now   func() time.Time

	mu      sync.Mutex // guards inbox and running
	inbox   []any
	running bool // a goroutine takes from the inbox

	// Owned by that goroutine.
	taken    []any
	index    record.Index
	entries  fifo[memoryEntry]
	retained int // bytes in entries
	sweepAt  int // retained bytes at which all of them are looked at
	alarm    *time.Timer
	stopped  bool
}

// memoryEntry is an entry with messages; data is nil when none of them is held.
type memoryEntry struct {
	header record.Header
	data   []byte
}

const (
	// memoryEntryLimit is the size of an entry in memory. One message that is
	// held keeps its whole entry.
	memoryEntryLimit = 32 << 10
	minSweep         = 1 << 20
)

// Events of a memoryGroup itself.
type (
	ring struct{} // the timer
	stop struct{} // the queue was deleted
)

func newMemoryGroup(q *Queue, now func() time.Time) *memoryGroup {
	return &memoryGroup{queue: q, now: now, sweepAt: minSweep}
}

// Post implements queueGroup.
func (g *memoryGroup) Post(event any) bool {
	g.mu.Lock()
	g.inbox = append(g.inbox, event)
	start := !g.running
	g.running = true
	g.mu.Unlock()
	if start {
		go g.loop()
	}
	return true
}

// SetTimer implements queueGroup.
func (g *memoryGroup) SetTimer(t time.Time) {
	if g.alarm != nil {
		g.alarm.Stop()
		g.alarm = nil
	}
	if !t.IsZero() && !g.stopped {
		g.alarm = time.AfterFunc(t.Sub(g.now()), func() { g.Post(ring{}) })
	}
}

func (g *memoryGroup) remove() { g.Post(stop{}) }

// loop handles events until there are none.
func (g *memoryGroup) loop() {
	for {
		g.mu.Lock()
		if len(g.inbox) == 0 {
			g.running = false
			g.mu.Unlock()
			return
		}
		g.taken, g.inbox = g.inbox, g.taken[:0]
		g.mu.Unlock()
		for i, event := range g.taken {
			g.taken[i] = nil
			g.handle(event)
		}
		g.commit()
	}
}

func (g *memoryGroup) handle(event any) {
	switch event.(type) {
	case ring:
		if !g.stopped {
			g.queue.Timer(g.now())
		}
	case stop:
		g.SetTimer(time.Time{})
		g.stopped = true
		g.queue.Follow(replica.ErrRemoved)
		g.entries, g.retained = fifo[memoryEntry]{}, 0
	default:
		g.queue.Handle(event)
	}
}

// commit builds and applies until nothing waits.
func (g *memoryGroup) commit() {
	for !g.stopped {
		data := g.queue.Build(memoryEntryLimit)
		if data == nil {
			break
		}
		h, _, err := record.ParseHeader(data)
		if err != nil {
			panic("broker: built an entry without a header: " + err.Error())
		}
		if h.Count > 0 {
			g.entries.push(memoryEntry{h, data})
			g.retained += len(data)
		}
		g.index++
		g.queue.Apply(replica.Entry{Index: g.index, Term: 1, Data: data})
	}
	g.sweep()
}

// sweep frees what is not held any more: at the front always, elsewhere when
// the memory has doubled since the last time.
func (g *memoryGroup) sweep() {
	for g.entries.len() > 0 && !g.held(g.entries.at(0)) {
		g.retained -= len(g.entries.pop().data)
	}
	if g.retained < g.sweepAt {
		return
	}
	for i := range g.entries.len() {
		if e := g.entries.at(i); e.data != nil && !g.held(e) {
			g.retained -= len(e.data)
			e.data = nil
		}
	}
	g.sweepAt = max(minSweep, 2*g.retained)
}

func (g *memoryGroup) held(e *memoryEntry) bool {
	return e.data != nil && g.queue.machine.Holds(e.header.Base, e.header.End())
}

// readFrom implements queueGroup. Only the queue calls it, from the loop.
func (g *memoryGroup) readFrom(off, end record.Offset, maxBytes int, _ bool) ([][]byte, error) {
	low, high := 0, g.entries.len()
	for low < high {
		if mid := (low + high) / 2; g.entries.at(mid).header.End() <= off {
			low = mid + 1
		} else {
			high = mid
		}
	}
	var data [][]byte
	for size := 0; low < g.entries.len() && (size == 0 || size < maxBytes); low++ {
		e := g.entries.at(low)
		if e.header.Base >= end {
			break
		}
		if e.data != nil {
			data = append(data, e.data)
			size += len(e.data)
		}
	}
	return data, nil
}

var _ replica.Machine = (*Queue)(nil)
var _ queue.Source = (*source)(nil)
