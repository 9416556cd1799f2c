package vfs

import (
	"errors"

	"golang.org/x/sys/unix"
)

func fdatasync(fd int) error {
	if err := unix.Fdatasync(fd); err != nil {
		return err
	}
	return alive(fd)
}

// alive tells, by a write of nothing, that the file system still takes writes. One that shuts itself down after
// an error of its journal, or is told to, does not note any more that blocks which were only allocated have been written; a sync that
// is under way then may succeed (seen with ext4 of Linux 6.18), and the next mount reads zeros.
func alive(fd int) error {
	_, err := unix.Pwrite(fd, nil, 0)
	return err
}

// writeOut leaves all to the sync where a sandbox does not know the call, or forbids it.
func writeOut(fd int, off, n int64) error {
	err := unix.SyncFileRange(fd, off, n, unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return nil
	}
	return err
}

func allocate(fd int, off, n int64) error {
	err := unix.Fallocate(fd, 0, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		return errors.ErrUnsupported
	}
	return err
}

// setDirect is refused by some file systems here, by others when something is written.
func setDirect(fd int, on bool) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	flags &^= unix.O_DIRECT
	if on {
		flags |= unix.O_DIRECT
	}
	_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFL, flags)
	if errors.Is(err, unix.EINVAL) {
		return errors.ErrUnsupported
	}
	return err
}
