package vfs

import (
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
)

// Mem is a file system in memory that can lose power. It knows of every file
// what a sync made durable and what was only written, and of every directory
// which changes of names a sync made durable, so that [Mem.CrashClone] can
// tell what a disk might hold after a power cut. [Mem.Inject], [Mem.Rot] and
// [Mem.SetCapacity] make it fail as disks do. The same calls and the same seed give the
// same result.
//
// It is stricter than most real file systems: syncing a file does not make its
// name durable, the order in which names become durable is arbitrary, and the
// size of a file may become durable before the contents do.
//
// Names are slash-separated and begin at the root, with or without a slash.
type Mem struct {
	mu     sync.Mutex // protects all below, and the inodes
	root   *inode
	nextID uint64
	dirOps []dirOp // changes of names that are not durable, oldest first
	locks  map[*inode]bool

	capacity int64 // pages
	used     int64 // pages
	faults   []*Fault
	onSync   func(SyncPoint)
}

var _ FS = (*Mem)(nil)

// inode is a file or a directory. What a process sees and what the disk holds
// are kept side by side.
type inode struct {
	id uint64 // seeds what becomes of the file in a power cut

	// Of a file:
	now     blob     // what reads see
	disk    blob     // what is durable
	pending []fileOp // what leads from disk to now, oldest first
	linked  bool     // has a name
	opens   int      // open handles

	// Of a directory, nil in a file:
	names     map[string]*inode
	diskNames map[string]*inode
}

// fileOp is a write of data at off or, when data is nil, a truncation to off.
type fileOp struct {
	off  int64
	data []byte
}

// dirOp is a change of names that becomes durable as a whole: one edit, or
// the two of a rename.
type dirOp []edit

// edit gives a name to node, or takes it away when node is nil.
type edit struct {
	dirEntry
	node *inode
}

type dirEntry struct {
	dir  *inode
	name string
}

// NewMem returns an empty file system of one terabyte.
func NewMem() *Mem {
	m := &Mem{locks: make(map[*inode]bool), capacity: 1 << 40 / pageSize}
	m.root = m.newDir()
	return m
}

func (m *Mem) newFile() *inode {
	m.nextID++
	return &inode{id: m.nextID, now: blob{owner: new(owner)}, disk: blob{owner: new(owner)}}
}

func (m *Mem) newDir() *inode {
	m.nextID++
	return &inode{id: m.nextID, names: map[string]*inode{}, diskNames: map[string]*inode{}}
}

func (n *inode) isDir() bool { return n.names != nil }

// change applies a change of names, which a SyncDir must make durable.
func (m *Mem) change(op ...edit) {
	var gone []*inode
	for _, e := range op {
		if old := e.dir.names[e.name]; old != nil {
			old.linked = false
			gone = append(gone, old)
		}
		if e.node == nil {
			delete(e.dir.names, e.name)
		} else {
			e.dir.names[e.name] = e.node
			e.node.linked = true
		}
	}
	for _, n := range gone {
		m.release(n)
	}
	m.dirOps = append(m.dirOps, op)
}

// release frees the space of a file that nobody can reach any more.
func (m *Mem) release(n *inode) {
	if !n.linked && n.opens == 0 && !n.isDir() {
		m.used -= n.now.allocated()
	}
}

// clean returns the parts of a name; none for the root.
func clean(name string) []string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

// lookup finds what name names.
func (m *Mem) lookup(op, name string) (*inode, error) {
	n := m.root
	for _, part := range clean(name) {
		if !n.isDir() {
			return nil, &os.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
		}
		if n = n.names[part]; n == nil {
			return nil, &os.PathError{Op: op, Path: name, Err: syscall.ENOENT}
		}
	}
	return n, nil
}

// entry finds the directory that holds name, or would hold it.
func (m *Mem) entry(op, name string) (dirEntry, error) {
	parts := clean(name)
	if len(parts) == 0 {
		return dirEntry{}, &os.PathError{Op: op, Path: name, Err: syscall.EINVAL}
	}
	last := len(parts) - 1
	dir, err := m.dir(op, strings.Join(parts[:last], "/"))
	return dirEntry{dir, parts[last]}, err
}

