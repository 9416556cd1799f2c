// Package topic is the machine of one topic partition: which offsets it holds,
// what each idempotent producer has written, which leader wrote from where on,
// and what retention may drop. It is pure: it takes committed entries, and on
// the leader batches, and returns what follows from them. It never sees
// the clock, the disk or a client.
//
// # The promise
//
// Offsets are dense: the n-th record that is committed has offset n-1, for ever.
// A batch that an idempotent producer sends again, within its last five, takes
// no second offset; one that leaves a gap behind it is refused.
//
// # Entry layout
//
// After the record.Header of an entry, integers little endian:
//
//	int64  time of the leader's clock in ms; never decreases along a log
//	rest   Count > 0:  record batches back to back, stamped with their offsets
//	                   and the leader epoch, so that a read can slice them out
//	       Count = 0:  byte 1, int64: the log starts at that offset
//
// # Leader and followers
//
// Apply is the same everywhere. What only the leader knows, the batches that it
// has built and that are not committed yet, lies in one value that is dropped
// when it leads no longer. The leader epoch is the raft term.
package topic

import (
	"encoding/binary"
	"fmt"

	"waybill/internal/record"
)

const (
	timeLen      = 8
	commandStart = 1

	// Overhead is what an entry has in addition to its batches, in bytes.
	Overhead = record.HeaderLen + timeLen
)

// Topic is the state of one partition. It is not safe for concurrent use.
type Topic struct {
	start, end record.Offset // first offset kept; offset after the last committed one
	clock      int64         // time of the last entry, ms
	swept      int64         // clock when expired producers were last dropped
	producers  map[int64]*producer
	epochs     epochs
	index      index

	leader *leader // nil when this replica does not lead
}

// New returns the empty partition.
func New() *Topic { return &Topic{producers: make(map[int64]*producer)} }

// Start is the first offset that is kept.
func (t *Topic) Start() record.Offset { return t.start }

// End is the high watermark: the offset after the last committed one.
func (t *Topic) End() record.Offset { return t.end }

// Size is the number of bytes of the batches that are kept, give or take a
// stretch of the index.
func (t *Topic) Size() int64 { return t.index.kept() }

// Producers is the number of idempotent producers that are remembered.
func (t *Topic) Producers() int { return len(t.producers) }

// Batches returns the record batches of an entry.
func Batches(data []byte) ([]byte, error) {
	h, payload, err := record.ParseHeader(data)
	if err != nil {
		return nil, err
	}
	if h.Count == 0 || len(payload) < timeLen {
		return nil, fmt.Errorf("topic: entry at offset %d holds no batches", h.Base)
	}
	return payload[timeLen:], nil
}

// Apply takes the next committed entry, which was proposed in term. An error
// means that it is not an entry of this machine, or that one is missing before it.
func (t *Topic) Apply(term uint64, data []byte) error {
	h, payload, err := record.ParseHeader(data)
	if err != nil {
		return err
	}
	if h.Base != t.end {
		return fmt.Errorf("topic: entry has base offset %d, expected %d", h.Base, t.end)
	}
	if len(payload) < timeLen {
		return fmt.Errorf("topic: entry at offset %d is cut off", h.Base)
	}
	t.clock = max(t.clock, int64(binary.LittleEndian.Uint64(payload)))
	payload = payload[timeLen:]
	if h.Count == 0 {
		err = t.applyCommand(payload)
	} else {
		err = t.applyBatches(term, h, payload)
	}
	t.sweep()
	return err
}

func (t *Topic) applyCommand(b []byte) error {
	if len(b) != 9 || b[0] != commandStart {
		return fmt.Errorf("topic: unknown command % x", b[:min(len(b), 9)])
	}
	start := record.Offset(binary.LittleEndian.Uint64(b[1:]))
	if start > t.end {
		return fmt.Errorf("topic: log start %d is beyond the end %d", start, t.end)
	}
	if start > t.start {
		t.start = start
		t.index.trim(start, t.end)
		t.epochs.trim(start)
	}
	return nil
}

func (t *Topic) applyBatches(term uint64, h record.Header, b []byte) error {
	t.epochs.begin(int32(term), h.Base)
	for len(b) > 0 {
		batch, rest, err := record.NextBatch(b)
		if err != nil {
			return err
		}
		if batch.BaseOffset() != t.end {
			return fmt.Errorf("topic: batch has base offset %d, expected %d", batch.BaseOffset(), t.end)
		}
		t.index.add(t.end, len(batch), batch.MaxTimestamp(), t.clock)
		if batch.ProducerID() >= 0 {
			t.committed(batch)
		}
		t.end = batch.End()
		b = rest
	}
	if t.end != h.End() {
		return fmt.Errorf("topic: batches end at offset %d, the entry at %d", t.end, h.End())
	}
	return nil
}
