package vfs

import (
	"maps"
	"math/rand/v2"
)

// SyncPoint is the moment before or after a call that makes something durable.
type SyncPoint struct {
	Op   Op     // OpSync, OpSyncData or OpSyncDir
	Name string // of the file or directory
	Done bool   // the call was made, successfully or not
}

// OnSync has fn called before and after every sync, by the goroutine that
// syncs. fn may use the file system, and take clones of it.
func (m *Mem) OnSync(fn func(SyncPoint)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onSync = fn
}

// atSyncPoint calls sync with m locked, between the two calls of OnSync's function.
func (m *Mem) atSyncPoint(op Op, name string, sync func() error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	hook := func(done bool) {
		if fn := m.onSync; fn != nil {
			m.mu.Unlock()
			fn(SyncPoint{Op: op, Name: name, Done: done})
			m.mu.Lock()
		}
	}
	hook(false)
	defer hook(true)
	return sync()
}

// CrashClone returns what the disk might hold if the power failed now: all
// that is durable and, of the rest, what seed decides. Writes are lost, kept
// or torn by sector and in any order; sizes, truncations and names are lost or
// kept, a rename as a whole. Some seeds lose all, some lose nothing. The clone
// has no locks and no faults.
func (m *Mem) CrashClone(seed uint64) *Mem {
	c := m.Clone()
	c.cutPower(seed, rand.New(rand.NewPCG(seed, 0)))
	return c
}

// StrictClone is a CrashClone in which all is lost that is not durable.
func (m *Mem) StrictClone() *Mem {
	c := m.Clone()
	c.cutPower(0, nil)
	return c
}

// Clone returns what a process finds after it was killed while the machine
// kept running: everything, durable or not. The clone has no locks and no
// faults.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	copies := make(map[*inode]*inode)
	c := &Mem{
		root:     m.root.clone(copies),
		nextID:   m.nextID,
		locks:    make(map[*inode]bool),
		capacity: m.capacity,
	}
	for _, op := range m.dirOps {
		cop := make(dirOp, len(op))
		for i, e := range op {
			cop[i] = edit{dirEntry{e.dir.clone(copies), e.name}, e.node.clone(copies)}
		}
		c.dirOps = append(c.dirOps, cop)
	}
	c.recount()
	return c
}

// clone copies n and all below it, once: copies holds what was copied before.
func (n *inode) clone(copies map[*inode]*inode) *inode {
	if n == nil {
		return nil
	}
	if c := copies[n]; c != nil {
		return c
	}
	c := &inode{id: n.id}
	copies[n] = c
	if !n.isDir() {
		c.now, c.disk, c.pending = n.now.clone(), n.disk.clone(), append([]fileOp(nil), n.pending...)
		return c
	}
	c.names, c.diskNames = make(map[string]*inode), make(map[string]*inode)
	for name, child := range n.names {
		c.names[name] = child.clone(copies)
	}
	for name, child := range n.diskNames {
		c.diskNames[name] = child.clone(copies)
	}
	return c
}

// recount finds out which files have names, and what they use.
func (m *Mem) recount() {
	m.used = 0
	m.root.walk(func(n *inode) {
		n.linked = true
		m.used += n.now.allocated()
	})
}

// walk visits n and all below it as a process sees it.
func (n *inode) walk(visit func(*inode)) {
	visit(n)
	for _, child := range n.names {
		child.walk(visit)
	}
}

// cutPower makes of m what the disk holds afterwards. rng is nil when all is
// to be lost that can be.
func (m *Mem) cutPower(seed uint64, rng *rand.Rand) {
	var keep float64 // probability
	if rng != nil {
		// Stretched beyond both ends, so that losing all and nothing are common.
		keep = rng.Float64()*1.5 - 0.25
	}
	lost := make(map[dirEntry]bool) // what is built upon it is lost too
	for _, op := range m.dirOps {
		kept := rng != nil && rng.Float64() < keep
		for _, e := range op {
			kept = kept && !lost[e.dirEntry]
		}
		if kept {
			op.settle()
			continue
		}
		for _, e := range op {
			lost[e.dirEntry] = true
		}
	}
	m.dirOps = nil
	m.root.reboot(func(n *inode) {
		if len(n.pending) > 0 && rng != nil {
			// A source of its own: the order of this walk is random.
			n.settle(newFate(n, rand.New(rand.NewPCG(seed, n.id)), keep))
		}
		n.pending = nil
		n.now = n.disk.clone()
	})
	m.recount()
}

