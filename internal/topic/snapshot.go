package topic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"waybill/internal/record"
)

// snapshotVersion is the first byte of a snapshot.
const snapshotVersion = 1

// ErrSnapshot is returned for bytes that are not a snapshot of a partition.
var ErrSnapshot = errors.New("topic: not a snapshot")

// Snapshot appends the state to b: a version byte, and then varints, in the
// order of Restore. Equal states have equal snapshots.
func (t *Topic) Snapshot(b []byte) []byte {
	b = append(b, snapshotVersion)
	put := func(vs ...int64) {
		for _, v := range vs {
			b = binary.AppendVarint(b, v)
		}
	}
	put(int64(t.start), int64(t.end), t.clock, t.swept)
	put(int64(len(t.producers)))
	for _, id := range slices.Sorted(maps.Keys(t.producers)) {
		p := t.producers[id]
		put(id, int64(p.epoch), p.used, int64(p.n))
		for _, w := range p.batches[:p.n] {
			put(int64(w.first), int64(w.last), int64(w.base), w.time)
		}
	}
	put(int64(len(t.epochs)))
	for _, e := range t.epochs {
		put(int64(e.epoch), int64(e.start))
	}
	put(t.index.position, int64(len(t.index.stretches)))
	for _, s := range t.index.stretches {
		put(int64(s.base), s.position, s.maxTime, s.began, s.ended)
	}
	return b
}

// Restore replaces the state by a snapshot.
func (t *Topic) Restore(b []byte) error {
	if len(b) == 0 || b[0] != snapshotVersion {
		return fmt.Errorf("%w: unknown version", ErrSnapshot)
	}
	r := reader{b: b[1:]}
	n := New()
	n.start, n.end = record.Offset(r.varint()), record.Offset(r.varint())
	n.clock, n.swept = r.varint(), r.varint()
	for range r.count() {
		id := r.varint()
		p := &producer{epoch: int16(r.varint()), used: r.varint(), n: int(r.varint())}
		if p.n < 1 || p.n > window {
			return fmt.Errorf("%w: a producer with %d batches", ErrSnapshot, p.n)
		}
		for i := range p.n {
			p.batches[i] = written{int32(r.varint()), int32(r.varint()), record.Offset(r.varint()), r.varint()}
		}
		n.producers[id] = p
	}
	for range r.count() {
		n.epochs = append(n.epochs, epochStart{int32(r.varint()), record.Offset(r.varint())})
	}
	n.index.position = r.varint()
	for range r.count() {
		n.index.stretches = append(n.index.stretches,
			stretch{record.Offset(r.varint()), r.varint(), r.varint(), r.varint(), r.varint()})
	}
	if r.bad || len(r.b) > 0 || n.start < 0 || n.end < n.start || n.start < n.end && len(n.index.stretches) == 0 {
		return fmt.Errorf("%w: cut off or contradictory", ErrSnapshot)
	}
	*t = *n
	return nil
}

// reader reads varints; after the first that is cut off everything is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads a number of things that take at least one byte each.
func (r *reader) count() int {
	n := r.varint()
	if n < 0 || n > int64(len(r.b)) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}
