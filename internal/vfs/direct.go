package vfs

import (
	"fmt"
	"unsafe"
)

// DirectUnit is what the offsets and lengths of direct I/O are multiples of, and where its memory begins: the
// sector of a disk. See [File.SetDirect].
const DirectUnit = sectorSize

// Aligned returns n bytes of memory, zeros, for direct I/O.
func Aligned(n int) []byte {
	b := make([]byte, n+pageSize)
	skip := -address(b) & (pageSize - 1)
	return b[skip : skip+n : skip+n]
}

// IsAligned reports whether b begins where direct I/O can.
func IsAligned(b []byte) bool { return address(b)%DirectUnit == 0 }

func address(b []byte) int { return int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// mustAlign panics where a disk might refuse a write, so that tests find it on any.
func mustAlign(b []byte, off int64) {
	if !IsAligned(b) || len(b)%DirectUnit != 0 || off%DirectUnit != 0 {
		panic(fmt.Sprintf("vfs: direct I/O of %d bytes at %#x, at offset %d of a file", len(b), address(b), off))
	}
}
