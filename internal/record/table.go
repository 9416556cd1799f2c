package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
)

// Table is an AMQP field table. Its values have one of these Go types, here
// with the letter that stands for them on the wire, as RabbitMQ reads it:
//
//	t  bool        b  int8      B  uint8     s  int16     u  uint16
//	I  int32       i  uint32    l  int64     f  float32   d  float64
//	D  Decimal     S  string    x  []byte    T  Timestamp
//	A  []any       F  Table     V  nil
//
// The letter L is read as l. For convenience of callers that make tables, an
// int is encoded as I, or as l when it needs more than 32 bits.
//
// Layout: uint32 length of what follows, then for each field its name (uint8
// length, bytes), the letter and the value; integers are big endian. An array
// is a uint32 length in bytes, then letters and values.
type Table map[string]any

// Decimal is the number Value / 10^Scale.
type Decimal struct {
	Scale uint8
	Value uint32
}

// Timestamp is a time in seconds since the Unix epoch.
type Timestamp uint64

// Bounds of a table that is read. They keep the memory of a decoded table, and
// the stack of its reader, in proportion to its bytes.
const (
	MaxTableDepth  = 32    // tables and arrays within each other
	MaxTableFields = 16384 // fields and array elements in total
)

// ErrTable is returned for bytes that are not a field table, and for values
// that a field table cannot hold.
var ErrTable = errors.New("record: not a field table")

// Append appends the encoded table, with its length, to b. Fields are sorted
// by name, so equal tables have equal encodings. It fails, and returns b
// unchanged, for a name beyond 255 bytes, a value of another type than those
// of [Table], or too deep a nesting.
func (t Table) Append(b []byte) ([]byte, error) {
	out, err := t.append(b, 1)
	if err != nil {
		return b, err
	}
	return out, nil
}

func (t Table) append(b []byte, depth int) ([]byte, error) {
	if depth > MaxTableDepth {
		return nil, fmt.Errorf("%w: nested deeper than %d", ErrTable, MaxTableDepth)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	var err error
	for _, name := range slices.Sorted(maps.Keys(t)) {
		if len(name) > math.MaxUint8 {
			return nil, fmt.Errorf("%w: a field name of %d bytes", ErrTable, len(name))
		}
		b = append(b, byte(len(name)))
		b = append(b, name...)
		if b, err = appendField(b, t[name], depth); err != nil {
			return nil, err
		}
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b, nil
}

func appendField(b []byte, value any, depth int) ([]byte, error) {
	be := binary.BigEndian
	switch v := value.(type) {
	case nil:
		return append(b, 'V'), nil
	case bool:
		if v {
			return append(b, 't', 1), nil
		}
		return append(b, 't', 0), nil
	case int8:
		return append(b, 'b', byte(v)), nil
	case uint8:
		return append(b, 'B', v), nil
	case int16:
		return be.AppendUint16(append(b, 's'), uint16(v)), nil
	case uint16:
		return be.AppendUint16(append(b, 'u'), v), nil
	case int32:
		return be.AppendUint32(append(b, 'I'), uint32(v)), nil
	case uint32:
		return be.AppendUint32(append(b, 'i'), v), nil
	case int64:
		return be.AppendUint64(append(b, 'l'), uint64(v)), nil
	case int:
		if int64(v) == int64(int32(v)) {
			return be.AppendUint32(append(b, 'I'), uint32(v)), nil
		}
		return be.AppendUint64(append(b, 'l'), uint64(v)), nil
	case float32:
		return be.AppendUint32(append(b, 'f'), math.Float32bits(v)), nil
	case float64:
		return be.AppendUint64(append(b, 'd'), math.Float64bits(v)), nil
	case Decimal:
		return be.AppendUint32(append(b, 'D', v.Scale), v.Value), nil
	case Timestamp:
		return be.AppendUint64(append(b, 'T'), uint64(v)), nil
	case string:
		return append(be.AppendUint32(append(b, 'S'), uint32(len(v))), v...), nil
	case []byte:
		return append(be.AppendUint32(append(b, 'x'), uint32(len(v))), v...), nil
	case Table:
		return v.append(append(b, 'F'), depth+1)
	case []any:
		return appendArray(append(b, 'A'), v, depth+1)
	}
	return nil, fmt.Errorf("%w: a value of Go type %T", ErrTable, value)
}

func appendArray(b []byte, array []any, depth int) ([]byte, error) {
	if depth > MaxTableDepth {
		return nil, fmt.Errorf("%w: nested deeper than %d", ErrTable, MaxTableDepth)
	}
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	var err error
	for _, v := range array {
		if b, err = appendField(b, v, depth); err != nil {
			return nil, err
		}
	}
	binary.BigEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	return b, nil
}

// Equal reports whether both tables have the same fields with the same types
// and values. A nil table equals an empty one.
func (t Table) Equal(u Table) bool {
	if len(t) != len(u) {
		return false
	}
	a, errA := t.Append(nil)
	b, errB := u.Append(nil)
	return errA == nil && errB == nil && bytes.Equal(a, b)
}

// Int returns the field as an integer; ok is false when it is missing or has
// no integer type.
func (t Table) Int(name string) (n int64, ok bool) {
	switch v := t[name].(type) {
	case int8:
		return int64(v), true
	case uint8:
		return int64(v), true
	case int16:
		return int64(v), true
	case uint16:
		return int64(v), true
	case int32:
		return int64(v), true
	case uint32:
		return int64(v), true
	case int64:
		return v, true
	case int:
		return int64(v), true
	}
	return 0, false
}

// Text returns the field as text; ok is false when it is missing or has
// another type than S.
func (t Table) Text(name string) (s string, ok bool) {
	s, ok = t[name].(string)
	return s, ok
}

// ParseTable decodes the table at the start of b, which begins with its length,
// and returns the bytes after it. The table does not alias b. Of fields with
// the same name the first one counts.
func ParseTable(b []byte) (t Table, rest []byte, err error) {
	d := tableReader{b: b}
	t = d.table()
	if d.bad != "" {
		return nil, nil, fmt.Errorf("%w: %s", ErrTable, d.bad)
	}
	return t, d.b, nil
}

// CheckTable reports, without allocating, whether a table is at the start of
// b, and returns the bytes after it.
func CheckTable(b []byte) (rest []byte, err error) {
	d := tableReader{b: b, skip: true}
	d.table()
	if d.bad != "" {
		return nil, fmt.Errorf("%w: %s", ErrTable, d.bad)
	}
	return d.b, nil
}
