package topic

import (
	"encoding/binary"

	"waybill/internal/record"
)

// leader is what only the leader knows.
type leader struct {
	epoch int32
	next  record.Offset // offset of the next record to append
	clock int64         // time of the last entry built

	// inFlight holds the producers that have batches in entries which are
	// built but not committed: their state including those.
	inFlight map[int64]*inFlight

	entry []byte // being built; nil before its first batch
	room  int    // bytes of the batches that are expected
	base  record.Offset
}

type inFlight struct {
	producer
	pending int // batches not committed
}

// Lead makes this replica the leader in term; all entries of earlier terms are
// applied.
func (t *Topic) Lead(term uint64) {
	t.leader = &leader{
		epoch:    int32(term),
		next:     t.end,
		clock:    t.clock,
		inFlight: make(map[int64]*inFlight),
	}
}

// Follow forgets everything that is not committed.
func (t *Topic) Follow() { t.leader = nil }

// Next is the offset of the next record to append. Only on the leader.
func (t *Topic) Next() record.Offset { return t.leader.next }

// Result is what becomes of a batch once all up to End is committed.
type Result struct {
	Base record.Offset // offset of the batch's first record
	End  record.Offset // offset after its last one
	Time int64         // the log append time in ms, or -1
}

// Begin starts an entry at the time now, in ms, with room for size bytes of
// batches. Only on the leader, as are all that follow.
func (t *Topic) Begin(now int64, size int) {
	l := t.leader
	l.clock = max(l.clock, now)
	l.base = l.next
	l.entry, l.room = nil, size
}

// Add puts a copy of a batch into the entry, stamped. A batch that was appended before
// gets the result of that time, and is not added. An *Error refuses the batch.
func (t *Topic) Add(b record.Batch, cfg *Config) (Result, error) { return t.add(b, nil, cfg) }

// AddWhole is Add of the batch behind the first [Overhead] bytes of mem, which becomes the entry: nothing is copied, and
// nobody else may look at it any more. It is the entry's only batch.
func (t *Topic) AddWhole(mem []byte, cfg *Config) (Result, error) {
	return t.add(record.Batch(mem[Overhead:]), mem, cfg)
}

func (t *Topic) add(b record.Batch, mem []byte, cfg *Config) (Result, error) {
	l := t.leader
	var p *producer
	if b.ProducerID() >= 0 {
		p = t.latest(b.ProducerID())
		before, err := p.check(b)
		if err != nil {
			return Result{}, err
		}
		if before != nil {
			return Result{before.base, before.end(), before.time}, nil
		}
	}
	switch {
	case mem != nil && l.entry != nil:
		panic("topic: a batch that is an entry by itself comes after others") // which would be lost
	case mem != nil:
		l.entry = mem
	default:
		if l.entry == nil {
			l.entry = make([]byte, Overhead, Overhead+l.room)
		}
		at := len(l.entry)
		l.entry = append(l.entry, b...)
		b = record.Batch(l.entry[at:])
	}
	b.Stamp(l.next, l.epoch)
	if cfg.LogAppendTime {
		b.SetLogAppendTime(l.clock)
	}
	if b.ProducerID() >= 0 {
		l.appended(b, p)
	}
	r := Result{l.next, b.End(), appendTime(b)}
	l.next = r.End
	return r, nil
}

// Entry finishes the entry; nil when no batch was added.
func (t *Topic) Entry() []byte {
	l := t.leader
	data := l.entry
	l.entry = nil
	if data == nil {
		return nil
	}
	l.head(data, l.base, uint32(l.next-l.base))
	return data
}

// MoveStart returns an entry that makes the log start at the offset to.
func (t *Topic) MoveStart(now int64, to record.Offset) []byte {
	l := t.leader
	l.clock = max(l.clock, now)
	data := make([]byte, Overhead, Overhead+9)
	l.head(data, l.next, 0)
	data = append(data, commandStart)
	return binary.LittleEndian.AppendUint64(data, uint64(to))
}

// head fills in what comes before the batches.
func (l *leader) head(data []byte, base record.Offset, count uint32) {
	record.Header{Base: base, Count: count}.Put(data)
	binary.LittleEndian.PutUint64(data[record.HeaderLen:], uint64(l.clock))
}

// latest is the state of a producer with all that was appended; nil for one
// that is unknown or silent for too long.
func (t *Topic) latest(id int64) *producer {
	if f := t.leader.inFlight[id]; f != nil {
		return &f.producer
	}
	if p := t.producers[id]; p != nil && t.leader.clock-p.used <= producerLife {
		return p
	}
	return nil
}

// appended notes a stamped batch of an idempotent producer whose latest state
// is p, or nil.
func (l *leader) appended(b record.Batch, p *producer) {
	f := l.inFlight[b.ProducerID()]
	if f == nil {
		f = new(inFlight)
		if p != nil {
			f.producer = *p
		}
		l.inFlight[b.ProducerID()] = f
	}
	f.add(b, b.BaseOffset(), l.clock)
	f.pending++
}

// committed: one batch of the producer is in the committed state now.
func (l *leader) committed(id int64) {
	f := l.inFlight[id]
	if f == nil {
		return // appended by an earlier leader
	}
	if f.pending--; f.pending == 0 {
		delete(l.inFlight, id)
	}
}
