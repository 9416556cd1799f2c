//go:build unix && !linux

package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

// fdatasync is a full fsync where the system offers nothing cheaper.
func fdatasync(fd int) error { return unix.Fsync(fd) }

// alive has nothing to ask.
func alive(int) error { return nil }

// writeOut leaves all to the sync where the system offers nothing in between.
func writeOut(int, int64, int64) error { return nil }

// allocate leaves it to the caller to write zeros.
func allocate(int, int64, int64) error { return errors.ErrUnsupported }

// setDirect leaves all to the page cache.
func setDirect(_ int, on bool) error {
	if on {
		return errors.ErrUnsupported
	}
	return nil
}
