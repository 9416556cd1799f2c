package queue

import (
	"encoding/binary"
	"errors"
	"fmt"

	"waybill/internal/record"
)

// ErrEntry is returned for bytes that are not the payload of a queue's entry.
var ErrEntry = errors.New("queue: not an entry")

// Reason says why a message left its queue.
type Reason uint8

const (
	Accepted  Reason = iota // a consumer acknowledged it, or took it without acks
	Discarded               // a consumer rejected it without requeue
	Expired                 // its TTL ended
	Overflow                // the queue was longer than its limit
	Purged                  // the queue was purged
	reasons                 // their number
)

// Reasons lists all reasons.
func Reasons() []Reason { return []Reason{Accepted, Discarded, Expired, Overflow, Purged} }

func (r Reason) String() string {
	switch r {
	case Accepted:
		return "accepted"
	case Discarded:
		return "rejected"
	case Expired:
		return "expired"
	case Overflow:
		return "maxlen"
	case Purged:
		return "purged"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// The kinds of sections of an entry's payload.
const (
	sectionSettle    = 1
	sectionWatermark = 2
	sectionMessages  = 3
	sectionSeal      = 4
)

// flagExpiring marks a messages section in which a message has a TTL.
const flagExpiring = 1

// Batch is what goes into the messages section of an entry.
type Batch struct {
	Count    int
	Size     int   // bytes of the stored messages
	Bytes    int64 // bytes of their bodies
	Expiring bool  // one of them has a TTL of its own
}

// MaxBatchHead bounds the bytes that AppendHead appends.
const MaxBatchHead = 1 + 2*binary.MaxVarintLen64 + 1

// AppendHead appends the head of the messages section; the caller appends the
// stored messages, exactly b.Size bytes.
func (b *Batch) AppendHead(dst []byte) []byte {
	var head [binary.MaxVarintLen64 + 1]byte
	n := binary.PutUvarint(head[:], uint64(b.Bytes))
	if b.Expiring {
		head[n] = flagExpiring
	}
	n++
	dst = append(dst, sectionMessages)
	dst = binary.AppendUvarint(dst, uint64(n+b.Size))
	return append(dst, head[:n]...)
}

// parseMessages splits the body of a messages section.
func parseMessages(body []byte) (b Batch, messages []byte, err error) {
	bytes, n := binary.Uvarint(body)
	if n <= 0 || n == len(body) || bytes > uint64(len(body)) || body[n]&^flagExpiring != 0 {
		return Batch{}, nil, fmt.Errorf("%w: bad messages section", ErrEntry)
	}
	messages = body[n+1:]
	return Batch{Size: len(messages), Bytes: int64(bytes), Expiring: body[n] == flagExpiring}, messages, nil
}

// Messages returns the stored messages of an entry's payload, back to back.
func Messages(payload []byte) ([]byte, error) {
	for rest := payload; len(rest) > 0; {
		kind, body, after, err := nextSection(rest)
		if err != nil {
			return nil, err
		}
		if kind == sectionMessages {
			_, messages, err := parseMessages(body)
			return messages, err
		}
		rest = after
	}
	return nil, nil
}

// nextSection splits the first section off.
func nextSection(b []byte) (kind byte, body, rest []byte, err error) {
	size, n := binary.Uvarint(b[1:])
	if n <= 0 || size > uint64(len(b)-1-n) {
		return 0, nil, nil, fmt.Errorf("%w: section %d of %d bytes is cut off", ErrEntry, b[0], len(b))
	}
	end := 1 + n + int(size)
	return b[0], b[1+n : end], b[end:], nil
}

// appendSettle appends a settle section; ranges must not be empty.
func appendSettle(b []byte, reason Reason, bytes int64, ranges *Offsets) []byte {
	body := appendRanges(binary.AppendUvarint([]byte{byte(reason)}, uint64(bytes)), ranges)
	return appendSection(b, sectionSettle, body)
}

func appendWatermark(b []byte, off record.Offset) []byte {
	var body [binary.MaxVarintLen64]byte
	return appendSection(b, sectionWatermark, body[:binary.PutUvarint(body[:], uint64(off))])
}

// AppendSeal appends the seal to an entry without messages.
func AppendSeal(b []byte) []byte { return appendSection(b, sectionSeal, nil) }

func appendSection(b []byte, kind byte, body []byte) []byte {
	b = append(b, kind)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// appendRanges appends pairs of gap and length.
func appendRanges(b []byte, s *Offsets) []byte {
	var last record.Offset
	for from, to := range s.Ranges {
		b = binary.AppendUvarint(b, uint64(from-last))
		b = binary.AppendUvarint(b, uint64(to-from))
		last = to
	}
	return b
}

// eachRange calls f for each pair of gap and length in b, which must end at
// or before limit.
func eachRange(b []byte, limit record.Offset, f func(from, to record.Offset) error) error {
	var last record.Offset
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		if n <= 0 || gap > uint64(limit-last) {
			return fmt.Errorf("%w: bad range after offset %d", ErrEntry, last)
		}
		size, k := binary.Uvarint(b[n:])
		from := last + record.Offset(gap)
		if k <= 0 || size == 0 || size > uint64(limit-from) {
			return fmt.Errorf("%w: bad range at offset %d", ErrEntry, from)
		}
		last = from + record.Offset(size)
		if err := f(from, last); err != nil {
			return err
		}
		b = b[n+k:]
	}
	return nil
}
