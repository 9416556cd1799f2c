package replica

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// Config configures a Host. The zero value of an optional field means its
// default.
type Config struct {
	Store     *storage.Store
	ReplicaID uint64    // of this node, in every group that it is a member of; not 0
	Transport Transport // to the other replicas; nil: this replica is the only one of every group

	// Tick is the time between a leader's heartbeats, 100 ms by default. A
	// follower that hears nothing for 10 to 20 of them stands for election.
	Tick time.Duration
	// OnLeader is called on the group's shard when it becomes known which replica
	// leads the group, and when that is known no longer (leader 0). This
	// replica is named when it has applied all of the earlier terms. It must not block.
	OnLeader func(group record.LogID, leader, term uint64)
	// OnMembers is called on the group's shard when a change of the membership was applied and
	// is durable here, on every replica. It must not block.
	OnMembers func(group record.LogID, voters, learners []uint64)
	// OnInSync is called on the group's shard of the replica that leads, when it has
	// changed which voters are in sync, see Group.InSync. It must not block.
	OnInSync func(group record.LogID, term uint64, replicas []uint64)

	// CatchUpRate bounds the bytes a second that this node reads from its disk for replicas
	// that are behind, and, apart from that, those of snapshots that it takes in; 0: no limit.
	CatchUpRate int64

	// Manual leaves out the goroutines: the shards work when Step is called, with what
	// Go is given run by whoever calls it. Woken, when set, is called from any goroutine when
	// there is something for Step.
	Manual bool
	Go     func(func()) // runs a job that may wait for disk or network; default: a goroutine
	Woken  func()
	// OnApply, when set, is shown every entry right before a group's machine applies it, on
	// the group's shard.
	OnApply func(group record.LogID, e Entry)

	Shards     int              // default GOMAXPROCS
	Now        func() time.Time // default time.Now
	Logger     *slog.Logger     // default slog.Default
	Registerer prometheus.Registerer
}

// Host runs the raft groups of a node.
type Host struct {
	cfg     Config
	metrics *metrics
	shards  []*shard

	boot      uint64        // random, so that no question of a former life is taken for one of this
	questions atomic.Uint64 // numbers of questions and sessions
	writing   atomic.Int64  // requests that the store has not finished
	down      atomic.Pointer[map[uint64]bool]
	servings  servings
	fetches   fetches
	giving    throttle        // of what is read for others
	taking    throttle        // of snapshots that come in
	ctx       context.Context // ends at Close, with the jobs
	cancel    context.CancelFunc
	jobs      sync.WaitGroup

	mu      sync.RWMutex // guards the rest
	groups  map[record.LogID]*Group
	closed  bool
	leading int           // number of groups led here
	known   int           // number of groups whose leader is known
	allLed  chan struct{} // closed, and replaced, when the leaders of all groups are known
}

