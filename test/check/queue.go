package check

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Queue checks what went into queues and came out of them.
type Queue struct {
	mu        sync.Mutex
	producers map[uint32]*table[queueState]
	found     Report // what was found on the way
}

// queueState is what is known of a value, as a set of bits.
type queueState uint8

const (
	attempted queueState = 1 << iota
	acked
	refused
	received
	discarded
	settled // its consumer's ack is known to be durable
)

func (q *Queue) state(v Value) *queueState {
	if q.producers == nil {
		q.producers = make(map[uint32]*table[queueState])
	}
	t := q.producers[v.Producer]
	if t == nil {
		t = new(table[queueState])
		q.producers[v.Producer] = t
	}
	return t.at(uint64(v.Counter))
}

func (q *Queue) mark(v Value, s queueState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	*q.state(v) |= s
}

// Attempt tells that v is about to be published.
func (q *Queue) Attempt(v Value) { q.mark(v, attempted) }

// Acked tells that v was confirmed.
func (q *Queue) Acked(v Value) { q.mark(v, acked) }

// Refused tells that v was definitely not taken: nacked, or returned and not routed.
func (q *Queue) Refused(v Value) { q.mark(v, refused) }

// Discarded tells that v may be gone although it was acked: purged, expired,
// deleted with its queue.
func (q *Queue) Discarded(v Value) { q.mark(v, discarded) }

// Settled tells that v's consumer acked it, and knows that this is durable
// (tx.commit-ok): v must not be delivered any more.
func (q *Queue) Settled(v Value) { q.mark(v, settled) }

// Received tells that v was delivered, marked as redelivered or not.
func (q *Queue) Received(v Value, redelivered bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := q.state(v)
	switch {
	case *s&attempted == 0:
		q.found.add(Unexpected, "%v was never attempted", v)
	case *s&refused != 0 && *s&received == 0:
		q.found.add(Unexpected, "%v was refused", v)
	}
	if *s&received != 0 {
		q.found.Duplicates++
		if !redelivered {
			q.found.add(Duplicated, "%v was delivered again and not marked as redelivered", v)
		}
	}
	if *s&settled != 0 {
		q.found.add(RedeliveredSettle, "%v was delivered again after its ack was durable", v)
	}
	*s |= received
}

// Malformed tells that something was delivered that is no value.
func (q *Queue) Malformed(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.found.add(Malformed, "%v", err)
}

// Missing returns how many acked values were not received yet.
func (q *Queue) Missing() (n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, t := range q.producers {
		for _, s := range t.all() {
			if s.lost() {
				n++
			}
		}
	}
	return n
}

func (s queueState) lost() bool { return s&acked != 0 && s&(received|discarded) == 0 }

// Report compares, once everything is drained.
func (q *Queue) Report() *Report {
	q.mu.Lock()
	defer q.mu.Unlock()
	r := q.found.clone()
	for _, id := range slices.Sorted(maps.Keys(q.producers)) {
		l := losses{producer: id}
		for counter, s := range q.producers[id].all() {
			count(&r.Attempted, *s&attempted != 0)
			count(&r.Acked, *s&acked != 0)
			count(&r.Refused, *s&refused != 0)
			count(&r.Received, *s&received != 0)
			count(&r.Recovered, *s&(received|acked) == received)
			count(&r.Discarded, *s&(received|acked|discarded) == acked|discarded)
			l.add(uint32(counter), s.lost(), *s&(acked|received) == acked|received)
		}
		l.report(r)
	}
	return r
}

func count(n *int, yes bool) {
	if yes {
		*n++
	}
}

// losses collects what is lost of one producer, as runs of counters between
// which nothing was kept.
type losses struct {
	producer uint32
	runs     []run
	kept     int // acked values that were received
}

type run struct {
	first, last uint32
	n           int
	before      int // acked values received before the run
}

// add takes the next counter.
func (l *losses) add(counter uint32, lost, kept bool) {
	if kept {
		l.kept++
	}
	if !lost {
		return
	}
	if i := len(l.runs) - 1; i >= 0 && l.runs[i].before == l.kept {
		l.runs[i].last = counter
		l.runs[i].n++
		return
	}
	l.runs = append(l.runs, run{counter, counter, 1, l.kept})
}

func (l *losses) report(r *Report) {
	for _, run := range l.runs {
		where := "in the middle"
		switch {
		case l.kept == 0:
			where = "everything"
		case run.before == 0:
			where = "a prefix"
		case run.before == l.kept:
			where = "a postfix"
		}
		name := fmt.Sprint(Value{l.producer, run.first})
		if run.n > 1 {
			name = fmt.Sprintf("%d acked values from %v to %v", run.n, name, Value{l.producer, run.last})
		}
		r.addN(Lost, run.n, "%s, %s of what producer %d had acked", name, where, l.producer)
	}
}
