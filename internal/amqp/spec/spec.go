// Package spec is the codec of AMQP 0-9-1's methods, generated from the
// machine-readable specification beside it, which includes RabbitMQ's
// extensions.
//
// A method frame's payload is the method's [ID] as four bytes followed by its
// arguments, packed big endian. Each method is a struct with Append, which
// encodes both, and Decode, which reads the arguments:
//
//	var m spec.QueueDeclare
//	id, args, err := spec.SplitID(payload)
//	err = m.Decode(args)
//
// Decode never panics and needs memory in proportion to its input. It fails for
// arguments that are cut off and for bytes after them. Fields that the specification
// reserves are read over, and written as zero.
//
// Text is decoded into strings, save in the methods that carry content and so
// are decoded or encoded once per message: their texts are byte slices that
// alias the input.
package spec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"waybill/internal/record"
)

//go:generate go run ./gen -in amqp0-9-1.stripped.extended.xml -out methods.go

// ErrSyntax is returned for arguments that cannot be decoded.
var ErrSyntax = errors.New("malformed method arguments")

// ID is a class id (upper 16 bits) and a method id.
type ID uint32

// Class is the id of the method's class.
func (id ID) Class() uint16 { return uint16(id >> 16) }

// Method is the id of the method within its class.
func (id ID) Method() uint16 { return uint16(id) }

// Method is a method of the protocol.
type Method interface {
	ID() ID
	// Append appends the encoded id and arguments to b. It panics for a text
	// or a table that the protocol cannot hold: the caller made it.
	Append(b []byte) []byte
	// Decode reads the arguments.
	Decode(args []byte) error
}

// SplitID splits the payload of a method frame into the method's id and its
// arguments.
func SplitID(payload []byte) (id ID, args []byte, err error) {
	if len(payload) < 4 {
		return 0, nil, fmt.Errorf("%w: no method id in %d bytes", ErrSyntax, len(payload))
	}
	return ID(binary.BigEndian.Uint32(payload)), payload[4:], nil
}

// reader reads arguments off the front of b. The first mistake is kept in err
// and everything after it reads as zero.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(fmt.Errorf("%w: cut off", ErrSyntax))
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) octet() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) short() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) long() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (r *reader) longlong() uint64 {
	if p := r.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

func (r *reader) shortstr() []byte { return r.take(int(r.octet())) }

func (r *reader) longstr() []byte {
	n := r.long()
	if uint64(n) > uint64(len(r.b)) {
		r.fail(fmt.Errorf("%w: cut off", ErrSyntax))
		return nil
	}
	return r.take(int(n))
}

func (r *reader) table() record.Table {
	if r.err != nil {
		return nil
	}
	t, rest, err := record.ParseTable(r.b)
	if err != nil {
		r.fail(fmt.Errorf("%w: %w", ErrSyntax, err))
		return nil
	}
	r.b = rest
	return t
}

// end reports the first mistake; bytes that are left over are one.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		return fmt.Errorf("%w: %d bytes too many", ErrSyntax, len(r.b))
	}
	return r.err
}

func appendShortstr[T string | []byte](b []byte, s T) []byte {
	if len(s) > math.MaxUint8 {
		panic(fmt.Sprintf("spec: a short text of %d bytes", len(s)))
	}
	return append(append(b, byte(len(s))), s...)
}

func appendLongstr[T string | []byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

func appendTable(b []byte, t record.Table) []byte {
	b, err := t.Append(b)
	if err != nil {
		panic(fmt.Sprintf("spec: %v", err))
	}
	return b
}

// bit returns b as bit n of an octet.
func bit(b bool, n uint) byte {
	if b {
		return 1 << n
	}
	return 0
}
