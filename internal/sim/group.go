package sim

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"slices"

	"waybill/internal/record"
	"waybill/internal/replica"
)

// group is one log with its replicas, as all know it.
type group struct {
	w       *World
	id      record.LogID
	initial []uint64 // replica ids
	desired []uint64
	queue   bool // else a partition
	sums    map[record.Index]uint64
	top     record.Index
	ackEnd  record.Offset // what is below was acknowledged
	term    uint64        // of the newest leader
}

func (w *World) newGroup(id record.LogID, nodes int) *group {
	g := &group{w: w, id: id, queue: id > 2, sums: make(map[record.Index]uint64)}
	size := 3
	if nodes == 5 && w.chance(2) {
		size = 5
	}
	for _, i := range w.rng.Perm(nodes)[:size] {
		g.initial = append(g.initial, w.nodes[i].replica)
	}
	g.desired = slices.Clone(g.initial)
	return g
}

func (g *group) String() string {
	if g.queue {
		return fmt.Sprintf("q%d", g.id)
	}
	return fmt.Sprintf("p%d", g.id)
}

// concerns reports whether a replica is, or is to be, a member.
func (g *group) concerns(replica uint64) bool {
	return slices.Contains(g.initial, replica) || slices.Contains(g.desired, replica)
}

// hosted is a replica of a group on a node.
type hosted struct {
	n       *node
	g       *group
	group   *replica.Group
	machine machine
	chain   chain
	leads   bool
	term    uint64
}

// machine is what differs between partitions and queues.
type machine interface {
	restore(b []byte) error
	snapshot(b []byte) ([]byte, func(from, to record.Offset) bool)
	apply(e replica.Entry)
	lead(term uint64)
	follow(reason error)
	handle(event any)
	build(limit int) []byte
	end() record.Offset
}

// chain hashes every entry that was applied.
type chain struct {
	index record.Index
	sum   uint64
}

func (c *chain) add(e replica.Entry) {
	h := fnv.New64a()
	b := binary.LittleEndian.AppendUint64(nil, c.sum)
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Index))
	b = binary.LittleEndian.AppendUint64(b, e.Term)
	_, _ = h.Write(append(b, e.Data...))
	c.index, c.sum = e.Index, h.Sum64()
}

// compare finds replicas that applied something else at the same index.
func (h *hosted) compare() {
	g := h.g
	if sum, ok := g.sums[h.chain.index]; ok && sum != h.chain.sum {
		g.w.fail("%v: the replicas differ at index %d, as n%d finds", g, h.chain.index, h.n.id)
	}
	g.sums[h.chain.index] = h.chain.sum
	g.top = max(g.top, h.chain.index)
}

// Restore implements replica.Machine.
func (h *hosted) Restore(state []byte) error {
	if len(state) < 16 {
		return fmt.Errorf("sim: a state of %d bytes", len(state))
	}
	h.chain = chain{record.Index(binary.LittleEndian.Uint64(state)), binary.LittleEndian.Uint64(state[8:])}
	h.compare()
	return h.machine.restore(state[16:])
}

// Snapshot implements replica.Machine.
func (h *hosted) Snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	b = binary.LittleEndian.AppendUint64(b, uint64(h.chain.index))
	b = binary.LittleEndian.AppendUint64(b, h.chain.sum)
	return h.machine.snapshot(b)
}

// Apply implements replica.Machine.
func (h *hosted) Apply(e replica.Entry) {
	h.chain.add(e)
	h.compare()
	h.machine.apply(e)
}

// Lead implements replica.Machine.
func (h *hosted) Lead(term uint64) {
	h.n.w.trace("n%d leads %v in term %d from index %d", h.n.id, h.g, term, h.chain.index)
	h.leads, h.term = true, term
	h.g.term = max(h.g.term, term)
	h.machine.lead(term)
}

// Follow implements replica.Machine.
func (h *hosted) Follow(reason error) {
	if h.leads {
		h.n.w.trace("n%d leads %v no more: %v", h.n.id, h.g, reason)
	}
	h.leads = false
	h.machine.follow(reason)
}

// Handle implements replica.Machine.
func (h *hosted) Handle(event any) { h.machine.handle(event) }

// Build implements replica.Machine.
func (h *hosted) Build(limit int) []byte { return h.machine.build(limit) }
