package broker

import (
	"errors"
	"fmt"

	"waybill/internal/record"
	"waybill/internal/storage"
	"waybill/internal/topic"
)

// scanBytes is how much a search by time reads at once.
const scanBytes = 1 << 20

// ReadResult is a stretch of a partition.
type ReadResult struct {
	HighWatermark record.Offset
	LastStable    record.Offset
	LogStart      record.Offset
	// Batches are runs of whole record batches, one after the other. The first
	// batch holds the offset asked for. Shared: read only, and gone after Release.
	Batches [][]byte
	Size    int // bytes of all runs

	loan *storage.Loan
	read record.Offset // the end of the last entry that was taken whole
}

// Release lets the memory of the batches be used again. It may be called
// again; who forgets it leaves the memory to the garbage collector.
func (r *ReadResult) Release() {
	r.loan.Release(r.read)
	r.loan, r.Batches, r.Size = nil, nil, 0
}

// Read returns batches from off on, only committed ones, at least one when there is any
// and then no more than maxBytes. OutOfRange when off is below the log start or
// beyond the high watermark; the result says where they are. It may read the disk.
func (p *Partition) Read(off record.Offset, maxBytes int) (ReadResult, error) {
	start, high := p.Offsets()
	r := ReadResult{HighWatermark: high, LastStable: high, LogStart: start}
	if err := p.Err(); err != nil {
		return r, err
	}
	if off < start || off > high {
		return r, errorf(OutOfRange, "offset %d is not in [%d, %d]", off, start, high)
	}
	if off == high {
		return r, nil
	}
	// The log counts what entries have around their batches; fit cuts exactly.
	loan, err := p.group.Log().Borrow(off, high, maxBytes+maxBytes/8+1<<10)
	if err != nil {
		return r, p.readError(off, err)
	}
	r.loan = loan
	if err := r.fill(off, maxBytes); err != nil {
		r.Release()
		return r, p.readError(off, err)
	}
	if len(r.Batches) > 0 && record.Batch(r.Batches[0]).BaseOffset() > off || len(r.Batches) == 0 {
		return p.missing(off, r)
	}
	r.own()
	return r, nil
}

// holdFactor is how much more memory than they take batches may hold on to.
const holdFactor = 4

// own copies a few batches that hold on to much: whoever bounds the memory of
// responses counts only them.
func (r *ReadResult) own() {
	if r.loan.Held() <= holdFactor*r.Size {
		return
	}
	b := make([]byte, 0, r.Size)
	for _, run := range r.Batches {
		b = append(b, run...)
	}
	r.loan.Release(r.read)
	r.loan, r.Batches = nil, [][]byte{b}
}

// fill takes the batches of the loan from off on.
func (r *ReadResult) fill(off record.Offset, maxBytes int) error {
	for _, e := range r.loan.Entries {
		b, err := topic.Batches(e.GetData())
		if err == nil && r.Size == 0 {
			b, err = after(b, off)
		}
		if err != nil {
			return err
		}
		if !r.take(b, maxBytes) {
			break
		}
		if h, _, err := record.ParseHeader(e.GetData()); err == nil {
			r.read = h.End()
		}
	}
	return nil
}

// take adds the batches of an entry; false when not all of them fit. Then a
// smaller entry behind it might fit, but would leave a gap.
func (r *ReadResult) take(b []byte, maxBytes int) bool {
	some := fit(b, maxBytes-r.Size, r.Size == 0)
	if len(some) > 0 {
		r.Batches = append(r.Batches, some)
		r.Size += len(some)
	}
	return len(some) == len(b)
}

// missing: the log does not hold off. Retention may have dropped it a moment
// ago; anything else is damage.
func (p *Partition) missing(off record.Offset, r ReadResult) (ReadResult, error) {
	r.Release()
	start, high := p.Offsets()
	if off < start {
		return ReadResult{HighWatermark: high, LastStable: high, LogStart: start}, errorf(OutOfRange, "offset %d is not in [%d, %d]", off, start, high)
	}
	return r, p.readError(off, storage.ErrNotFound)
}

