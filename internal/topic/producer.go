package topic

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"

	"waybill/internal/record"
)

const (
	// window is the number of batches of a producer that are recognized when
	// they are sent again. Clients keep at most five in flight.
	window = 5
	// producerLife is how long a silent producer is remembered.
	producerLife = int64(24 * time.Hour / time.Millisecond)
	// sweepEvery is how often expired producers are dropped.
	sweepEvery = int64(10 * time.Minute / time.Millisecond)
	// maxProducers is how many producers are remembered at the most. Who only ever
	// writes one batch is forgotten before long; memory is not.
	maxProducers = 10_000
)

// producer is what one idempotent producer has written.
type producer struct {
	epoch   int16
	used    int64 // time of its last entry, ms
	n       int   // batches remembered, at least 1
	batches [window]written
}

// written is one batch of a producer.
type written struct {
	first, last int32         // sequence numbers
	base        record.Offset // offset of the record with sequence first
	time        int64         // log append time, or -1
}

// end is the offset after the batch's last record.
func (w *written) end() record.Offset {
	return w.base + record.Offset((w.last-w.first)&math.MaxInt32) + 1
}

func (p *producer) lastSequence() int32 { return p.batches[p.n-1].last }

// check says whether b may be written next. When it is a batch that was
// written already, that is returned. p is nil for an unknown producer.
func (p *producer) check(b record.Batch) (*written, error) {
	id, epoch, first, last := b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.LastSequence()
	switch {
	case first < 0 || epoch < 0:
		return nil, refuse(OutOfOrder, "producer %d sent sequence %d, epoch %d: neither may be negative", id, first, epoch)
	case p == nil && first != 0:
		return nil, refuse(UnknownProducer, "producer %d begins with sequence %d, but nothing is remembered of it: get a new epoch and begin with 0", id, first)
	case p == nil:
		return nil, nil
	case epoch < p.epoch:
		return nil, refuse(StaleEpoch, "producer %d has epoch %d, but epoch %d has written already", id, epoch, p.epoch)
	case epoch > p.epoch && first != 0:
		return nil, refuse(OutOfOrder, "producer %d begins epoch %d with sequence %d instead of 0", id, epoch, first)
	case epoch > p.epoch:
		return nil, nil
	}
	for i := range p.n {
		if w := &p.batches[i]; w.first == first && w.last == last {
			return w, nil
		}
	}
	if want := record.AddSequence(p.lastSequence(), 1); first != want {
		return nil, refuse(OutOfOrder, "producer %d sent sequence %d, but %d is next", id, first, want)
	}
	return nil, nil
}

// add notes a batch that follows what was written.
func (p *producer) add(b record.Batch, base record.Offset, now int64) {
	if p.n == 0 || b.ProducerEpoch() != p.epoch {
		p.epoch, p.n = b.ProducerEpoch(), 0
	}
	if p.n == window {
		copy(p.batches[:], p.batches[1:])
		p.n--
	}
	p.batches[p.n] = written{b.BaseSequence(), b.LastSequence(), base, appendTime(b)}
	p.n++
	p.used = now
}

// appendTime is the time that the broker gave to a batch, or -1.
func appendTime(b record.Batch) int64 {
	if b.IsLogAppendTime() {
		return b.MaxTimestamp()
	}
	return -1
}

// committed notes a batch of an idempotent producer.
func (t *Topic) committed(b record.Batch) {
	p := t.producers[b.ProducerID()]
	if p == nil {
		if len(t.producers) >= maxProducers {
			t.forgetSome()
		}
		p = new(producer)
		t.producers[b.ProducerID()] = p
	}
	if t.clock-p.used > producerLife {
		p.n = 0 // the leader has taken it for unknown
	}
	p.add(b, b.BaseOffset(), t.clock)
	if t.leader != nil {
		t.leader.committed(b.ProducerID())
	}
}

// forgetSome drops the quarter of the producers that were silent for the longest
// time: the same ones on every replica.
func (t *Topic) forgetSome() {
	ids := slices.SortedFunc(maps.Keys(t.producers), func(a, b int64) int {
		return cmp.Or(cmp.Compare(t.producers[a].used, t.producers[b].used), cmp.Compare(a, b))
	})
	for _, id := range ids[:len(ids)/4] {
		delete(t.producers, id)
	}
}

// sweep drops producers that were silent for too long. The time is that of the
// entries, so every replica drops the same ones at the same place in the log.
func (t *Topic) sweep() {
	if t.clock-t.swept < sweepEvery {
		return
	}
	t.swept = t.clock
	for id, p := range t.producers {
		if t.clock-p.used > producerLife {
			delete(t.producers, id)
		}
	}
}
