package record

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// propertyWalk steps over the properties that are set. After next, flag names
// the property and value holds its bytes, a text or a table with its length.
type propertyWalk struct {
	left  uint16 // flags of the properties that are still to come
	rest  []byte
	flag  uint16
	value []byte
	cut   bool
}

func walkProperties(b []byte) (propertyWalk, error) {
	if len(b) < 2 {
		return propertyWalk{}, fmt.Errorf("%w: %d bytes", ErrProperties, len(b))
	}
	w := propertyWalk{left: binary.BigEndian.Uint16(b), rest: b[2:]}
	if w.left&flagsUnknown != 0 {
		return propertyWalk{}, fmt.Errorf("%w: unknown flags %#x", ErrProperties, w.left&flagsUnknown)
	}
	return w, nil
}

// next moves to the next property that is set; false at the end, and at one
// that is cut off.
func (w *propertyWalk) next() bool {
	if w.left == 0 || w.cut {
		return false
	}
	w.flag = 1 << (15 - bits.LeadingZeros16(w.left))
	w.left &^= w.flag
	n := w.width()
	if n > uint64(len(w.rest)) {
		w.cut = true
		return false
	}
	w.value, w.rest = w.rest[:n:n], w.rest[n:]
	return true
}

// width returns the size of the property of w.flag at the start of w.rest, one
// beyond the end when not even that can be read.
func (w *propertyWalk) width() uint64 {
	switch w.flag {
	case flagHeaders:
		if len(w.rest) >= 4 {
			return 4 + uint64(binary.BigEndian.Uint32(w.rest))
		}
	case flagDeliveryMode, flagPriority:
		return 1
	case flagTimestamp:
		return 8
	default:
		if len(w.rest) >= 1 {
			return 1 + uint64(w.rest[0])
		}
	}
	return uint64(len(w.rest)) + 1
}

// end reports what was wrong when the walk is over.
func (w *propertyWalk) end() error {
	switch {
	case w.cut:
		return fmt.Errorf("%w: cut off", ErrProperties)
	case w.left == 0 && len(w.rest) > 0:
		return fmt.Errorf("%w: %d bytes too many", ErrProperties, len(w.rest))
	}
	return nil
}
