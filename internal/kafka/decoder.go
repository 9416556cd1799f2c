package kafka

import "encoding/binary"

// decoder reads Kafka's primitive types. What it returns aliases b. After
// the first thing that does not fit, bad is set and everything reads as zero.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() { d.b, d.bad = nil, true }

// take returns the next n bytes.
func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail()
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) int16() int16 {
	if p := d.take(2); p != nil {
		return int16(binary.BigEndian.Uint16(p))
	}
	return 0
}

func (d *decoder) int32() int32 {
	if p := d.take(4); p != nil {
		return int32(binary.BigEndian.Uint32(p))
	}
	return 0
}

// uvarint reads an unsigned varint of at most 32 bits.
func (d *decoder) uvarint() uint32 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > 1<<32-1 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return uint32(v)
}

// length reads a length: -1 for null, and for whatever is not a length.
func (d *decoder) length(flexible, short bool) int {
	switch {
	case flexible:
		return int(d.uvarint()) - 1
	case short:
		return int(d.int16())
	}
	return int(d.int32())
}

// span reads as many bytes as the length n says; ok is false for null.
func (d *decoder) span(n int) (p []byte, ok bool) {
	if n == -1 || d.bad {
		return nil, false
	}
	p = d.take(n)
	return p, !d.bad
}

func (d *decoder) nullableString(flexible bool) (string, bool) {
	p, ok := d.span(d.length(flexible, true))
	return string(p), ok
}

func (d *decoder) string(flexible bool) string {
	s, ok := d.nullableString(flexible)
	if !ok {
		d.fail()
	}
	return s
}

func (d *decoder) nullableBytes(flexible bool) ([]byte, bool) {
	return d.span(d.length(flexible, false))
}

// array reads the length of an array whose elements take at least one byte
// each; a null array has none.
func (d *decoder) array(flexible bool) int {
	n := d.length(flexible, false)
	if n < -1 || n > len(d.b) || n > maxElements {
		d.fail()
		return 0
	}
	return max(n, 0)
}

// skipTags reads over the tagged fields at the end of a structure.
func (d *decoder) skipTags() {
	n := d.uvarint()
	if n > maxTags {
		d.fail()
	}
	for ; n > 0 && !d.bad; n-- {
		d.uvarint()
		d.take(int(d.uvarint()))
	}
}
