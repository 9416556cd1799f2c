package broker

import (
	"context"
	"slices"
	"sync"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// reconciler brings the raft groups to where the catalog wants them. On the
// node that leads a group it makes the wanted replicas its members; when one that was
// left is no member any more it says so to the catalog (ReplicaGone), and not before
// that does the node that was left delete its copy. On a node that shall
// lead nothing it hands over what it leads.
type reconciler struct {
	b    *Broker
	wake chan struct{} // one token when there is something to look at

	mu     sync.Mutex // guards the rest
	logs   map[record.LogID]struct{}
	all    bool // look at everything
	handed bool // hand leadership back to the preferred replicas, once

	// told is what each group was told last: telling wakes one that sleeps. Only
	// run touches it.
	told map[record.LogID]toldGroup
	// ready is since when the preferred leader of a log that is led here could lead. Only
	// run touches it.
	ready map[record.LogID]time.Time
}

type toldGroup struct {
	group *replica.Group
	place *catalog.Placement
}

const (
	// reconcileEvery is the time after which everything is looked at, in case
	// that a step got lost.
	reconcileEvery = 2 * time.Second
	goneTimeout    = 10 * time.Second
	// returnsAtOnce is how many leaders go back to their preferred nodes in one round:
	// each is a moment without a leader.
	returnsAtOnce = 32
)

func newReconciler(b *Broker) *reconciler {
	return &reconciler{b: b, wake: make(chan struct{}, 1), logs: map[record.LogID]struct{}{}, told: map[record.LogID]toldGroup{}, ready: map[record.LogID]time.Time{}}
}

// look asks to look at a log. It does not block.
func (r *reconciler) look(log record.LogID) {
	r.mu.Lock()
	r.logs[log] = struct{}{}
	r.mu.Unlock()
	signal(r.wake)
}

// prefer hands leadership to the preferred replicas where they can take it.
func (r *reconciler) prefer() {
	r.mu.Lock()
	r.handed, r.all = true, true
	r.mu.Unlock()
	signal(r.wake)
}

func (r *reconciler) run(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	soon := time.NewTimer(rebuildPause)
	defer soon.Stop()
	for {
		select {
		case <-r.wake:
		case <-soon.C:
			r.mu.Lock()
			for log := range r.b.healer.active {
				r.logs[log] = struct{}{}
			}
			r.mu.Unlock()
		case <-tick.C:
			r.mu.Lock()
			r.all = true
			r.mu.Unlock()
		case <-ctx.Done():
			return
		}
		r.round(ctx)
		if len(r.b.healer.active) > 0 {
			soon.Reset(rebuildPause)
		}
	}
}

// round looks at what there is to look at.
func (r *reconciler) round(ctx context.Context) {
	r.mu.Lock()
	logs, all, prefer := r.logs, r.all, r.handed
	r.logs, r.all, r.handed = map[record.LogID]struct{}{}, false, false
	r.mu.Unlock()
	if all {
		for _, p := range r.b.places.all() {
			logs[p.Log] = struct{}{}
		}
	}
	returns := returnsAtOnce
	for log := range logs {
		if ctx.Err() != nil {
			return
		}
		p, g := r.b.places.get(log), r.b.groupOf(log)
		if p == nil {
			r.b.healer.forget(log)
		} else {
			r.b.healer.look(ctx, p, g)
		}
		if p == nil || g == nil {
			delete(r.told, log)
			delete(r.ready, log)
			continue
		}
		if now := (toldGroup{g, p}); r.told[log] != now {
			r.told[log] = now
			g.Reconfigure(p.Replicas)
		}
		if !g.Leads() {
			delete(r.ready, log)
			continue
		}
		r.gone(ctx, p, g)
		back := returns > 0 && r.mayReturn(p, g)
		if back {
			returns--
		}
		r.hand(p, g, prefer || back)
	}
}

// gone tells the catalog about replicas that are no members any more.
func (r *reconciler) gone(ctx context.Context, p *catalog.Placement, g *replica.Group) {
	if len(p.Leaving) == 0 {
		return
	}
	voters, learners := g.Members()
	if len(voters) == 0 {
		return
	}
	for _, id := range p.Leaving {
		if slices.Contains(voters, id) || slices.Contains(learners, id) {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, goneTimeout)
		_, err := r.b.change(ctx, &catalog.Command{ReplicaGone: &catalog.ReplicaGone{Log: p.Log, Replica: id}})
		cancel()
		if err != nil {
			r.b.log.Warn("a replica that was moved is not given up yet", "log", p.Log, "replica", id, "error", err)
		}
	}
}

// mayReturn reports whether the preferred leader of a group that is led here has been able to lead
// for long enough. It is like Kafka's auto.leader.rebalance.enable.
func (r *reconciler) mayReturn(p *catalog.Placement, g *replica.Group) bool {
	after, first := r.b.cfg.LeadersReturn, p.Replicas[0]
	n := r.b.members.load().byReplica[first]
	if after == 0 || first == r.b.cfg.Replica || p.Rebuilding != nil || n == nil || n.State != catalog.Active || !slices.Contains(g.InSync(), first) {
		delete(r.ready, p.Log)
		return false
	}
	now := r.b.cfg.Now()
	since, ok := r.ready[p.Log]
	if !ok {
		r.ready[p.Log] = now
	}
	return ok && now.Sub(since) >= after
}

// hand hands a group over that this node shall not lead.
func (r *reconciler) hand(p *catalog.Placement, g *replica.Group, prefer bool) {
	m := r.b.members.load()
	me := m.byReplica[r.b.cfg.Replica]
	if first := p.Replicas[0]; prefer && first != r.b.cfg.Replica && slices.Contains(g.InSync(), first) {
		if n := m.byReplica[first]; n != nil && n.State == catalog.Active {
			g.Transfer(first)
			return
		}
	}
	if me == nil || me.State == catalog.Active {
		return
	}
	if to := r.b.successor(p, g); to != 0 {
		g.Transfer(to)
	}
}

// successor is the replica that should lead a group in place of this one: the
// first one that is in sync and on a node that may lead; 0 when there is none.
func (b *Broker) successor(p *catalog.Placement, g *replica.Group) uint64 {
	m, inSync := b.members.load(), g.InSync()
	for _, id := range p.Replicas {
		if n := m.byReplica[id]; id != b.cfg.Replica && n != nil && n.State == catalog.Active && slices.Contains(inSync, id) {
			return id
		}
	}
	return 0
}
