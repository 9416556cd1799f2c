package sim

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// node is one node of the cluster: a disk, and while it is up what runs on it.
type node struct {
	w       *World
	id      int
	replica uint64
	disk    *vfs.Mem
	life    int // increases when it starts and when it ends
	up      bool
	paused  bool
	harmed  bool          // its disk has lost something, or may have
	fresh   bool          // it was replaced since
	skew    time.Duration // of its clock
	stall   time.Time     // until then the disk does nothing
	walSize int64

	store  *storage.Store
	host   *replica.Host
	groups map[record.LogID]*hosted
	proc   *process          // with brokers: the one that runs on host
	ends   []*end            // of connections with other nodes
	calls  []*asked          // that were not answered
	poked  atomic.Bool       // a kick was posted
	heard  map[int]time.Time // of other nodes
	sees   map[int]bool      // other nodes as up

	turning bool   // a turn is on its way
	writing bool   // so is a step of the store
	dying   func() // ends it as soon as what it does returns
	syncs   int    // until the power fails in the middle of a sync; 0: it does not
	parked  []func()
	rotten  []rot
}

// rot is a byte that was changed.
type rot struct {
	file string
	off  int64
}

func newNode(w *World, id int, replica uint64) *node {
	n := &node{w: w, id: id, replica: replica, disk: vfs.NewMem(), walSize: 32 << 10 << w.rng.IntN(3)}
	w.replicas[replica] = n
	return n
}

// time is what passes for all; clock is what the node's clock shows.
func (n *node) time() time.Time  { return n.w.time() }
func (n *node) clock() time.Time { return n.w.now.Add(n.skew) }

// start opens the node's store and groups, as a process does.
func (n *node) start() {
	w := n.w
	n.life++
	if w.cfg.Bug == TruncateOnRot {
		n.truncateRot()
	}
	var fs vfs.FS = n.disk
	if w.cfg.Bug == AckBeforeSync {
		fs = lyingDisk{n.disk}
	}
	var err error
	n.store, err = storage.Open(fs, "data", storage.Options{
		WALFileSize: n.walSize, SegmentSize: 4 * n.walSize, Reserve: 1,
		Manual: true, Now: n.time, Checkpoint: n.checkpoint, Fatal: n.fatal, Logger: n.logger(),
	})
	if err != nil {
		w.trace("n%d cannot open its store: %v", n.id, err)
		if errors.Is(err, storage.ErrDamaged) || errors.Is(err, storage.ErrForeign) {
			n.mayBeDamaged(err)
		} else {
			n.crash("it could not start", n.disk.Clone())
			n.startAfter(time.Second) // as an operator would
		}
		return
	}
	n.up, n.dying, n.syncs = true, nil, 0
	n.groups, n.heard, n.sees = make(map[record.LogID]*hosted), make(map[int]time.Time), make(map[int]bool)
	for _, o := range w.nodes {
		n.heard[o.id], n.sees[o.id] = w.now, true
	}
	if w.cfg.Broker {
		n.store.Start()
		n.disk.OnSync(n.atSync)
		n.boot()
		n.tick()
		return
	}
	n.host = replica.NewHost(replica.Config{
		Store: n.store, ReplicaID: n.replica, Transport: link{n}, Manual: true, Go: n.spawn,
		Shards: 2, Now: n.time, Logger: n.logger(),
	})
	for _, g := range w.logs {
		if g.concerns(n.replica) {
			n.open(g)
		}
	}
	n.store.Start()
	n.disk.OnSync(n.atSync)
	w.trace("n%d is up as replica %d", n.id, n.replica)
	n.kick()
	n.tick()
}

// open begins a node's part in a group.
func (n *node) open(g *group) {
	h := &hosted{n: n, g: g}
	if g.queue {
		h.machine = newQueueHost(h)
	} else {
		h.machine = newPartition(h)
	}
	var err error
	if h.group, err = n.host.Open(g.id, g.initial, h); err != nil {
		n.w.trace("n%d cannot open %v: %v", n.id, g, err)
		n.mayBeDamaged(err)
		return
	}
	n.groups[g.id] = h
	h.group.Start()
	h.group.Reconfigure(g.desired)
}

// mayBeDamaged: only what was harmed may be.
func (n *node) mayBeDamaged(err error) {
	if !n.harmed {
		n.w.fail("n%d, to whose disk nothing was done: %v", n.id, err)
	}
}

// tick has the node look at the time.
func (n *node) tick() {
	life := n.life
	n.w.after(20*time.Millisecond+n.w.upTo(20*time.Millisecond), func() {
		if n.life == life {
			n.kick()
			n.tick()
		}
	})
}

// run runs something on the node, unless it is paused; afterwards it may be dead.
func (n *node) run(do func()) {
	if n.act(do) {
		n.kick()
		n.write()
	}
}

