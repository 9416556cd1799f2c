package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/test/check"
)

// whole is what a World with brokers has beside its nodes: the clients, which are goroutines,
// and what they may expect.
type whole struct {
	w        *World
	founders []broker.Node
	ctx      context.Context // of the clients
	stop     context.CancelFunc
	users    uint64
	working  atomic.Int32 // clients that are not done
	calm     atomic.Bool  // they are to begin nothing new
	queues   []*queueCheck
	fetched  []*check.Partition
	commits  check.Commits
	declared *declarer
	ids      chan struct{} // holds a token for who asks for a producer id
	acked    atomic.Int64

	mu      sync.Mutex // guards the rest
	sums    map[applied]uint64
	serving []*process // by node
}

// applied is the place of an entry.
type applied struct {
	log   record.LogID
	index record.Index
}

func newWhole(w *World) *whole {
	h := &whole{w: w, sums: make(map[applied]uint64), serving: make([]*process, len(w.nodes)), ids: make(chan struct{}, 1)}
	h.ctx, h.stop = context.WithCancel(context.Background())
	for _, n := range w.nodes {
		h.founders = append(h.founders, broker.Node{ID: uint64(n.id), Replica: n.replica})
	}
	return h
}

// compare finds replicas that apply something else at the same index.
func (h *whole) compare(log record.LogID, e replica.Entry) {
	f := fnv.New64a()
	_, _ = f.Write(binary.LittleEndian.AppendUint64(nil, e.Term))
	_, _ = f.Write(e.Data)
	sum := f.Sum64()
	at := applied{log, e.Index}
	h.mu.Lock()
	old, ok := h.sums[at]
	h.sums[at] = sum
	h.mu.Unlock()
	if ok && old != sum {
		h.w.fail("log %d: the replicas differ at index %d", log, e.Index)
	}
}

// open starts the clients.
func (h *whole) open() {
	id := uint32(0)
	for _, name := range []string{"q1", "q2"} {
		q := newQueueCheck(h, name)
		h.queues = append(h.queues, q)
		for range 2 {
			id++
			p := &sender{user: h.user("sender %d of %s", id, name), q: q, id: id}
			c := &taker{user: h.user("taker %d of %s", id, name), q: q}
			h.spawn(true, p.run)
			h.spawn(false, c.run)
		}
	}
	h.openTopics()
}

// openTopics starts the clients of topics, and of what is declared.
func (h *whole) openTopics() {
	const partitions = 2
	id := uint32(100)
	for n := range int32(partitions) {
		h.fetched = append(h.fetched, h.w.kafka.Partition(theTopic, n))
		for range 2 {
			id++
			p := &idempotent{user: h.user("producer %d of %s/%d", id, theTopic, n), number: n, id: id}
			h.spawn(true, p.run)
		}
		f := &poller{user: h.user("fetcher of %s/%d", theTopic, n), number: n, c: h.w.kafka.Consumer()}
		h.spawn(false, f.run)
		c := &committer{user: h.user("committer of %s/%d", theTopic, n), number: n, group: fmt.Sprintf("g%d", n)}
		h.spawn(true, c.run)
	}
	m := h.user("maker of %s", theTopic)
	h.spawn(true, func() { m.makeTopic(partitions) })
	h.declared = &declarer{user: h.user("declarer"), want: make(map[string]presence)}
	h.spawn(true, h.declared.run)
}

// at is the process that serves on a node; nil when none does.
func (h *whole) at(node uint64) *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	if node == 0 || node > uint64(len(h.serving)) {
		return nil
	}
	return h.serving[node-1]
}

// spawn runs a client; work: all is over only when it has returned.
func (h *whole) spawn(work bool, run func()) {
	if work {
		h.working.Add(1)
	}
	go func() {
		run()
		if work {
			h.working.Add(-1)
		}
	}()
}

// pick returns a process that serves, by chance.
func (h *whole) pick(rng *rand.Rand) *process {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []*process
	for _, p := range h.serving {
		if p != nil {
			all = append(all, p)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[rng.IntN(len(all))]
}

// serves notes which process of a node serves; nil: none.
func (h *whole) serves(n *node, p *process) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.serving[n.id-1] = p
}

// user is what all clients have. Each has randomness of its own, so that what
// one draws has no influence on another.
type user struct {
	h    *whole
	rng  *rand.Rand
	name string
}

func (h *whole) user(name string, args ...any) user {
	h.users++
	return user{h, rand.New(rand.NewPCG(h.w.cfg.Seed, 100+h.users)), fmt.Sprintf(name, args...)}
}

func (u *user) chance(n int) bool { return u.rng.IntN(n) == 0 }

func (u *user) trace(format string, args ...any) {
	u.h.w.trace("  "+u.name+" "+format, args...)
}

// sleep waits for about d; false when the run is over.
func (u *user) sleep(d time.Duration) bool {
	t := time.NewTimer(d/2 + time.Duration(u.rng.Int64N(int64(d))))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-u.h.ctx.Done():
		return false
	}
}

// connect finds a process that serves; nil when the run is over.
func (u *user) connect() *process {
	for u.h.ctx.Err() == nil {
		if p := u.h.pick(u.rng); p != nil {
			return p
		}
		u.sleep(100 * time.Millisecond)
	}
	return nil
}

// admit asks until the node with the number id, which has an empty disk, is a member under a new
// replica id, as an operator and the node's start do.
func (h *whole) admit(p *process, u user, id uint64, store string) {
	for p.ctx.Err() == nil {
		if !u.sleep(100 * time.Millisecond) {
			return
		}
		other := h.pick(u.rng)
		if other == nil || other.n == p.n {
			continue
		}
		ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		member, err := other.broker.AddNode(ctx, id, store, "")
		var refused *broker.Error
		if errors.As(err, &refused) && refused.Kind == broker.AccessRefused {
			err = other.broker.ReplaceNode(ctx, id)
			h.w.trace("n%d asks node %d to give up the old disk of node %d: %v", id, other.n.id, id, err)
		} else if err == nil {
			h.w.post(func() { p.admitted(member.Replica) })
			cancel()
			return
		}
		cancel()
	}
}

// settled: every log has a leader, and the replicas that it is to have, all of them up to date.
func (h *whole) settled() bool {
	led := make(map[record.LogID]bool)
	var all []broker.Log
	for _, n := range h.w.nodes {
		p := n.proc
		if p == nil || !p.ready.Load() {
			return false
		}
		all = p.broker.Logs()
		for _, l := range all {
			if l.Leader == uint64(n.id) && l.InSync != nil {
				led[l.ID] = !l.Moving && len(l.InSync) == len(l.Replicas)
			}
		}
	}
	return !slices.ContainsFunc(all, func(l broker.Log) bool { return !led[l.ID] })
}

// spare: every log can lose a replica. What was declared while a node was being replaced has
// two, as there were two nodes to place it on, and without one of them it has no quorum.
func (h *whole) spare() bool {
	for _, n := range h.w.nodes {
		if n.proc != nil && slices.ContainsFunc(n.proc.broker.Logs(), func(l broker.Log) bool { return len(l.Replicas) < 3 }) {
			return false
		}
	}
	return true
}

// lacks reports whether a node is not as it should be.
func (h *whole) lacks(n *node) bool { return n.proc == nil || !n.proc.ready.Load() }
