package queue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"waybill/internal/record"
)

// ErrSnapshot is returned for bytes that are not a queue's snapshot.
var ErrSnapshot = errors.New("queue: not a snapshot")

const snapshotVersion = 2

// flagSealed marks the snapshot of a queue that is sealed.
const flagSealed = 1

// Snapshot appends the state to b: a version byte, a byte of flags (1: sealed), then the uvarints next
// offset, delivered watermark, end of the expiring messages, bytes, number of
// reasons and the count of each; then the live ranges as pairs of gap and
// length, to the end. Version 1 has no flags.
func (m *Machine) Snapshot(b []byte) []byte {
	var flags byte
	if m.sealed {
		flags |= flagSealed
	}
	b = append(b, snapshotVersion, flags)
	for _, v := range []uint64{uint64(m.next), uint64(m.delivered), uint64(m.expiring), uint64(m.bytes), uint64(reasons)} {
		b = binary.AppendUvarint(b, v)
	}
	for _, n := range m.settled {
		b = binary.AppendUvarint(b, n)
	}
	return appendRanges(b, &m.live)
}

// Restore replaces the state by a snapshot. After an error the machine must
// not be used.
func (m *Machine) Restore(b []byte) error {
	var flags byte
	switch {
	case len(b) >= 2 && b[0] == snapshotVersion && b[1]&^flagSealed == 0:
		flags, b = b[1], b[2:]
	case len(b) >= 1 && b[0] == 1:
		b = b[1:]
	default:
		return fmt.Errorf("%w: unknown version", ErrSnapshot)
	}
	var fields [5 + reasons]uint64
	for i := range fields {
		v, n := binary.Uvarint(b)
		if n <= 0 || int64(v) < 0 {
			return fmt.Errorf("%w: field %d", ErrSnapshot, i)
		}
		fields[i], b = v, b[n:]
	}
	*m = Machine{
		next:      record.Offset(fields[0]),
		delivered: record.Offset(fields[1]),
		expiring:  record.Offset(fields[2]),
		bytes:     int64(fields[3]),
		sealed:    flags&flagSealed != 0,
	}
	copy(m.settled[:], fields[5:])
	if fields[4] != uint64(reasons) || m.delivered > m.next || m.expiring > m.next {
		return fmt.Errorf("%w: fields contradict each other", ErrSnapshot)
	}
	if err := eachRange(b, m.next, func(from, to record.Offset) error {
		m.live.Add(from, to)
		return nil
	}); err != nil {
		return fmt.Errorf("%w: live ranges: %w", ErrSnapshot, err)
	}
	return nil
}
