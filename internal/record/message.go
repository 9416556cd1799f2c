package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// ErrMessage is returned for bytes that are not a stored message.
var ErrMessage = errors.New("record: not a stored message")

// Message is one AMQP message in its stored form. Its slices alias the buffer
// that it was parsed from and must not be changed.
//
// Layout, integers little endian:
//
//	uint32  length of everything after this field
//	int64   Time, milliseconds since the Unix epoch
//	uint32  TTL in milliseconds plus one; 0 when the message does not expire
//	uint32  length of Properties
//	uint8   length of Exchange, then Exchange
//	uint8   length of RoutingKey, then RoutingKey
//	bytes   Properties
//	bytes   Body, to the end
type Message struct {
	Time       int64         // when the broker received it, ms since the Unix epoch
	TTL        time.Duration // lifetime from Time on, whole milliseconds; [NoTTL] if unlimited
	Exchange   []byte        // at most 255 bytes
	RoutingKey []byte        // at most 255 bytes
	Properties []byte        // AMQP property flags and property list, as on the wire
	Body       []byte
}

// NoTTL is the TTL of a message that does not expire.
const NoTTL time.Duration = -1

// MaxTTL is the longest TTL that a message can carry; longer ones are cut.
const MaxTTL = time.Duration(1<<32-2) * time.Millisecond

const messageFixed = 4 + 8 + 4 + 4 + 1 + 1

// EncodedLen is the size in bytes of the message's stored form.
func (m *Message) EncodedLen() int {
	return messageFixed + len(m.Exchange) + len(m.RoutingKey) + len(m.Properties) + len(m.Body)
}

// Append appends the message's stored form to b.
func (m *Message) Append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(m.EncodedLen()-4))
	b = binary.LittleEndian.AppendUint64(b, uint64(m.Time))
	var ttl uint32
	if m.TTL >= 0 {
		ttl = uint32(min(m.TTL, MaxTTL)/time.Millisecond) + 1
	}
	b = binary.LittleEndian.AppendUint32(b, ttl)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(m.Properties)))
	b = append(b, byte(len(m.Exchange)))
	b = append(b, m.Exchange...)
	b = append(b, byte(len(m.RoutingKey)))
	b = append(b, m.RoutingKey...)
	b = append(b, m.Properties...)
	return append(b, m.Body...)
}

// MessageLen returns the size of the stored message at the start of b.
func MessageLen(b []byte) (int, error) {
	if len(b) < messageFixed {
		return 0, fmt.Errorf("%w: %d bytes", ErrMessage, len(b))
	}
	n := uint64(binary.LittleEndian.Uint32(b)) + 4
	if n < messageFixed || n > uint64(len(b)) {
		return 0, fmt.Errorf("%w: length %d of %d bytes", ErrMessage, n, len(b))
	}
	return int(n), nil
}

// Parse reads the stored message at the start of b into m and returns
// the bytes after it.
func (m *Message) Parse(b []byte) (rest []byte, err error) {
	n, err := MessageLen(b)
	if err != nil {
		return nil, err
	}
	rest, b = b[n:], b[4:n:n]
	m.Time = int64(binary.LittleEndian.Uint64(b))
	m.TTL = NoTTL
	if ttl := binary.LittleEndian.Uint32(b[8:]); ttl > 0 {
		m.TTL = time.Duration(ttl-1) * time.Millisecond
	}
	props := uint64(binary.LittleEndian.Uint32(b[12:]))
	b = b[16:]
	for _, s := range []*[]byte{&m.Exchange, &m.RoutingKey} {
		if len(b) == 0 || len(b)-1 < int(b[0]) {
			return nil, fmt.Errorf("%w: cut off in a name", ErrMessage)
		}
		k := 1 + int(b[0])
		*s, b = b[1:k:k], b[k:]
	}
	if props > uint64(len(b)) {
		return nil, fmt.Errorf("%w: properties of %d bytes in %d", ErrMessage, props, len(b))
	}
	m.Properties, m.Body = b[:props:props], b[props:]
	return rest, nil
}

// Expires is when the message's TTL ends, ms since the Unix epoch; ok is false
// when it does not expire.
func (m *Message) Expires() (ms int64, ok bool) {
	return m.Time + int64(m.TTL/time.Millisecond), m.TTL >= 0
}
