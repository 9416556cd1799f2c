package sim

import (
	"fmt"
	"slices"
	"syscall"
	"time"

	"waybill/internal/vfs"
)

// faults has what was done to the cluster.
type faults struct {
	count map[string]int
}

// fault does one thing to the cluster; a quarter of the time nothing.
func (w *World) fault() {
	if w.cfg.Broker { // where a run is not replayed to the letter, the faults are at least
		w.rng, w.dice = w.dice, w.rng
		defer func() { w.rng, w.dice = w.dice, w.rng }()
	}
	if w.calm || w.chance(4) {
		return
	}
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	all := []struct {
		name string
		do   func(*node) bool
	}{
		{"power cut", w.cutOne}, {"power cut", w.cutOne}, {"power cut in a sync", w.cutInSync},
		{"power cut of all", w.cutAll}, {"kill", w.killOne},
		{"pause", w.pauseOne}, {"pause", w.pauseOne},
		{"partition", w.isolate}, {"partition", w.isolate}, {"one-way partition", w.oneWay}, {"split", w.split},
		{"bad network", w.badNetwork}, {"heal the network", w.healNetwork},
		{"disk stall", w.stallDisk}, {"failed sync", w.failSync}, {"full disk", w.fillDisk},
		{"clock jump", w.jumpClock}, {"transfer", w.transfer}, {"transfer", w.transfer},
		{"rot", w.rot}, {"harm the second", w.harmTheSecond}, {"harm the second", w.harmTheSecond}, {"wipe", w.wipe}, {"move a replica", w.move},
	}
	f := all[w.rng.IntN(len(all))]
	if w.cfg.Broker && !w.whole.can(f.name) {
		return
	}
	if f.do(n) {
		w.faults.count[f.name]++
	}
}

func (w *World) cutOne(n *node) bool {
	if !n.up {
		return false
	}
	n.powerCut()
	n.startAfter(w.upTo(4 * time.Second))
	return true
}

func (w *World) cutInSync(n *node) bool {
	if !n.up || n.syncs > 0 {
		return false
	}
	n.syncs = 1 + w.rng.IntN(20)
	return true
}

func (w *World) cutAll(*node) bool {
	for _, n := range w.nodes {
		if n.up {
			n.powerCut()
			n.startAfter(w.upTo(time.Second))
		}
	}
	return true
}

func (w *World) killOne(n *node) bool {
	if !n.up {
		return false
	}
	n.kill()
	n.startAfter(w.upTo(2 * time.Second))
	return true
}

func (w *World) pauseOne(n *node) bool {
	if !n.up || n.paused {
		return false
	}
	n.pause(w.upTo(6 * time.Second))
	return true
}

func (w *World) sever(a, b *node) { w.net.cut[[2]int{a.id, b.id}] = true }

// isolate cuts a node off; often a leader.
func (w *World) isolate(n *node) bool {
	for _, o := range w.nodes {
		for _, h := range o.groups {
			if h.leads && w.chance(3) && o.id > n.id {
				n = o
			}
		}
	}
	w.cutOff(n)
	w.healLater()
	return true
}

func (w *World) cutOff(n *node) {
	w.trace("n%d is cut off", n.id)
	for _, o := range w.nodes {
		if o != n {
			w.sever(n, o)
			w.sever(o, n)
		}
	}
}

func (w *World) oneWay(n *node) bool {
	o := w.nodes[w.rng.IntN(len(w.nodes))]
	if o == n {
		return false
	}
	w.trace("nothing gets from n%d to n%d", n.id, o.id)
	w.sever(n, o)
	w.healLater()
	return true
}

func (w *World) split(*node) bool {
	order := w.rng.Perm(len(w.nodes))
	k := 1 + w.rng.IntN(len(order)-1)
	for _, a := range order[:k] {
		for _, b := range order[k:] {
			w.sever(w.nodes[a], w.nodes[b])
			w.sever(w.nodes[b], w.nodes[a])
		}
	}
	w.trace("the network is split: %v and %v", order[:k], order[k:])
	w.healLater()
	return true
}

func (w *World) healLater() {
	w.after(w.upTo(5*time.Second), func() {
		if len(w.net.cut) > 0 {
			w.trace("the network is whole")
			clear(w.net.cut)
		}
	})
}