// NewHost starts the shards of a host without groups.
func NewHost(cfg Config) *Host {
	if cfg.Shards <= 0 {
		cfg.Shards = runtime.GOMAXPROCS(0)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Tick <= 0 {
		cfg.Tick = defaultTick
	}
	if cfg.Go == nil {
		cfg.Go = func(job func()) { go job() }
	}
	h := &Host{
		giving:   throttle{rate: cfg.CatchUpRate},
		taking:   throttle{rate: cfg.CatchUpRate},
		cfg:      cfg,
		metrics:  newMetrics(cfg.Registerer),
		groups:   map[record.LogID]*Group{},
		allLed:   make(chan struct{}),
		servings: servings{list: map[serveKey]*serving{}},
		fetches:  fetches{all: make(chan struct{}, fetchesAtOnce), from: locks{held: map[uint64]chan struct{}{}}},
	}
	var boot [8]byte
	_, _ = rand.Read(boot[:]) // it never fails
	h.boot = binary.LittleEndian.Uint64(boot[:])
	h.down.Store(&map[uint64]bool{})
	h.ctx, h.cancel = context.WithCancel(context.Background())
	for range cfg.Shards {
		s := newShard(&h.cfg, h.metrics)
		h.shards = append(h.shards, s)
		if !cfg.Manual {
			go s.run()
		}
	}
	return h
}

// Step does all that is to be done at now, of a Manual host; false when there
// was nothing.
func (h *Host) Step(now time.Time) bool {
	worked := false
	for again := true; again; {
		again = false
		for _, s := range h.shards {
			again = s.step(now) || again
		}
		worked = worked || again
	}
	return worked
}

// Writing is the number of requests that the store has not finished.
func (h *Host) Writing() int { return int(h.writing.Load()) }

// spawn runs a job that ends when the host is closed.
func (h *Host) spawn(job func()) {
	h.jobs.Add(1)
	h.cfg.Go(func() {
		defer h.jobs.Done()
		job()
	})
}

// Open prepares the group with that id and restores its machine from the
// log's checkpoint; an error names a damaged log or a snapshot that cannot be
// read. voters are the replica ids of a group that has no state yet, its preferred leader first; a
// replica that is not among them waits until it is added, and does not vote before. A replica whose copy of the
// group was deleted once must never be among them. The machine is called from the group's shard once Group.Start was called.
func (h *Host) Open(id record.LogID, voters []uint64, m Machine) (*Group, error) {
	g, err := newGroup(h, id, voters, m)
	if err != nil {
		return nil, fmt.Errorf("replica: open group %d: %w", id, err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	if h.groups[id] != nil {
		panic(fmt.Sprintf("replica: group %d is open already", id))
	}
	h.groups[id] = g
	return g, nil
}

// IsOpen reports whether a group was opened and not removed since.
func (h *Host) IsOpen(id record.LogID) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	return h.groups[id] != nil
}

// Remove stops the group and deletes its log. The catalog must have said so:
// a removed group's id is never used again. The deletion follows on the
// group's shard and rides to the disk with the next batch; after a power cut
// before that, the catalog, which no longer refers to the log, has it removed
// again.
func (h *Host) Remove(id record.LogID) {
	h.mu.Lock()
	g := h.groups[id]
	delete(h.groups, id)
	h.mu.Unlock()
	h.count(0, 0)
	if g == nil {
		h.cfg.Store.Delete(id)
		return
	}
	g.shard.post(item{group: g, kind: itemStop, event: ErrRemoved})
}

// Checkpoint returns the state of a group for the store's flusher; ok is false
// when the group is not open.
func (h *Host) Checkpoint(id record.LogID) (c storage.Checkpoint, ok bool) {
	h.mu.Lock()
	g := h.groups[id]
	h.mu.Unlock()
	if g == nil {
		return storage.Checkpoint{}, false
	}
	answer := make(chan *storage.Checkpoint, 1)
	if !g.shard.post(item{group: g, kind: itemCheckpoint, event: answer}) {
		return storage.Checkpoint{}, false
	}
	select {
	case c := <-answer:
		if c == nil {
			return storage.Checkpoint{}, false
		}
		return *c, true
	case <-g.shard.stopped:
		return storage.Checkpoint{}, false
	}
}

// Groups returns the number of open groups, and how many of them are led here.
func (h *Host) Groups() (open, leading int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.groups), h.leading
}

// Led waits until the leader of every open group is known.
func (h *Host) Led(ctx context.Context) error {
	for {
		h.mu.Lock()
		open, known, changed := len(h.groups), h.known, h.allLed
		h.mu.Unlock()
		if open == known {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("replica: %d of %d groups have no leader: %w", open-known, open, ctx.Err())
		}
	}
}

// count notes that a group got its leader here (1) or lost it (-1), and that
// its leader became known or unknown.
func (h *Host) count(leading, known int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leading += leading
	h.known += known
	if h.known == len(h.groups) {
		close(h.allLed)
		h.allLed = make(chan struct{})
	}
}

// Close gives up all groups (Follow with ErrClosed) and stops the shards. What
// is in flight to the store is still written, but nobody is answered.
func (h *Host) Close() {
	h.mu.Lock()
	h.closed = true
	groups := h.groups
	h.groups = map[record.LogID]*Group{}
	h.mu.Unlock()
	for _, g := range groups {
		g.shard.post(item{group: g, kind: itemStop, event: ErrClosed})
	}
	h.cancel()
	for _, s := range h.shards {
		if h.cfg.Manual {
			s.finish(h.cfg.Now())
		} else {
			s.stop()
		}
	}
	h.jobs.Wait()
}
