package vfs

import (
	"errors"
	"io"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// What the broker stores is for its own user alone.
const (
	filePerm = 0o600
	dirPerm  = 0o700
)

// OS is the operating system's file system. Names are those of the process:
// relative ones begin at its working directory.
type OS struct{}

var _ FS = OS{}

// Create uses O_EXCL.
func (OS) Create(name string) (File, error) {
	return openOS(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open opens for reading and writing.
func (OS) Open(name string) (File, error) { return openOS(name, os.O_RDWR) }

// OpenRead opens for reading.
func (OS) OpenRead(name string) (File, error) { return openOS(name, os.O_RDONLY) }

func openOS(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, flag, filePerm)
	if err != nil {
		return nil, err // not f: a nil *os.File in a File is not nil
	}
	return osFile{f}, nil
}

// Remove removes a file or an empty directory.
func (OS) Remove(name string) error { return os.Remove(name) }

// Rename replaces a file that has the new name, atomically.
func (OS) Rename(from, to string) error { return os.Rename(from, to) }

// MkdirAll makes a directory, and those above it that are missing.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, dirPerm) }

// List lists files and directories.
func (OS) List(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

// Stat follows symbolic links.
func (OS) Stat(name string) (os.FileInfo, error) { return os.Stat(name) }

// SyncDir calls fsync of the directory.
func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Lock uses flock, which the kernel drops when the process ends, however it ends.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	err = control(f, "flock", func(fd int) error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
	if err == nil {
		return f, nil
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = &os.PathError{Op: "lock", Path: name, Err: ErrLocked}
	}
	return nil, errors.Join(err, f.Close())
}

// Free counts what the reserve of the superuser leaves.
func (OS) Free(dir string) (free, total uint64, err error) {
	var st unix.Statfs_t
	for {
		if err = unix.Statfs(dir, &st); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return 0, 0, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	block := uint64(st.Bsize)
	return st.Bavail * block, st.Blocks * block, nil
}

// osFile adds to os.File what it lacks of [File].
type osFile struct{ *os.File }

func (f osFile) SyncData() error { return control(f.File, "fdatasync", fdatasync) }

// Sync is that of [os.File], and makes sure that it told the truth, as SyncData does.
func (f osFile) Sync() error {
	if err := f.File.Sync(); err != nil {
		return err
	}
	return control(f.File, "write", alive)
}

func (f osFile) WriteOut(off, n int64) error {
	return control(f.File, "sync_file_range", func(fd int) error { return writeOut(fd, off, n) })
}

func (f osFile) Allocate(off, n int64) error {
	return control(f.File, "fallocate", func(fd int) error { return allocate(fd, off, n) })
}

func (f osFile) SetDirect(on bool) error {
	return control(f.File, "fcntl", func(fd int) error { return setDirect(fd, on) })
}

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// control calls fn with the file's descriptor, which stays open meanwhile, and
// repeats it when a signal interrupts it.
func control(f *os.File, op string, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = fn(int(fd)); !errors.Is(failed, unix.EINTR) {
				return
			}
		}
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return &os.PathError{Op: op, Path: f.Name(), Err: err}
	}
	return nil
}
