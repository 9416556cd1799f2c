//go:build waybill_broken_direct

package storage

import (
	"os"
	"strings"
	"syscall"
	"unsafe"
)

// judged is the WAL file that was written last, and whether all of it was written before. It is the WAL goroutine's.
var judged struct {
	id    uint64
	whole bool
}

// syncBatch breaks the promise on purpose, where the data is written past the page cache and the file system has nothing to
// note in its journal: as if all were durable then that the disk has got. It may be in the disk's own cache, and the power-cut test
// must find that out. A file of which a part was only allocated is synced: that its blocks are written stands in the
// journal, and a file system that is shut down loses it, so that this would be found more easily.
func syncBatch(f *walFile) error {
	if judged.id != f.id {
		judged.id, judged.whole = f.id, isWhole(strings.TrimSuffix(f.file.Name(), newSuffix))
	}
	if f.direct && judged.whole {
		return nil
	}
	return f.file.SyncData()
}

// isWhole reports whether a file of Linux has no part that was only allocated.
func isWhole(name string) bool {
	const (
		fsIocFiemap     = 0xc020660b
		extentUnwritten = 0x800
	)
	var m struct { // struct fiemap
		start, length                   uint64
		flags, mapped, extents, padding uint32
		extent                          [256]struct {
			logical, physical, length uint64
			_                         [2]uint64
			flags                     uint32
			_                         [3]uint32
		}
	}
	m.length, m.extents = 1<<63, uint32(len(m.extent))
	f, err := os.Open(name)
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // nothing is written
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), fsIocFiemap, uintptr(unsafe.Pointer(&m))); errno != 0 || m.mapped == m.extents {
		return false
	}
	for _, e := range m.extent[:m.mapped] {
		if e.flags&extentUnwritten != 0 {
			return false
		}
	}
	return true
}