func (w *World) healNetwork(*node) bool {
	clear(w.net.cut)
	w.net.bad = 0
	return true
}

func (w *World) badNetwork(*node) bool {
	w.net.bad = w.rng.IntN(30)
	w.trace("of 100 frames %d go wrong", w.net.bad)
	return true
}

func (w *World) stallDisk(n *node) bool {
	n.stall = w.now.Add(w.upTo(3 * time.Second))
	w.trace("n%d: the disk stalls", n.id)
	return true
}

func (w *World) failSync(n *node) bool {
	if !n.up {
		return false
	}
	op := []vfs.Op{vfs.OpSyncData, vfs.OpSyncData, vfs.OpSync, vfs.OpSyncDir}[w.rng.IntN(4)]
	w.trace("n%d: a sync will fail", n.id)
	n.disk.Inject(vfs.Fault{Op: op, After: w.rng.IntN(4), Times: 1, Err: syscall.EIO})
	n.restartWhenDown()
	return true
}

// restartWhenDown starts the node again after its process has ended.
func (n *node) restartWhenDown() {
	n.w.after(500*time.Millisecond+n.w.upTo(2*time.Second), func() {
		if !n.up {
			n.startAfter(0)
		}
	})
}

func (w *World) fillDisk(n *node) bool {
	w.trace("n%d: the disk is full for a while", n.id)
	n.disk.SetCapacity(1)
	w.after(w.upTo(4*time.Second), func() { n.disk.SetCapacity(1 << 40) })
	return true
}

func (w *World) jumpClock(n *node) bool {
	n.skew = w.upTo(2*time.Hour) - time.Hour
	w.trace("n%d: the clock jumps to %+v", n.id, n.skew)
	return true
}

func (w *World) transfer(n *node) bool {
	if w.cfg.Broker {
		return w.whole.transfer()
	}
	g := w.logs[w.rng.IntN(len(w.logs))]
	h := w.leader(g)
	if h == nil {
		return false
	}
	w.trace("n%d is to hand over %v", h.n.id, g)
	h.n.run(func() { h.group.Transfer(0) })
	return true
}

// leader is a replica that thinks it leads, the one of the highest term.
func (w *World) leader(g *group) (best *hosted) {
	for _, n := range w.nodes {
		if h := n.groups[g.id]; n.up && h != nil && h.leads && (best == nil || h.term > best.term) {
			best = h
		}
	}
	return best
}

// mayHarm reports whether a disk may lose something: no other has, and no
// group is without one of its replicas.
func (w *World) mayHarm() bool {
	return !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.harmed }) && w.settled() && (!w.cfg.Broker || w.whole.spare())
}

// settled: all groups have the members that they are to have.
func (w *World) settled() bool {
	if w.cfg.Broker {
		return w.whole.settled()
	}
	for _, g := range w.logs {
		h := w.leader(g)
		if h == nil {
			return false
		}
		voters, learners := h.group.Members()
		if len(learners) > 0 || len(voters) != len(g.desired) {
			return false
		}
		for _, id := range voters {
			if !slices.Contains(g.desired, id) {
				return false
			}
		}
	}
	return true
}

// rot damages files of a node, which is replaced later.
func (w *World) rot(n *node) bool {
	if !w.mayHarm() || !n.up {
		return false
	}
	n.harmed, n.fresh = true, false
	n.powerCut()
	for range 1 + w.rng.IntN(3) {
		n.rotFile([]string{"wal", "wal", "seg", "checkpoint"}[w.rng.IntN(4)])
	}
	n.startAfter(w.upTo(time.Second))
	w.after(2*time.Second+w.upTo(3*time.Second), func() {
		if !n.fresh {
			n.replace()
		}
	})
	return true
}