// reboot makes the durable names the visible ones, and calls file for each file below n.
func (n *inode) reboot(file func(*inode)) {
	if !n.isDir() {
		file(n)
		return
	}
	n.names = maps.Clone(n.diskNames)
	for _, child := range n.names {
		child.reboot(file)
	}
}

// settle makes the change durable.
func (op dirOp) settle() {
	for _, e := range op {
		if e.node == nil {
			delete(e.dir.diskNames, e.name)
		} else {
			e.dir.diskNames[e.name] = e.node
		}
	}
}

// fate decides which parts of the pending operations of a file reach the disk.
type fate interface {
	size(op int) bool                 // does the new size?
	sector(op int, sector int64) bool // does its write to this sector? Asked in order, once each
}

// settle brings to the disk what f lets through of the pending operations.
func (n *inode) settle(f fate) {
	size := n.disk.size
	for i, op := range n.pending {
		switch {
		case op.data != nil:
			n.settleWrite(i, f)
			if f.size(i) {
				size = max(size, op.off+int64(len(op.data)))
			}
		case f.size(i):
			size = op.off
			n.disk.cut(size)
		}
	}
	n.disk.cut(size)
}

func (n *inode) settleWrite(i int, f fate) {
	off, data := n.pending[i].off, n.pending[i].data
	if f == (keepAll{}) { // the short way, for every sync
		n.disk.put(data, off)
		return
	}
	for len(data) > 0 {
		part := data[:min(int64(len(data)), sectorSize-off%sectorSize)]
		if f.sector(i, off/sectorSize) {
			n.disk.put(part, off)
		}
		data, off = data[len(part):], off+int64(len(part))
	}
}

// keepAll is the fate of what is synced.
type keepAll struct{}

func (keepAll) size(int) bool          { return true }
func (keepAll) sector(int, int64) bool { return true }

// newFate draws how the operating system happened to write the file back.
func newFate(n *inode, rng *rand.Rand, keep float64) fate {
	ops := len(n.pending)
	sizes := ops // operations whose size is durable: metadata is journaled in order
	if rng.Float64() >= keep {
		sizes = rng.IntN(ops + 1)
	}
	if rng.IntN(2) == 0 {
		return &inOrder{rng: rng, sizes: sizes, torn: rng.IntN(ops + 1), keep: keep}
	}
	return newScattered(n, rng, sizes, keep)
}

// inOrder wrote back the operations one after the other: those before torn are
// on the disk as a whole, of torn a random set of sectors, nothing of the rest.
type inOrder struct {
	rng   *rand.Rand
	sizes int
	torn  int
	keep  float64
}

func (f *inOrder) size(op int) bool { return op < f.sizes }

func (f *inOrder) sector(op int, _ int64) bool {
	return op < f.torn || op == f.torn && f.rng.Float64() < f.keep
}

// scattered wrote back every sector at some time of its own: with all of the
// operations that touch it, or only the first few.
type scattered struct {
	sizes int
	left  map[int64]int // sector → writes that are still to reach the disk
}

func newScattered(n *inode, rng *rand.Rand, sizes int, keep float64) *scattered {
	f := &scattered{sizes: sizes, left: make(map[int64]int)}
	var order []int64
	for _, op := range n.pending {
		for s := op.off / sectorSize; s*sectorSize < op.off+int64(len(op.data)); s++ {
			if f.left[s]++; f.left[s] == 1 {
				order = append(order, s)
			}
		}
	}
	for _, s := range order {
		if rng.Float64() >= keep {
			f.left[s] = rng.IntN(f.left[s] + 1)
		}
	}
	return f
}

func (f *scattered) size(op int) bool { return op < f.sizes }

func (f *scattered) sector(_ int, s int64) bool {
	f.left[s]--
	return f.left[s] >= 0
}
