package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrProperties is returned for bytes that are not the properties of a message.
var ErrProperties = errors.New("record: not message properties")

// The flags of the basic class, highest bit first in the order in which the
// properties follow each other.
const (
	flagContentType     = 1 << 15
	flagContentEncoding = 1 << 14
	flagHeaders         = 1 << 13
	flagDeliveryMode    = 1 << 12
	flagPriority        = 1 << 11
	flagCorrelationID   = 1 << 10
	flagReplyTo         = 1 << 9
	flagExpiration      = 1 << 8
	flagMessageID       = 1 << 7
	flagTimestamp       = 1 << 6
	flagType            = 1 << 5
	flagUserID          = 1 << 4
	flagAppID           = 1 << 3
	flagClusterID       = 1 << 2
)

// flagsUnknown are the bits that the basic class has no property for; the
// lowest one would announce a second word of flags.
const flagsUnknown = 1<<1 | 1<<0

// Properties are the decoded properties of a message. An empty text, a nil
// Headers, and a zero number (nil for Timestamp and Priority) are not encoded.
type Properties struct {
	ContentType     string
	ContentEncoding string
	Headers         Table
	DeliveryMode    uint8 // 2 is persistent
	Priority        *uint8
	CorrelationID   string
	ReplyTo         string
	Expiration      string // milliseconds, in decimal
	MessageID       string
	Timestamp       *Timestamp
	Type            string
	UserID          string
	AppID           string
	ClusterID       string
}

// text returns the text property of the flag; nil when it has another type.
func (p *Properties) text(flag uint16) *string {
	switch flag {
	case flagContentType:
		return &p.ContentType
	case flagContentEncoding:
		return &p.ContentEncoding
	case flagCorrelationID:
		return &p.CorrelationID
	case flagReplyTo:
		return &p.ReplyTo
	case flagExpiration:
		return &p.Expiration
	case flagMessageID:
		return &p.MessageID
	case flagType:
		return &p.Type
	case flagUserID:
		return &p.UserID
	case flagAppID:
		return &p.AppID
	case flagClusterID:
		return &p.ClusterID
	}
	return nil
}

// Append appends the flags and the property list, as on the wire, to b. It
// fails, and returns b unchanged, for a text beyond 255 bytes and for headers
// that [Table.Append] refuses.
func (p *Properties) Append(b []byte) ([]byte, error) {
	var flags uint16
	start := len(b)
	out := append(b, 0, 0)
	for flag := uint16(flagContentType); flag >= flagClusterID; flag >>= 1 {
		n := len(out)
		var err error
		if out, err = p.appendOne(out, flag); err != nil {
			return b, err
		}
		if len(out) > n {
			flags |= flag
		}
	}
	binary.BigEndian.PutUint16(out[start:], flags)
	return out, nil
}

// appendOne appends the property of the flag, nothing when it is not set.
func (p *Properties) appendOne(b []byte, flag uint16) ([]byte, error) {
	if s := p.text(flag); s != nil {
		if len(*s) > math.MaxUint8 {
			return b, fmt.Errorf("%w: a text of %d bytes, at most 255 are allowed", ErrProperties, len(*s))
		}
		if *s != "" {
			b = append(append(b, byte(len(*s))), *s...)
		}
		return b, nil
	}
	switch {
	case flag == flagHeaders && p.Headers != nil:
		return p.Headers.Append(b)
	case flag == flagDeliveryMode && p.DeliveryMode != 0:
		b = append(b, p.DeliveryMode)
	case flag == flagPriority && p.Priority != nil:
		b = append(b, *p.Priority)
	case flag == flagTimestamp && p.Timestamp != nil:
		b = binary.BigEndian.AppendUint64(b, uint64(*p.Timestamp))
	}
	return b, nil
}

// ParseProperties decodes b, which holds the flags and the property list and
// nothing else.
func ParseProperties(b []byte) (Properties, error) {
	var p Properties
	w, err := walkProperties(b)
	if err != nil {
		return p, err
	}
	for w.next() {
		if s := p.text(w.flag); s != nil {
			*s = string(w.value[1:])
			continue
		}
		switch w.flag {
		case flagHeaders:
			if p.Headers, _, err = ParseTable(w.value); err != nil {
				return Properties{}, fmt.Errorf("%w: headers: %w", ErrProperties, err)
			}
		case flagDeliveryMode:
			p.DeliveryMode = w.value[0]
		case flagPriority:
			priority := w.value[0]
			p.Priority = &priority
		case flagTimestamp:
			t := Timestamp(binary.BigEndian.Uint64(w.value))
			p.Timestamp = &t
		}
	}
	return p, w.end()
}

