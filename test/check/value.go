package check

import (
	"errors"
	"fmt"
	"strconv"
)

// Value is what a message says: who sent it, and its number. A
// producer numbers its messages in the order in which it sends them, so that a
// loss can be told to be a prefix, the middle, or a postfix.
type Value struct {
	Producer uint32
	Counter  uint32
}

// ErrValue is returned for bytes that are no value.
var ErrValue = errors.New("check: not a value")

// String returns "producer-counter", which [ParseValue] reads.
func (v Value) String() string { return string(v.Append(nil)) }

// Append appends "producer-counter" to b.
func (v Value) Append(b []byte) []byte {
	b = strconv.AppendUint(b, uint64(v.Producer), 10)
	b = append(b, '-')
	return strconv.AppendUint(b, uint64(v.Counter), 10)
}

// Payload returns a message body of at least size bytes that holds the value
// and, after it, filling that depends on it, so that [ParsePayload] finds out
// when bodies are damaged or mixed up.
func (v Value) Payload(size int) []byte {
	b := v.Append(make([]byte, 0, max(size, 24)))
	b = append(b, ' ')
	for len(b) < size {
		b = append(b, v.fill(len(b)))
	}
	return b
}

func (v Value) fill(at int) byte {
	return 'a' + byte((uint64(v.Producer)*31+uint64(v.Counter)*7+uint64(at))%26)
}

// ParseValue reads the value that b consists of.
func ParseValue(b []byte) (Value, error) {
	v, rest, err := parse(b)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("%w: %.40q", ErrValue, b)
	}
	return v, err
}

// ParsePayload reads the value of a body that [Value.Payload] made and checks the filling.
func ParsePayload(b []byte) (Value, error) {
	v, rest, err := parse(b)
	if err != nil {
		return Value{}, err
	}
	if len(rest) == 0 || rest[0] != ' ' {
		return Value{}, fmt.Errorf("%w: %.40q", ErrValue, b)
	}
	for i := len(b) - len(rest) + 1; i < len(b); i++ {
		if b[i] != v.fill(i) {
			return Value{}, fmt.Errorf("%w: the body of %v is damaged at byte %d of %d", ErrValue, v, i, len(b))
		}
	}
	return v, nil
}

func parse(b []byte) (v Value, rest []byte, err error) {
	producer, n := digits(b)
	counter, k := uint32(0), 0
	if n > 0 && n < len(b) && b[n] == '-' {
		counter, k = digits(b[n+1:])
	}
	if k == 0 {
		return Value{}, nil, fmt.Errorf("%w: %.40q", ErrValue, b)
	}
	return Value{producer, counter}, b[n+1+k:], nil
}

// digits reads a decimal number at the start of b, n bytes long; n is 0 when
// there is none that fits.
func digits(b []byte) (x uint32, n int) {
	var wide uint64
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		wide = wide*10 + uint64(b[n]-'0')
		if n++; wide > 1<<32-1 {
			return 0, 0
		}
	}
	return uint32(wide), n
}
