package vfs

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// direct is a second descriptor of a file, for direct I/O, opened when it is needed first. Where the file system, or
// the disk with its sectors, cannot do that, all goes through the page cache.
type direct struct {
	mu    sync.Mutex
	file  *os.File // nil: not opened
	tried bool     // to open it
	off   bool     // it cannot be used
}

// of returns the descriptor for the file f, or nil.
func (d *direct) of(f *os.File) *os.File {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.tried {
		d.tried = true
		d.off = control(f, "open", func(fd int) (err error) {
			d.file, err = openDirect(fd, f.Name())
			return err
		}) != nil
	}
	if d.off {
		return nil
	}
	return d.file
}

func (d *direct) giveUp() {
	d.mu.Lock()
	d.off = true
	d.mu.Unlock()
}

// close is called when the file is closed: nothing is opened any more.
func (d *direct) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried, d.off = true, true
	if d.file == nil {
		return nil
	}
	return d.file.Close()
}

// WriteDirect implements [File].
func (f osFile) WriteDirect(b []byte, off int64) (int, error) {
	mustAlign(b, off)
	if d := f.direct.of(f.File); d != nil {
		n, err := d.WriteAt(b, off)
		if !errors.Is(err, unix.EINVAL) {
			return n, err
		}
		f.direct.giveUp()
	}
	return f.WriteAt(b, off)
}

// Close closes both descriptors.
func (f osFile) Close() error { return errors.Join(f.File.Close(), f.direct.close()) }
