package broker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
)

// healer has damaged copies of this node rebuilt from the other replicas. What
// may have forgotten something that it has acknowledged must not go on as who it was, so
// the catalog has it leave the raft group first (catalog.Rebuild), and the group
// lets it go only when a majority of the others has written that down. Then the copy is
// deleted, and the replica comes back as one that was never a member: it learns,
// and votes when it has caught up. Where the others would be no majority, nothing is done
// and nothing is deleted: the copy is held offline, and an operator decides.
//
// The catalog's own copy is rebuilt together with its node, see package server.
type healer struct {
	b *Broker

	mu     sync.Mutex // guards failed
	failed map[record.LogID]error

	// Touched by the reconciler only.
	damaged map[record.LogID]struct{}
	active  map[record.LogID]time.Time // being rebuilt → since when its copy is deleted; zero: it is not
	refused map[record.LogID]int       // how often they could not be rebuilt
}

const (
	// rebuildsAtOnce is how many copies of a node are rebuilt at the same time.
	rebuildsAtOnce = 4
	// refusedOften is how often that is tried in vain until it is said.
	refusedOften = 3
	// rebuildPause is how often they are looked at.
	rebuildPause = 200 * time.Millisecond
	// returnAfter is how long a replica that was deleted stays away. What it said as a
	// member, and which is still on its way, must not be taken for what it says when
	// it is back: a connection that has carried nothing for a third of that
	// time is cut.
	returnAfter = 3 * time.Second
)

func newHealer(b *Broker) *healer {
	return &healer{
		b:      b,
		failed: map[record.LogID]error{}, damaged: map[record.LogID]struct{}{},
		active: map[record.LogID]time.Time{}, refused: map[record.LogID]int{},
	}
}

// opened notes whether the group of a log could be opened.
func (h *healer) opened(log record.LogID, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.failed, log)
		return
	}
	h.failed[log] = err
	if h.b.cfg.Cluster == nil { // else look counts
		h.b.metrics.offline.Set(float64(len(h.failed)))
	}
}