// harmTheSecond has a group's leader and one other replica alone hold some entries,
// harms the disk of that other one, and then leaves it alone with
// the one that has lagged. They must not go on without those entries.
func (w *World) harmTheSecond(*node) bool {
	g := w.logs[w.rng.IntN(len(w.logs))]
	h := w.leader(g)
	if !w.mayHarm() || h == nil || len(g.desired) != 3 {
		return false
	}
	var others []*node
	for _, id := range g.desired {
		if n := w.replicas[id]; n != h.n {
			others = append(others, n)
		}
	}
	second, third := others[0], others[1]
	if !second.up || !third.up {
		return false
	}
	second.harmed, second.fresh = true, false
	clear(w.net.cut)
	w.cutOff(third)
	w.after(500*time.Millisecond+w.upTo(time.Second), func() {
		if w.calm || second.fresh {
			return
		}
		if second.up {
			second.powerCut()
		}
		switch {
		case w.cfg.Bug == ReusedReplica:
			w.trace("n%d has lost its disk, and comes back as if nothing was", second.id)
			second.disk = vfs.NewMem()
		case !second.rotFile("wal"):
			second.rotFile("wal")
		}
		second.startAfter(0)
		clear(w.net.cut)
		w.cutOff(h.n)
		w.after(5*time.Second, func() {
			clear(w.net.cut)
			if !second.fresh {
				second.replace()
			}
		})
	})
	return true
}

// wipe loses a node's disk.
func (w *World) wipe(n *node) bool {
	if !w.mayHarm() {
		return false
	}
	n.harmed = true
	n.replace()
	return true
}

// replace gives a node an empty disk and a new replica id, and its place in
// all groups to that.
func (n *node) replace() {
	w := n.w
	if n.up {
		n.kill()
	}
	n.life++
	n.fresh = true
	old := n.replica
	delete(w.replicas, old)
	n.disk, n.rotten = vfs.NewMem(), nil
	if w.cfg.Broker {
		n.replica = 0 // to be asked for
		w.trace("n%d has lost its disk, and replica %d with it", n.id, old)
		n.startAfter(w.upTo(time.Second))
		return
	}
	w.nextID++
	n.replica = w.nextID
	w.replicas[n.replica] = n
	w.trace("n%d is replaced: replica %d by %d", n.id, old, n.replica)
	for _, g := range w.logs {
		for i, id := range g.desired {
			if id == old {
				g.desired[i] = n.replica
			}
		}
	}
	w.reconfigure()
	n.startAfter(w.upTo(time.Second))
}

// reconfigure tells all replicas who is to be a member.
func (w *World) reconfigure() {
	for _, n := range w.nodes {
		if !n.up {
			continue
		}
		for _, g := range w.logs {
			if h := n.groups[g.id]; h != nil {
				n.run(func() { h.group.Reconfigure(slices.Clone(g.desired)) })
			}
		}
	}
}

// move gives a group's place on one node to another node.
func (w *World) move(to *node) bool {
	g := w.logs[w.rng.IntN(len(w.logs))]
	if !w.mayHarm() || !to.up || g.concerns(to.replica) {
		return false
	}
	i := w.rng.IntN(len(g.desired))
	w.trace("%v: replica %d goes, replica %d on n%d comes", g, g.desired[i], to.replica, to.id)
	g.desired[i] = to.replica
	to.run(func() { to.open(g) })
	w.reconfigure()
	return true
}

// endHarm forgives a node its lost disk when everything is where it is to be.
func (w *World) endHarm() {
	for _, n := range w.nodes {
		if n.harmed && n.fresh && n.up && !n.lacks() && w.settled() {
			n.harmed = false
			w.trace("n%d is whole again", n.id)
		}
	}
}

// heal ends all faults; with Live one node may stay as it is.
func (w *World) heal() {
	if w.failed() {
		return
	}
	w.calm = true
	if w.cfg.Broker {
		w.whole.calm.Store(true)
	}
	var broken *node
	if w.cfg.Live && w.mayHarm() {
		broken = w.nodes[w.rng.IntN(len(w.nodes))]
	}
	w.trace("all is healed%s", map[bool]string{true: fmt.Sprintf(" but %v", broken)}[broken != nil])
	w.net.bad = 0
	clear(w.net.cut)
	for _, n := range w.nodes {
		n.disk.Heal()
		n.disk.SetCapacity(1 << 40)
		n.stall = time.Time{}
		n.syncs = 0
		n.resume()
		if n == broken {
			if n.up {
				n.powerCut()
			}
			n.life++
			continue
		}
		if n.harmed && !n.fresh {
			n.replace()
		}
		if !n.up {
			n.startAfter(w.upTo(100 * time.Millisecond))
		}
	}
}
