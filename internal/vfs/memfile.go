package vfs

import (
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
	"time"
)

// memFile is an open file of a [Mem], whose lock protects it.
type memFile struct {
	m        *Mem
	n        *inode
	name     string
	writable bool
	closed   bool
	direct   bool
}

// handle opens n; m is locked.
func (m *Mem) handle(n *inode, name string, writable bool) *memFile {
	n.opens++
	return &memFile{m: m, n: n, name: name, writable: writable}
}

func (f *memFile) Name() string { return f.name }

func (f *memFile) fail(op string, err error) error {
	return &os.PathError{Op: op, Path: f.name, Err: err}
}

// check tells whether op can be done at all.
func (f *memFile) check(op string, off int64, write bool) error {
	switch {
	case f.closed:
		return f.fail(op, os.ErrClosed)
	case write && !f.writable:
		return f.fail(op, syscall.EBADF)
	case off < 0:
		return f.fail(op, syscall.EINVAL)
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("read", off, false); err != nil {
		return 0, err
	}
	if f.direct {
		panic("vfs: " + f.name + " is read while it is written past the page cache")
	}
	if err := f.m.fault(OpRead, f.name); err != nil {
		return 0, err
	}
	n := f.n.now.readAt(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt writes as much as there is space for. An injected fault leaves half
// of the sectors written, as a failed write may do.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("write", off, true); err != nil {
		return 0, err
	}
	if f.direct {
		mustAlign(p, off)
	}
	err := f.m.fault(OpWrite, f.name)
	if err != nil {
		p = p[:len(p)/2/sectorSize*sectorSize]
	}
	n := f.m.allocate(f.n, off, len(p))
	if n > 0 {
		f.n.now.put(p[:n], off)
		f.n.now.size = max(f.n.now.size, off+int64(n))
		f.n.pending = append(f.n.pending, fileOp{off, append([]byte(nil), p[:n]...)})
	}
	if err == nil && n < len(p) {
		err = f.fail("write", syscall.ENOSPC)
	}
	return n, err
}

// allocate takes space for a write of n bytes at off and returns how many of
// them fit.
func (m *Mem) allocate(file *inode, off int64, n int) int {
	for i := off / pageSize; i*pageSize < off+int64(n); i++ {
		if file.now.page(i) != nil {
			continue
		}
		if m.used >= m.capacity {
			return int(max(0, i*pageSize-off))
		}
		m.used++
		file.now.own(i)
	}
	return n
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("truncate", size, true); err != nil {
		return err
	}
	if err := f.m.fault(OpTruncate, f.name); err != nil {
		return err
	}
	before := f.n.now.allocated()
	f.n.now.cut(size)
	f.m.used -= before - f.n.now.allocated()
	f.n.pending = append(f.n.pending, fileOp{off: size})
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.check("stat", 0, false); err != nil {
		return 0, err
	}
	return f.n.now.size, nil
}

func (f *memFile) Close() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if f.closed {
		return f.fail("close", os.ErrClosed)
	}
	f.closed = true
	f.n.opens--
	f.m.release(f.n)
	return nil
}

func (f *memFile) Sync() error { return f.sync(OpSync) }

func (f *memFile) SyncData() error { return f.sync(OpSyncData) }

// WriteOut has nothing to do: what is not durable may be lost, wherever it is.
func (f *memFile) WriteOut(int64, int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return f.check("write out", 0, false)
}

// SetDirect changes nothing but what WriteAt demands: what is not synced may be lost, however it was written.
func (f *memFile) SetDirect(on bool) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	f.direct = on
	return f.check("set direct", 0, false)
}

// Allocate is a write of zeros.
func (f *memFile) Allocate(off, n int64) error {
	_, err := f.WriteAt(make([]byte, n), off)
	return err
}

func (f *memFile) sync(op Op) error {
	return f.m.atSyncPoint(op, f.name, func() error {
		if err := f.check("sync", 0, false); err != nil {
			return err
		}
		err := f.m.fault(op, f.name)
		if err == nil {
			f.n.settle(keepAll{})
		}
		// After a failed sync the system takes the pages for clean: later
		// reads see them, but no later sync writes them.
		f.n.pending = nil
		return err
	})
}

// SyncDir makes durable what names in dir were given, taken or changed.
func (m *Mem) SyncDir(dir string) error {
	return m.atSyncPoint(OpSyncDir, dir, func() error {
		n, err := m.dir("sync", dir)
		if err != nil {
			return err
		}
		if err := m.fault(OpSyncDir, dir); err != nil {
			m.takeDirOps(n) // as in sync
			return err
		}
		for _, op := range m.takeDirOps(n) {
			op.settle()
		}
		return nil
	})
}

// takeDirOps takes away the pending changes of names in dir, and those that
// must become durable before them.
func (m *Mem) takeDirOps(dir *inode) (taken []dirOp) {
	var left []dirOp
	needed := make(map[dirEntry]bool)
	for i := len(m.dirOps) - 1; i >= 0; i-- {
		op, take := m.dirOps[i], false
		for _, e := range op {
			take = take || e.dir == dir || needed[e.dirEntry]
		}
		if !take {
			left = append(left, op)
			continue
		}
		for _, e := range op {
			needed[e.dirEntry] = true
		}
		taken = append(taken, op)
	}
	slices.Reverse(left)
	slices.Reverse(taken)
	m.dirOps = left
	return taken
}

// memInfo is what Stat tells; a [Mem] keeps no times.
type memInfo struct {
	name string
	size int64
	dir  bool
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | dirPerm
	}
	return filePerm
}