// RawProperties are the flags and the property list of a message as on the
// wire. The accessors find one property without decoding the others; they
// answer "not set" for bytes that [RawProperties.Check] would refuse.
type RawProperties []byte

// Check reports whether the bytes are well-formed properties, headers
// included. It does not allocate.
func (raw RawProperties) Check() error {
	w, err := walkProperties(raw)
	if err != nil {
		return err
	}
	for w.next() {
		if w.flag != flagHeaders {
			continue
		}
		if _, err := CheckTable(w.value); err != nil {
			return fmt.Errorf("%w: headers: %w", ErrProperties, err)
		}
	}
	return w.end()
}

// Headers returns the encoded headers table with its length; nil when it is
// not set.
func (raw RawProperties) Headers() []byte { return raw.find(flagHeaders) }

// HeaderTable decodes the headers; nil when they are not set or malformed.
func (raw RawProperties) HeaderTable() Table {
	b := raw.Headers()
	if b == nil {
		return nil
	}
	t, _, err := ParseTable(b)
	if err != nil {
		return nil
	}
	return t
}

// Expiration returns the lifetime in milliseconds as decimal digits; nil when
// it is not set.
func (raw RawProperties) Expiration() []byte { return raw.findText(flagExpiration) }

// UserID returns the user id; nil when it is not set.
func (raw RawProperties) UserID() []byte { return raw.findText(flagUserID) }

// ReplyTo returns the reply-to address; nil when it is not set.
func (raw RawProperties) ReplyTo() []byte { return raw.findText(flagReplyTo) }

// DeliveryMode returns 2 for a persistent message, 0 when it is not set.
func (raw RawProperties) DeliveryMode() uint8 {
	if v := raw.find(flagDeliveryMode); v != nil {
		return v[0]
	}
	return 0
}

// Priority returns the priority, 0 when it is not set.
func (raw RawProperties) Priority() uint8 {
	if v := raw.find(flagPriority); v != nil {
		return v[0]
	}
	return 0
}

// WithHeaders returns a copy whose headers are t and whose other properties
// are the same bytes.
func (raw RawProperties) WithHeaders(t Table) (RawProperties, error) {
	b, err := t.Append(nil)
	if err != nil {
		return nil, err
	}
	return raw.with(flagHeaders, b)
}

// WithReplyTo returns a copy whose reply-to address is text, of at most 255
// bytes, and whose other properties are the same bytes.
func (raw RawProperties) WithReplyTo(text string) (RawProperties, error) {
	if len(text) > math.MaxUint8 {
		return nil, fmt.Errorf("%w: a text of %d bytes, at most 255 are allowed", ErrProperties, len(text))
	}
	return raw.with(flagReplyTo, append([]byte{byte(len(text))}, text...))
}

// with returns a copy in which the property of the flag is value.
func (raw RawProperties) with(flag uint16, value []byte) (RawProperties, error) {
	w, err := walkProperties(raw)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(raw)+len(value))
	out = binary.BigEndian.AppendUint16(out, binary.BigEndian.Uint16(raw)|flag)
	set := false
	for w.next() {
		if w.flag <= flag && !set {
			out = append(out, value...)
			set = true
		}
		if w.flag != flag {
			out = append(out, w.value...)
		}
	}
	if !set {
		out = append(out, value...)
	}
	return out, w.end()
}

func (raw RawProperties) find(flag uint16) []byte {
	if len(raw) < 2 || binary.BigEndian.Uint16(raw)&flag == 0 {
		return nil
	}
	w, err := walkProperties(raw)
	if err != nil {
		return nil
	}
	for w.next() {
		if w.flag == flag {
			return w.value
		}
	}
	return nil
}

func (raw RawProperties) findText(flag uint16) []byte {
	if v := raw.find(flag); v != nil {
		return v[1:]
	}
	return nil
}
