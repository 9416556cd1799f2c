package vfs

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestSetDirect: it is O_DIRECT, and taken back.
func TestSetDirect(t *testing.T) {
	f, err := OS{}.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, on := range []bool{true, false, true} {
		if err := f.SetDirect(on); errors.Is(err, errors.ErrUnsupported) {
			t.Skip("this file system has no direct I/O")
		} else if err != nil {
			t.Fatal(err)
		}
		flags := 0
		err := control(f.(osFile).File, "fcntl", func(fd int) (err error) {
			flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			return err
		})
		if err != nil || on != (flags&unix.O_DIRECT != 0) {
			t.Fatalf("flags %#o, %v; want direct I/O: %t", flags, err, on)
		}
	}
}