// act is run without what follows from it; false when it did not run, or died of it.
func (n *node) act(do func()) bool {
	switch {
	case !n.up:
		return false
	case n.paused:
		n.parked = append(n.parked, func() { n.run(do) })
		return false
	}
	do()
	if n.dying != nil {
		n.dying()
		return false
	}
	return true
}

// kick has the node do what is to be done, soon.
func (n *node) kick() {
	if n.turning || !n.up {
		return
	}
	n.turning = true
	life := n.life
	n.w.after(n.w.upTo(100*time.Microsecond), func() {
		if n.life != life {
			return
		}
		n.turning = false
		if n.act(n.step) {
			n.write()
		}
	})
}

// step has the host do what is to be done; without one the node is not admitted yet.
func (n *node) step() {
	if n.host != nil {
		n.host.Step(n.time())
	}
}

// write has the store make a step, when the disk has the time.
func (n *node) write() {
	if n.writing || !n.up {
		return
	}
	n.writing = true
	life := n.life
	d := 20*time.Microsecond + n.w.upTo(800*time.Microsecond)
	if n.stall.After(n.w.now) {
		d += n.stall.Sub(n.w.now)
	}
	n.w.after(d, func() {
		if n.life != life {
			return
		}
		n.writing = false
		worked := false
		if n.act(func() { worked = n.store.Step() }) && worked {
			n.kick()
			n.write()
		}
	})
}

// spawn runs a job of the host's, which may take a while.
func (n *node) spawn(job func()) {
	life := n.life
	n.w.after(n.w.upTo(10*time.Millisecond), func() {
		if n.life == life {
			n.run(job)
		}
	})
}

// checkpoint asks the host, which answers in a turn.
func (n *node) checkpoint(id record.LogID) (storage.Checkpoint, bool) {
	type answer struct {
		c  storage.Checkpoint
		ok bool
	}
	if n.host == nil {
		return storage.Checkpoint{}, false
	}
	for n.host.Step(n.time()) {
	}
	done := make(chan answer, 1)
	go func() {
		c, ok := n.host.Checkpoint(id)
		done <- answer{c, ok}
	}()
	for {
		select {
		case a := <-done:
			return a.c, a.ok
		default:
			n.host.Step(n.time())
			runtime.Gosched()
		}
	}
}

// fatal is what the store calls when the disk fails: the process ends.
func (n *node) fatal(err error) {
	n.w.trace("n%d: the disk failed: %v", n.id, err)
	n.dying = func() { n.crash("its disk failed", n.disk.Clone()) }
}

// atSync cuts the power in the middle of a sync, when it was told to.
func (n *node) atSync(vfs.SyncPoint) {
	if n.syncs == 0 || n.dying != nil {
		return
	}
	if n.syncs--; n.syncs > 0 {
		return
	}
	image := n.disk.CrashClone(n.w.rng.Uint64())
	n.dying = func() { n.crash("power cut in a sync", image) }
}

// crash ends the node; image is what its disk holds then.
func (n *node) crash(why string, image *vfs.Mem) {
	n.w.trace("n%d is down: %s", n.id, why)
	n.up, n.paused, n.dying, n.parked = false, false, nil, nil
	n.turning, n.writing, n.stall = false, false, time.Time{}
	n.life++
	n.disk = image
	n.store, n.host, n.groups = nil, nil, nil
	if n.w.cfg.Broker {
		n.die()
	}
}

func (n *node) powerCut() { n.crash("power cut", n.disk.CrashClone(n.w.rng.Uint64())) }
func (n *node) kill()     { n.crash("killed", n.disk.Clone()) }

// startAfter starts a node that is down.
func (n *node) startAfter(d time.Duration) {
	life := n.life
	n.w.after(d, func() {
		if n.life == life && !n.up {
			n.start()
		}
	})
}

// pause stops the process for a while.
func (n *node) pause(d time.Duration) {
	n.w.trace("n%d is paused for %v", n.id, d)
	n.paused = true
	life := n.life
	n.w.after(d, func() {
		if n.life == life {
			n.resume()
		}
	})
}

func (n *node) resume() {
	if !n.paused {
		return
	}
	n.w.trace("n%d goes on", n.id)
	n.paused = false
	parked := n.parked
	n.parked = nil
	for _, do := range parked {
		do()
	}
	n.kick()
	n.write()
}

// lacks reports whether a group is held offline here.
func (n *node) lacks() bool {
	if !n.up {
		return true
	}
	if n.w.cfg.Broker {
		return n.w.whole.lacks(n)
	}
	for _, g := range n.w.logs {
		if slices.Contains(g.desired, n.replica) && n.groups[g.id] == nil {
			return true
		}
	}
	return false
}

func (n *node) logger() *slog.Logger { return slog.New(&traceHandler{n: n}) }

func (n *node) String() string { return fmt.Sprintf("n%d", n.id) }