// damage is what is wrong with the copy of a log, or nil.
func (h *healer) damage(log record.LogID, g *replica.Group) error {
	if g != nil {
		if err := g.Failure(); err != nil {
			return err
		}
		return h.b.cfg.Store.Damaged(log)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failed[log]
}

// look takes the next step with a log.
func (h *healer) look(ctx context.Context, p *catalog.Placement, g *replica.Group) {
	me := h.b.cfg.Replica
	switch {
	case p.Log == catalog.LogID:
		if err := h.damage(p.Log, g); errors.Is(err, storage.ErrDamaged) && h.b.cfg.OnCatalogDamage != nil {
			h.b.cfg.OnCatalogDamage(err)
		}
	case p.Rebuilding != nil && p.Rebuilding.Replica == me:
		h.comeBack(ctx, p)
	case !slices.Contains(p.Replicas, me):
		h.forget(p.Log)
	default:
		err := h.damage(p.Log, g)
		h.note(p.Log, err)
		if err != nil {
			if g == nil || g.Failure() != nil {
				h.b.leaders.recall(p.Log)
			}
			h.begin(ctx, p, g, err)
		} else if _, ok := h.active[p.Log]; ok && g != nil && votes(g, me) {
			h.forget(p.Log)
			h.b.metrics.rebuilt.Inc()
			h.b.log.Info("a copy of a log that was damaged is rebuilt", "log", p.Log)
		}
	}
}

func votes(g *replica.Group, id uint64) bool {
	voters, _ := g.Members()
	return slices.Contains(voters, id)
}

// forget: the log is not this node's to rebuild, any more.
func (h *healer) forget(log record.LogID) {
	h.mu.Lock()
	delete(h.failed, log)
	h.mu.Unlock()
	delete(h.active, log)
	delete(h.refused, log)
	h.note(log, nil)
}

// note keeps count of what is damaged.
func (h *healer) note(log record.LogID, damage error) {
	if _, was := h.damaged[log]; was == (damage != nil) {
		return
	}
	if damage != nil {
		h.damaged[log] = struct{}{}
	} else {
		delete(h.damaged, log)
	}
	h.b.metrics.offline.Set(float64(len(h.damaged)))
}

// begin has a damaged copy leave its raft group.
func (h *healer) begin(ctx context.Context, p *catalog.Placement, g *replica.Group, damage error) {
	if !errors.Is(damage, storage.ErrDamaged) || len(p.Leaving) > 0 {
		return
	}
	if g != nil && g.Leads() { // what can be read is served until another one leads
		if to := h.b.successor(p, g); to != 0 {
			g.Transfer(to)
		}
		return
	}
	if _, again := h.active[p.Log]; !again && len(h.active) >= rebuildsAtOnce {
		return
	}
	err := h.b.spare(p, h.b.cfg.Replica)
	if err == nil {
		err = h.change(ctx, &catalog.Command{Rebuild: &catalog.Rebuild{Log: p.Log, Replica: h.b.cfg.Replica}})
	}
	if err != nil {
		if h.refused[p.Log]++; h.refused[p.Log] == refusedOften { // it may be for a moment only
			h.b.log.Error("a damaged copy of a log cannot be rebuilt now: it is held, and nothing of it is deleted", "log", p.Log, "why", err, "damage", damage)
		}
		return
	}
	h.b.log.Warn("a damaged copy of a log is rebuilt from the other replicas: it leaves the raft group, is deleted, and begins anew", "log", p.Log, "damage", damage)
	delete(h.refused, p.Log)
	h.active[p.Log] = time.Time{}
	h.b.metrics.rebuilds.Inc()
}

// spare says why a log cannot do without one of its replicas: a majority of them has to
// be in sync elsewhere.
func (b *Broker) spare(p *catalog.Placement, replica uint64) error {
	others := func(ids []uint64) (n int) {
		for _, id := range ids {
			if id != replica {
				n++
			}
		}
		return n
	}
	voters := slices.Concat(p.Replicas, p.Leaving)
	if len(voters) > 0 && others(voters) == 0 {
		return errorf(PreconditionFailed, "log %d has no other replica", p.Log)
	}
	inSync, exact := b.leaders.inSync(p.Log)
	if !exact {
		return errorf(Unavailable, "log %d has no leader that tells which replicas are up to date", p.Log)
	}
	if n := others(inSync); n <= len(voters)/2 {
		return errorf(PreconditionFailed, "log %d has %d replicas, and %d others are up to date, which is no majority", p.Log, len(voters), n)
	}
	return nil
}

// comeBack goes on when the copy has left its raft group and is deleted.
func (h *healer) comeBack(ctx context.Context, p *catalog.Placement) {
	me := h.b.cfg.Replica
	if slices.Contains(p.Leaving, me) || h.b.cfg.Store.Holds(p.Log) {
		h.active[p.Log] = time.Time{}
		return
	}
	h.note(p.Log, nil)
	now := h.b.cfg.Now()
	if since := h.active[p.Log]; since.IsZero() {
		h.b.log.Warn("the damaged copy of a log was deleted", "log", p.Log)
		h.active[p.Log] = now
		h.opened(p.Log, nil) // what was wrong with it says nothing of the next one, which is not open at once
	} else if now.Sub(since) >= returnAfter {
		if err := h.change(ctx, &catalog.Command{Return: &catalog.Return{Log: p.Log, Replica: me}}); err != nil {
			h.b.log.Warn("a replica that is rebuilt does not come back yet", "log", p.Log, "error", err)
		}
	}
}

func (h *healer) change(ctx context.Context, cmd *catalog.Command) error {
	ctx, cancel := context.WithTimeout(ctx, goneTimeout)
	defer cancel()
	_, err := h.b.change(ctx, cmd)
	return err
}