func (m *Mem) dir(op, name string) (*inode, error) {
	n, err := m.lookup(op, name)
	if err == nil && !n.isDir() {
		return nil, &os.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return n, err
}

// Create makes a file whose name a SyncDir must make durable.
func (m *Mem) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault(OpCreate, name); err != nil {
		return nil, err
	}
	at, err := m.entry("open", name)
	if err != nil {
		return nil, err
	}
	if at.dir.names[at.name] != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EEXIST}
	}
	n := m.newFile()
	m.change(edit{at, n})
	return m.handle(n, name, true), nil
}

// Open opens for reading and writing.
func (m *Mem) Open(name string) (File, error) { return m.open(name, true) }

// OpenRead opens for reading.
func (m *Mem) OpenRead(name string) (File, error) { return m.open(name, false) }

func (m *Mem) open(name string, writable bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault(OpOpen, name); err != nil {
		return nil, err
	}
	n, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if n.isDir() {
		return nil, &os.PathError{Op: "open", Path: name, Err: syscall.EISDIR}
	}
	return m.handle(n, name, writable), nil
}

// Remove removes a file or an empty directory; open files keep their contents.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault(OpRemove, name); err != nil {
		return err
	}
	at, err := m.entry("remove", name)
	if err != nil {
		return err
	}
	n := at.dir.names[at.name]
	switch {
	case n == nil:
		return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOENT}
	case len(n.names) > 0:
		return &os.PathError{Op: "remove", Path: name, Err: syscall.ENOTEMPTY}
	}
	m.change(edit{at, nil})
	return nil
}

// Rename replaces a file that has the new name, atomically.
func (m *Mem) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault(OpRename, from); err != nil {
		return err
	}
	old, err := m.entry("rename", from)
	if err != nil {
		return err
	}
	at, err := m.entry("rename", to)
	if err != nil {
		return err
	}
	n, target := old.dir.names[old.name], at.dir.names[at.name]
	fail := func(e syscall.Errno) error { return &os.LinkError{Op: "rename", Old: from, New: to, Err: e} }
	switch {
	case n == nil:
		return fail(syscall.ENOENT)
	case n == target:
		return nil
	case n.isDir() && n.holds(at.dir):
		return fail(syscall.EINVAL)
	case target != nil && target.isDir():
		return fail(syscall.EEXIST)
	case target != nil && n.isDir():
		return fail(syscall.ENOTDIR)
	}
	m.change(edit{old, nil}, edit{at, n})
	return nil
}

// holds reports whether other is n, or lies below it.
func (n *inode) holds(other *inode) bool {
	if n == other {
		return true
	}
	for _, child := range n.names {
		if child.holds(other) {
			return true
		}
	}
	return false
}

// MkdirAll makes a directory, and those above it that are missing.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault(OpMkdir, dir); err != nil {
		return err
	}
	n := m.root
	for _, part := range clean(dir) {
		child := n.names[part]
		if child == nil {
			child = m.newDir()
			m.change(edit{dirEntry{n, part}, child})
		}
		if !child.isDir() {
			return &os.PathError{Op: "mkdir", Path: dir, Err: syscall.ENOTDIR}
		}
		n = child
	}
	return nil
}

// List lists files and directories.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.fault(OpList, dir); err != nil {
		return nil, err
	}
	n, err := m.dir("open", dir)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(n.names))
	for name := range n.names {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

// Stat tells the name and size; there are no times.
func (m *Mem) Stat(name string) (os.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup("stat", name)
	if err != nil {
		return nil, err
	}
	return memInfo{name: path.Base(path.Clean("/" + name)), size: n.now.size, dir: n.isDir()}, nil
}

// Lock is free in every clone, as the process that held it is gone.
func (m *Mem) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	at, err := m.entry("open", name)
	if err != nil {
		return nil, err
	}
	n := at.dir.names[at.name]
	switch {
	case n == nil:
		n = m.newFile()
		m.change(edit{at, n})
	case n.isDir():
		return nil, &os.PathError{Op: "lock", Path: name, Err: syscall.EISDIR}
	case m.locks[n]:
		return nil, &os.PathError{Op: "lock", Path: name, Err: ErrLocked}
	}
	m.locks[n] = true
	return &memLock{m: m, n: n}, nil
}

type memLock struct {
	m *Mem
	n *inode // nil when closed
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	if l.n == nil {
		return os.ErrClosed
	}
	delete(l.m.locks, l.n)
	l.n = nil
	return nil
}
