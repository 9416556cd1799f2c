package vfs

import (
	"fmt"
	"unsafe"
)

// Direct I/O moves bytes from memory to the disk without a copy of them in the system's page cache: see
// [File.WriteDirect].
const (
	// DirectUnit is what the offsets and lengths of direct I/O are multiples of: the sector of a disk.
	DirectUnit = sectorSize
	memoryUnit = pageSize // where memory for it begins
)

// Aligned returns n bytes of memory, zeros, for direct I/O.
func Aligned(n int) []byte {
	b := make([]byte, n+memoryUnit)
	skip := -address(b) & (memoryUnit - 1)
	return b[skip : skip+n : skip+n]
}

// IsAligned reports whether direct I/O can use b, which is not empty.
func IsAligned(b []byte) bool {
	return address(b)&(DirectUnit-1) == 0 && len(b)%DirectUnit == 0
}

func address(b []byte) int { return int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) }

// mustAlign panics where direct I/O was asked for what it cannot do.
func mustAlign(b []byte, off int64) {
	if !IsAligned(b) || off%DirectUnit != 0 {
		panic(fmt.Sprintf("vfs: direct I/O of %d bytes at %#x, at offset %d of a file", len(b), address(b), off))
	}
}
