package vfs

import (
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
)

// Op is a kind of call that can fail.
type Op uint8

// The calls of [FS] and [File] by the same names; OpOpen is Open and OpenRead.
const (
	OpCreate Op = iota
	OpOpen
	OpRead
	OpWrite
	OpTruncate
	OpSync
	OpSyncData
	OpSyncDir
	OpRemove
	OpRename
	OpMkdir
	OpList
)

var opNames = [...]string{"create", "open", "read", "write", "truncate", "sync", "syncdata", "syncdir",
	"remove", "rename", "mkdir", "list"}

func (o Op) String() string { return opNames[o] }

// Fault lets calls fail.
//
// A failed write leaves a part of its sectors written. A failed sync loses for
// good what it should have made durable: it stays visible until the power is cut, and
// a later sync succeeds without it.
type Fault struct {
	Op    Op
	Name  string // only on names that contain it; "": on all
	After int    // so many calls still succeed
	Times int    // then so many fail; 0: all
	Err   error  // such as syscall.EIO or syscall.ENOSPC

	seen int
}

// Inject adds a fault.
func (m *Mem) Inject(f Fault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, &f)
}

// Heal removes all faults.
func (m *Mem) Heal() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = nil
}

// fault counts a call, and returns how it must fail, or nil.
func (m *Mem) fault(op Op, name string) (err error) {
	for _, f := range m.faults {
		if f.Op != op || !strings.Contains(name, f.Name) {
			continue
		}
		f.seen++
		if f.seen > f.After && (f.Times == 0 || f.seen <= f.After+f.Times) {
			err = &os.PathError{Op: op.String(), Path: name, Err: f.Err}
		}
	}
	return err
}

// Flip inverts the bits of mask in the byte at off of a file, on the disk and
// in what reads see.
func (m *Mem) Flip(name string, off int64, mask byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("flip", name)
	if err != nil {
		return err
	}
	if n.isDir() || off < 0 || off >= n.now.size {
		return &os.PathError{Op: "flip", Path: name, Err: syscall.EINVAL}
	}
	before := n.now.allocated()
	defer func() { m.used += n.now.allocated() - before }() // it may have been a hole
	for _, b := range []*blob{&n.now, &n.disk} {
		if off < b.size {
			var c [1]byte
			b.readAt(c[:], off)
			c[0] ^= mask
			b.put(c[:], off)
		}
	}
	return nil
}

// Rot flips count random bits of a file that is not empty.
func (m *Mem) Rot(name string, seed uint64, count int) error {
	fi, err := m.Stat(name)
	if err != nil {
		return err
	}
	if fi.Size() == 0 {
		return &os.PathError{Op: "rot", Path: name, Err: syscall.EINVAL}
	}
	rng := rand.New(rand.NewPCG(seed, 1))
	for range count {
		if err := m.Flip(name, rng.Int64N(fi.Size()), 1<<rng.IntN(8)); err != nil {
			return err
		}
	}
	return nil
}

// SetCapacity limits the space for contents to so many bytes, counted in pages
// of 4 KiB. A write that needs more fails with ENOSPC, having written what
// fits; one over space that the file has already needs none. Space comes back
// with a larger capacity, or when files are truncated or removed.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes / pageSize
}

// Free tells what is left of the capacity.
func (m *Mem) Free(dir string) (free, total uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookup("statfs", dir); err != nil {
		return 0, 0, err
	}
	return uint64(max(0, m.capacity-m.used)) * pageSize, uint64(m.capacity) * pageSize, nil
}