// after cuts off the batches that end at or before off.
func after(b []byte, off record.Offset) ([]byte, error) {
	for len(b) > 0 {
		batch, rest, err := record.NextBatch(b)
		if err != nil {
			return nil, err
		}
		if batch.End() > off {
			break
		}
		b = rest
	}
	return b, nil
}

// fit returns the leading batches of b that fit into room bytes; with atLeastOne,
// the first one in any case.
func fit(b []byte, room int, atLeastOne bool) []byte {
	if len(b) <= room {
		return b
	}
	n := 0
	for rest := b; len(rest) > 0; {
		batch, next, err := record.NextBatch(rest)
		if err != nil || n+len(batch) > room && !(atLeastOne && n == 0) {
			break
		}
		n += len(batch)
		rest = next
	}
	return b[:n:n]
}

func (p *Partition) readError(off record.Offset, err error) error {
	if gone := p.available(); gone != nil {
		return gone
	}
	if errors.Is(err, storage.ErrClosed) {
		return notLeader(p, err)
	}
	if again, ok := p.unread.now(p.b.cfg.Now()); ok { // a consumer asks for the same ones for ever
		p.b.log.Error("records cannot be read; they are not skipped", "topic", p.topic, "partition", p.number, "log", p.id, "offset", off, "error", err, "unsaid", again)
	}
	return &Error{Kind: Internal, Code: codeKafkaStorageError,
		Text: fmt.Sprintf("offset %d of partition %d of topic '%s' cannot be read: %v", off, p.number, p.topic, err)}
}

// scan calls f for the batches of [from, to), until it returns false.
func (p *Partition) scan(from, to record.Offset, f func(record.Batch) (bool, error)) error {
	for from < to {
		r, err := p.Read(from, scanBytes)
		if err != nil {
			return err
		}
		if len(r.Batches) == 0 {
			return nil
		}
		for _, b := range r.Batches {
			for len(b) > 0 && from < to {
				batch, rest, err := record.NextBatch(b)
				if err != nil {
					return p.readError(from, err)
				}
				if more, err := f(batch); err != nil || !more {
					return err
				}
				from, b = batch.End(), rest
			}
		}
	}
	return nil
}

// OffsetAtTime returns the first offset whose record has a timestamp at or after ms, and
// that timestamp; ok is false when there is none. It may read the disk.
func (p *Partition) OffsetAtTime(ms int64) (off record.Offset, timestamp int64, ok bool, err error) {
	next := record.Offset(0)
	for {
		p.mu.Lock()
		from, to, found := p.machine.Stretch(ms, next)
		p.mu.Unlock()
		if !found {
			return 0, 0, false, p.available()
		}
		err = p.scan(from, to, func(b record.Batch) (bool, error) {
			if b.MaxTimestamp() < ms {
				return true, nil
			}
			var err error
			off, timestamp, ok, err = b.FirstAt(ms, from)
			return !ok, err
		})
		if err != nil || ok {
			return off, timestamp, ok, err
		}
		next = to
	}
}

// MaxTimestamp returns the largest timestamp and the first offset that has it
// (ListOffsets -3); ok is false when the partition is empty.
func (p *Partition) MaxTimestamp() (off record.Offset, timestamp int64, ok bool, err error) {
	p.mu.Lock()
	ms, some := p.machine.MaxTime()
	p.mu.Unlock()
	if !some {
		return 0, 0, false, p.available()
	}
	if off, timestamp, ok, err = p.OffsetAtTime(ms); ok || err != nil {
		return off, timestamp, ok, err
	}
	// The record that had it was dropped, and the index still knows the
	// largest timestamp of the stretch it was in: look at all headers.
	start, high := p.Offsets()
	ms = -1
	err = p.scan(start, high, func(b record.Batch) (bool, error) {
		if b.BaseOffset() >= start {
			ms = max(ms, b.MaxTimestamp())
		}
		return true, nil
	})
	if err != nil {
		return 0, 0, false, err
	}
	return p.OffsetAtTime(ms)
}
