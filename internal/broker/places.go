package broker

import (
	"sync"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// places is where the replicas of every log are, for everyone to read; the
// directory changes it.
type places struct {
	mu    sync.RWMutex // guards of; taken before that of Leaders
	of    map[record.LogID]*catalog.Placement
	owner map[record.LogID]owner // touched on the catalog's shard only
}

// owner is what a log belongs to: a partition, a queue, or a coordinator.
type owner struct {
	topic     string
	partition int
	vhost     string
	queue     string
}

func (p *places) get(log record.LogID) *catalog.Placement {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.of[log]
}

// set replaces a placement; nil forgets it.
func (p *places) set(log record.LogID, now *catalog.Placement) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now == nil {
		delete(p.of, log)
		return
	}
	if p.of == nil {
		p.of = map[record.LogID]*catalog.Placement{}
	}
	p.of[log] = now
}

// all lists the placements, in no order.
func (p *places) all() []*catalog.Placement {
	p.mu.RLock()
	defer p.mu.RUnlock()
	list := make([]*catalog.Placement, 0, len(p.of))
	for _, one := range p.of {
		list = append(list, one)
	}
	return list
}

// LogsHere counts the logs with a replica on this node, and those of them that have a
// leader somewhere, as far as that is known here.
func (b *Broker) LogsHere() (logs, led int) {
	b.places.mu.RLock()
	defer b.places.mu.RUnlock()
	b.leaders.mu.RLock()
	defer b.leaders.mu.RUnlock()
	for log, p := range b.places.of {
		if p.Holds(b.cfg.Replica) {
			logs++
			if b.leaders.of[log].replica != 0 {
				led++
			}
		}
	}
	return logs, led
}

// followPlaces notes where the logs are that a change names, before anything
// is opened. On the catalog's shard, as all that follows.
func (b *Broker) followPlaces(c *catalog.Change) {
	if c.Placement != nil {
		b.moved(c.Placement)
		return
	}
	for n, log := range c.Logs() {
		if c.Gone {
			b.places.set(log, nil)
			delete(b.places.owner, log)
			b.leaders.forget(log)
			b.groups.Delete(log)
			continue
		}
		if p := b.directory.catalog.Placement(log); p != nil {
			b.places.set(log, p)
			b.places.own(log, c, n)
			b.reconciler.look(log)
		}
	}
}

func (p *places) own(log record.LogID, c *catalog.Change, n int) {
	if p.owner == nil {
		p.owner = map[record.LogID]owner{}
	}
	switch {
	case c.Topic != nil:
		p.owner[log] = owner{topic: c.Topic.Name, partition: n}
	case c.Queue != nil:
		p.owner[log] = owner{vhost: c.VHost, queue: c.Queue.Name}
	default:
		p.owner[log] = owner{}
	}
}

// moved: the replicas of a log shall be elsewhere, or one of them is gone. When that
// is the one of this node, or a new one is, what the log belongs to begins
// anew in its new part: an object lives in one part for life.
func (b *Broker) moved(p *catalog.Placement) {
	old := b.places.get(p.Log)
	b.places.set(p.Log, p)
	b.reconciler.look(p.Log)
	b.herald.tell(p.Log)
	here := p.Holds(b.cfg.Replica)
	if old == nil || old.Holds(b.cfg.Replica) == here {
		return
	}
	if p.Log == catalog.LogID {
		b.log.Warn("this node leaves the cluster: stop it when waybill cluster status, asked of another node, shows it no more, and delete its data directory")
		return
	}
	b.groups.Delete(p.Log)
	b.log.Info("a replica moves", "log", p.Log, "to_this_node", here)
	switch o := b.places.owner[p.Log]; {
	case o.topic != "":
		b.replacePartition(o.topic, o.partition)
	case o.queue != "":
		if q, ok := b.queueOf(p.Log); ok {
			q.move(here)
		}
	default:
		b.replaceCoordinator(p.Log)
	}
}

// groupOf is the raft group of a log, nil when no replica of it is on this node.
func (b *Broker) groupOf(log record.LogID) *replica.Group {
	if g, ok := b.groups.Load(log); ok {
		return g.(*replica.Group)
	}
	return nil
}

// nodesOf turns replica ids into node ids; those of nodes that are gone are left out.
func (b *Broker) nodesOf(replicas []uint64) []uint64 {
	m := b.members.load()
	nodes := make([]uint64, 0, len(replicas))
	for _, id := range replicas {
		if n := m.byReplica[id]; n != nil {
			nodes = append(nodes, n.ID)
		}
	}
	return nodes
}

// elsewhere reports whether other nodes have replicas of a log.
func (b *Broker) elsewhere(log record.LogID) bool {
	p := b.places.get(log)
	return p != nil && (len(p.Replicas) > 1 || !p.Holds(b.cfg.Replica))
}
