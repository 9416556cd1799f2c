package replica

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// ledger is a machine for tests: its state is the list of the values that were
// put into it. One value is one offset.
type ledger struct {
	group   *Group
	values  []uint64
	waiting []*put
	built   []*put
	leads   uint64 // the term, 0 when it does not lead
	timers  []time.Time
	lead    chan uint64 // capacity 1: told the term
	entries int         // applied

	refuse  bool        // what comes while it does not lead is refused
	applied func(Entry) // sees every entry, may be nil
	bodies  bool        // values lie in the log, not in the state
	first   uint64      // of bodies: the values before this one are not needed any more, and 0
	log     *storage.Log
}

// put is an event: add a value, and say when it is committed.
type put struct {
	value uint64
	done  chan error
}

// look is an event: what do you hold?
type look struct{ answer chan []uint64 }

// call is an event: run a function on the shard.
type call struct{ run func() }

// wake is an event: ask for the timer.
type wake struct {
	at  time.Time
	set chan struct{}
}

func newLedger() *ledger { return &ledger{lead: make(chan uint64, 1)} }

func (l *ledger) Restore(state []byte) error {
	if l.bodies {
		return l.restoreBodies(state)
	}
	if len(state)%8 != 0 {
		return fmt.Errorf("a ledger of %d bytes", len(state))
	}
	l.values = nil
	for chunk := range slices.Chunk(state, 8) {
		l.values = append(l.values, binary.LittleEndian.Uint64(chunk))
	}
	return nil
}

// restoreBodies reads the values that are needed from the log.
func (l *ledger) restoreBodies(state []byte) error {
	if len(state) != 16 {
		return fmt.Errorf("a state of %d bytes", len(state))
	}
	l.first = binary.LittleEndian.Uint64(state)
	l.values = make([]uint64, binary.LittleEndian.Uint64(state[8:]))
	for next, end := record.Offset(l.first), record.Offset(len(l.values)); next < end; {
		entries, err := l.log.ReadFrom(next, end, 1<<20, true)
		if err != nil || len(entries) == 0 {
			return fmt.Errorf("read from %d, of [%d, %d): %d entries, %w", next, l.first, end, len(entries), err)
		}
		for _, e := range entries {
			h, payload, err := record.ParseHeader(e.GetData())
			if err != nil || h.Base > next {
				return fmt.Errorf("offset %d is missing: the next entry begins at %d, %w", next, h.Base, err)
			}
			for chunk := range slices.Chunk(payload, 8) {
				if h.Base >= record.Offset(l.first) && h.Base < end {
					l.values[h.Base] = binary.LittleEndian.Uint64(chunk)
				}
				h.Base++
			}
			next = h.Base
		}
	}
	return nil
}

// trim lets every tenth value make all but the last 20 dead.
func (l *ledger) trim(v uint64) {
	if l.bodies && v%10 == 0 && len(l.values) > 20 {
		l.first = uint64(len(l.values) - 20)
		clear(l.values[:l.first])
	}
}

func (l *ledger) Snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	if l.bodies {
		b = binary.LittleEndian.AppendUint64(b, l.first)
		first, end := record.Offset(l.first), record.Offset(len(l.values))
		return binary.LittleEndian.AppendUint64(b, uint64(end)), func(from, to record.Offset) bool { return from < end && to > first }
	}
	for _, v := range l.values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b, nil // the state holds the values, no entry is needed any more
}

func (l *ledger) Build(limit int) []byte {
	if len(l.waiting) == 0 {
		return nil
	}
	h := record.Header{Base: record.Offset(len(l.values) + len(l.built))}
	data := h.Append(nil)
	for len(l.waiting) > 0 && (h.Count == 0 || len(data) < limit) {
		p := l.waiting[0]
		data = binary.LittleEndian.AppendUint64(data, p.value)
		l.built, l.waiting = append(l.built, p), l.waiting[1:]
		h.Count++
	}
	h.Put(data)
	return data
}

func (l *ledger) Waiting() int { return 8 * len(l.waiting) }

func (l *ledger) Apply(e Entry) {
	h, payload, err := record.ParseHeader(e.Data)
	if err != nil || h.Base != record.Offset(len(l.values)) {
		panic(fmt.Sprintf("entry %d at base %d, %d values, error %v", e.Index, h.Base, len(l.values), err))
	}
	l.entries++
	if l.applied != nil {
		l.applied(e)
	}
	for chunk := range slices.Chunk(payload, 8) {
		v := binary.LittleEndian.Uint64(chunk)
		l.values = append(l.values, v)
		l.trim(v)
		if l.leads != 0 {
			l.built[0].done <- nil
			l.built = l.built[1:]
		}
	}
}

func (l *ledger) Lead(term uint64) {
	l.leads = term
	if len(l.built) != 0 {
		panic("leads with proposals of an earlier term")
	}
	select {
	case l.lead <- term:
	default:
	}
}

func (l *ledger) Follow(reason error) {
	l.leads = 0
	for _, p := range l.built {
		p.done <- ErrUnknown
	}
	for _, p := range l.waiting {
		p.done <- reason
	}
	l.built, l.waiting = nil, nil
}

func (l *ledger) Handle(event any) {
	switch event := event.(type) {
	case *put:
		if l.refuse && l.leads == 0 {
			event.done <- ErrNotLeader
			return
		}
		l.waiting = append(l.waiting, event)
	case *look:
		event.answer <- slices.Clone(l.values)
	case *call:
		event.run()
	case *wake:
		l.group.SetTimer(event.at)
		close(event.set)
	}
}

func (l *ledger) Timer(now time.Time) { l.timers = append(l.timers, now) }

// put posts a value; the channel tells when it is committed.
func (l *ledger) put(value uint64) chan error {
	p := &put{value: value, done: make(chan error, 1)}
	if !l.group.Post(p) {
		p.done <- ErrClosed
	}
	return p.done
}

func (l *ledger) look() []uint64 {
	q := &look{make(chan []uint64, 1)}
	if !l.group.Post(q) {
		return nil
	}
	return <-q.answer
}
