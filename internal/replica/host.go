package replica

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
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

	mu      sync.Mutex // guards the rest
	groups  map[record.LogID]*Group
	closed  bool
	leading int           // number of groups led here
	allLed  chan struct{} // closed, and replaced, when all groups are led
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
	h := &Host{cfg: cfg, metrics: newMetrics(cfg.Registerer), groups: map[record.LogID]*Group{}, allLed: make(chan struct{})}
	for range cfg.Shards {
		s := newShard(cfg.Now, h.metrics)
		h.shards = append(h.shards, s)
		go s.run()
	}
	return h
}

// Open prepares the group with that id and restores its machine from the
// log's checkpoint; an error names a damaged log or a snapshot that cannot be
// read. voters are the replica ids of a group that has no state yet. The
// machine is called from the group's shard once Group.Start was called.
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
	h.count(0)
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

// Led waits until every open group has a leader here.
func (h *Host) Led(ctx context.Context) error {
	for {
		h.mu.Lock()
		open, leading, changed := len(h.groups), h.leading, h.allLed
		h.mu.Unlock()
		if open == leading {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("replica: %d of %d groups have no leader: %w", open-leading, open, ctx.Err())
		}
	}
}

// count notes that a group got its leader here (1) or lost it (-1).
func (h *Host) count(delta int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.leading += delta
	if h.leading == len(h.groups) {
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
	for _, s := range h.shards {
		s.stop()
	}
}
