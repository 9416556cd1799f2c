package vfs

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestWithoutDirect: where the second descriptor cannot be had, or does not take what it is given, all is written
// through the page cache, from then on.
func TestWithoutDirect(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, d *direct){
		"none":    func(_ *testing.T, d *direct) { d.tried, d.off = true, true },
		"refuses": func(t *testing.T, d *direct) { d.tried, d.file = true, refusing(t) },
	} {
		t.Run(name, func(t *testing.T) {
			f, err := OS{}.Create(filepath.Join(t.TempDir(), "file"))
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, f.(osFile).direct)
			b := Aligned(DirectUnit)
			copy(b, name)
			for off := range int64(2) {
				if n, err := f.WriteDirect(b, off*DirectUnit); n != len(b) || err != nil {
					t.Fatal(n, err)
				}
			}
			got := make([]byte, 2*DirectUnit)
			if _, err := f.ReadAt(got, 0); err != nil || string(got) != string(b)+string(b) {
				t.Fatalf("%q, %v", got, err)
			}
			if d := f.(osFile).direct; !d.off {
				t.Error("it is tried again")
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// refusing is a descriptor of a file that takes nothing but numbers: EINVAL, as of a disk with larger sectors.
func refusing(t *testing.T) *os.File {
	f, err := os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(Aligned(DirectUnit), 0); !errors.Is(err, unix.EINVAL) {
		t.Fatal(err)
	}
	return f
}

// TestDirect: the second descriptor is one for direct I/O, also when the file has another name by now, and no other file's.
func TestDirect(t *testing.T) {
	dir := t.TempDir()
	f, err := OS{}.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := (OS{}).Rename(filepath.Join(dir, "file"), filepath.Join(dir, "other")); err != nil {
		t.Fatal(err)
	}
	b := Aligned(DirectUnit)
	if _, err := f.WriteDirect(b, 0); err != nil {
		t.Fatal(err)
	}
	d := f.(osFile).direct.of(f.(osFile).File)
	if d == nil {
		t.Skip("this file system has no direct I/O")
	}
	flags, err := unix.FcntlInt(d.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_DIRECT == 0 {
		t.Fatalf("flags %#o, %v", flags, err)
	}
	if size, err := f.Size(); size != DirectUnit || err != nil {
		t.Fatal(size, err)
	}
}
