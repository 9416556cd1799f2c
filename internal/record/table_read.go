package record

import (
	"encoding/binary"
	"math"
)

// tableReader reads fields off the front of b. The first mistake is kept in
// bad and ends the reading: everything after it reads as empty.
type tableReader struct {
	b      []byte
	bad    string
	skip   bool // check only: make no values
	depth  int
	fields int
}

func (d *tableReader) fail(what string) {
	if d.bad == "" {
		d.bad = what
	}
	d.b = nil
}

// take returns the next n bytes; nil when there are fewer.
func (d *tableReader) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail("cut off")
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *tableReader) uint8() uint8 {
	if p := d.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (d *tableReader) uint16() uint16 {
	if p := d.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (d *tableReader) uint32() uint32 {
	if p := d.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

func (d *tableReader) uint64() uint64 {
	if p := d.take(8); p != nil {
		return binary.BigEndian.Uint64(p)
	}
	return 0
}

// long returns the bytes of a value that begins with its length.
func (d *tableReader) long() []byte {
	n := d.uint32()
	if uint64(n) > uint64(len(d.b)) {
		d.fail("cut off")
		return nil
	}
	return d.take(int(n))
}

// nested reads a table or an array: its length, then elements by each until
// the length is used up.
func (d *tableReader) nested(each func()) {
	if d.depth++; d.depth > MaxTableDepth {
		d.fail("nested too deep")
		return
	}
	inner := d.long()
	after := d.b
	d.b = inner
	for len(d.b) > 0 {
		if d.fields++; d.fields > MaxTableFields {
			d.fail("too many fields")
			return
		}
		each()
	}
	if d.bad == "" {
		d.b = after
	}
	d.depth--
}

func (d *tableReader) table() Table {
	if d.skip {
		d.nested(func() {
			d.take(int(d.uint8()))
			d.value()
		})
		return nil
	}
	t := Table{}
	d.nested(func() {
		name := string(d.take(int(d.uint8())))
		v := d.value()
		if _, twice := t[name]; !twice {
			t[name] = v
		}
	})
	return t
}

func (d *tableReader) array() []any {
	a := []any{}
	d.nested(func() {
		v := d.value()
		if !d.skip {
			a = append(a, v)
		}
	})
	return a
}

// widths holds the size in bytes of the values that have a fixed one, plus one.
var widths = [256]uint8{
	't': 2, 'b': 2, 'B': 2, 's': 3, 'u': 3, 'I': 5, 'i': 5, 'f': 5,
	'l': 9, 'L': 9, 'd': 9, 'T': 9, 'D': 6, 'V': 1,
}

func (d *tableReader) value() any {
	letter := d.uint8()
	if d.bad != "" {
		return nil
	}
	if d.skip {
		d.skipValue(letter)
		return nil
	}
	switch letter {
	case 't':
		return d.uint8() != 0
	case 'b':
		return int8(d.uint8())
	case 'B':
		return d.uint8()
	case 's':
		return int16(d.uint16())
	case 'u':
		return d.uint16()
	case 'I':
		return int32(d.uint32())
	case 'i':
		return d.uint32()
	case 'l', 'L':
		return int64(d.uint64())
	case 'f':
		return math.Float32frombits(d.uint32())
	case 'd':
		return math.Float64frombits(d.uint64())
	case 'D':
		scale := d.uint8()
		return Decimal{Scale: scale, Value: d.uint32()}
	case 'T':
		return Timestamp(d.uint64())
	case 'S':
		return string(d.long())
	case 'x':
		return append([]byte{}, d.long()...)
	case 'F':
		return d.table()
	case 'A':
		return d.array()
	case 'V':
		return nil
	}
	d.fail("unknown field type " + string(rune(letter)))
	return nil
}

func (d *tableReader) skipValue(letter byte) {
	switch {
	case widths[letter] > 0:
		d.take(int(widths[letter]) - 1)
	case letter == 'S' || letter == 'x':
		d.long()
	case letter == 'F':
		d.table()
	case letter == 'A':
		d.array()
	default:
		d.fail("unknown field type " + string(rune(letter)))
	}
}
