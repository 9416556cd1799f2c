package queue

import (
	"encoding/binary"
	"fmt"

	"waybill/internal/record"
)

// Machine is the replicated state of a queue. The zero value is a new queue.
type Machine struct {
	next      record.Offset // offset of the next message
	live      Offsets       // not settled
	bytes     int64         // of the bodies of the live messages
	delivered record.Offset // no message at or above it was ever delivered
	expiring  record.Offset // no message at or above it has a TTL of its own
	sealed    bool          // no message is added any more
	settled   [reasons]uint64
}

// Applied tells what an entry added.
type Applied struct {
	record.Header
	Bytes int64 // of the bodies of its messages
}

// Next is the offset of the next message.
func (m *Machine) Next() record.Offset { return m.next }

// Count is the number of messages that the queue holds, unacked ones included.
func (m *Machine) Count() int64 { return m.live.Count() }

// Bytes is the size of their bodies.
func (m *Machine) Bytes() int64 { return m.bytes }

// Delivered is the offset at and above which nothing was ever delivered.
func (m *Machine) Delivered() record.Offset { return m.delivered }

// Sealed reports whether the queue takes no messages any more: it is to be deleted.
func (m *Machine) Sealed() bool { return m.sealed }

// Settled is the number of messages that left the queue for that reason.
func (m *Machine) Settled(r Reason) uint64 { return m.settled[r] }

// Live returns a frozen view of what the queue holds.
func (m *Machine) Live() *Offsets { return m.live.Clone() }

// Holds reports whether the queue holds any message of [from, to).
func (m *Machine) Holds(from, to record.Offset) bool { return m.live.Intersects(from, to) }

// Apply takes the next entry. An error means that the entry was not made for
// this state; the machine must not be used afterwards.
func (m *Machine) Apply(data []byte) (Applied, error) {
	h, rest, err := record.ParseHeader(data)
	if err != nil {
		return Applied{}, err
	}
	if h.Base != m.next {
		return Applied{}, fmt.Errorf("%w: base %d, but the next offset is %d", ErrEntry, h.Base, m.next)
	}
	a := Applied{Header: h}
	for len(rest) > 0 {
		var kind byte
		var body []byte
		if kind, body, rest, err = nextSection(rest); err != nil {
			return Applied{}, err
		}
		switch kind {
		case sectionSettle:
			err = m.applySettle(body)
		case sectionWatermark:
			err = m.applyWatermark(body, h.End())
		case sectionMessages:
			a.Bytes, err = m.applyMessages(body, h)
		case sectionSeal:
			err = m.applySeal(body)
		default:
			err = fmt.Errorf("%w: unknown section %d", ErrEntry, kind)
		}
		if err != nil {
			return Applied{}, err
		}
	}
	if m.next != h.End() {
		return Applied{}, fmt.Errorf("%w: %d messages are announced, but none are there", ErrEntry, h.Count)
	}
	return a, nil
}

func (m *Machine) applySettle(body []byte) error {
	if len(body) == 0 || body[0] >= byte(reasons) {
		return fmt.Errorf("%w: unknown reason to settle", ErrEntry)
	}
	reason := Reason(body[0])
	bytes, n := binary.Uvarint(body[1:])
	if n <= 0 || bytes > uint64(m.bytes) {
		return fmt.Errorf("%w: settles %d bytes of %d", ErrEntry, bytes, m.bytes)
	}
	m.bytes -= int64(bytes)
	return eachRange(body[1+n:], m.next, func(from, to record.Offset) error {
		if m.live.Remove(from, to) != int64(to-from) {
			return fmt.Errorf("%w: settles what is not held in [%d, %d)", ErrEntry, from, to)
		}
		m.settled[reason] += uint64(to - from)
		return nil
	})
}

func (m *Machine) applyWatermark(body []byte, end record.Offset) error {
	off, n := binary.Uvarint(body)
	if n <= 0 || n != len(body) || off > uint64(end) {
		return fmt.Errorf("%w: bad watermark", ErrEntry)
	}
	m.delivered = max(m.delivered, record.Offset(off))
	return nil
}

func (m *Machine) applyMessages(body []byte, h record.Header) (bytes int64, err error) {
	b, _, err := parseMessages(body)
	if err != nil {
		return 0, err
	}
	if m.sealed {
		return 0, fmt.Errorf("%w: messages after the seal", ErrEntry)
	}
	if m.next != h.Base || h.Count == 0 {
		return 0, fmt.Errorf("%w: more messages than the %d announced", ErrEntry, h.Count)
	}
	m.live.Add(h.Base, h.End())
	m.next = h.End()
	m.bytes += b.Bytes
	if b.Expiring {
		m.expiring = m.next
	}
	return b.Bytes, nil
}

func (m *Machine) applySeal(body []byte) error {
	if len(body) != 0 {
		return fmt.Errorf("%w: a seal of %d bytes", ErrEntry, len(body))
	}
	m.sealed = true
	return nil
}
