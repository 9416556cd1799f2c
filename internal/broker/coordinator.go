package broker

import (
	"errors"
	"hash/fnv"
	"io"
	"slices"
	"time"

	"waybill/internal/group"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// Coordinator hosts the consumer groups of one coordinator log. It implements
// replica.Machine; the machine inside is touched on the group's shard only.
type Coordinator struct {
	b       *Broker
	id      record.LogID
	now     func() time.Time
	machine *group.Machine
	group   *replica.Group // nil when its log is damaged, or elsewhere
	refusal group.Code     // what requests get without a group
	timer   time.Time      // what SetTimer was told last
}

// call is one request on its way to the machine.
type call struct {
	request group.Request
	done    func(response any)
}

// topicGone tells that a topic was deleted.
type topicGone struct{ id [16]byte }

// newCoordinator starts a coordinator that the catalog names. With a damaged
// log it stays, and refuses its groups: they must not move to another one.
func newCoordinator(b *Broker, id record.LogID, cfg GroupConfig) *Coordinator {
	if cfg == (GroupConfig{}) {
		cfg = DefaultGroupConfig()
	}
	c := &Coordinator{b: b, id: id, now: b.cfg.Now, machine: group.New(cfg), refusal: group.NotAvailable}
	g, err := b.openGroup("coordinator of consumer groups", id, c)
	switch {
	case err == nil:
		c.group = g
		g.Start()
	case errors.Is(err, errElsewhere):
		c.refusal = group.NotCoordinator
	}
	return c
}

// addCoordinator follows the catalog, on its shard, as does replaceCoordinator.
func (b *Broker) addCoordinator(id record.LogID) {
	list := append(slices.Clip(b.coordinatorList()), newCoordinator(b, id, b.cfg.Groups))
	b.coordinators.Store(&list)
}

// replaceCoordinator: a replica of its log comes to this node, or has left it.
func (b *Broker) replaceCoordinator(id record.LogID) {
	list := slices.Clone(b.coordinatorList())
	for i, c := range list {
		if c.id == id {
			if c.refusal != group.NotCoordinator { // then there is a copy here, damaged perhaps
				b.host.Remove(id)
			}
			list[i] = newCoordinator(b, id, b.cfg.Groups)
		}
	}
	b.coordinators.Store(&list)
}

// coordinatorList lists the coordinators, always in the same order.
func (b *Broker) coordinatorList() []*Coordinator {
	if list := b.coordinators.Load(); list != nil {
		return *list
	}
	return nil
}

// CoordinatorOf tells which node coordinates a consumer group; ok is false while
// that is not known.
func (b *Broker) CoordinatorOf(group string) (node uint64, ok bool) {
	node, _, ok = b.LeaderOf(b.coordinator(group).id)
	return node, ok
}

// coordinator is the one that a group belongs to, for ever: their number never
// changes.
func (b *Broker) coordinator(name string) *Coordinator {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name) // a hash takes everything
	list := b.coordinatorList()
	return list[h.Sum32()%uint32(len(list))]
}

// ask hands a request to the machine. done is called once, from any goroutine,
// and must not block.
func ask[T any](c *Coordinator, r group.Request, done func(T)) {
	deliver := func(response any) { done(response.(T)) }
	if code := c.away(); code != group.None {
		deliver(group.Refuse(r, code))
		return
	}
	if c.group == nil || !c.group.Post(&call{r, deliver}) {
		deliver(group.Refuse(r, c.refusal))
	}
}

// askNewest is ask for what must not be answered by a leader that was replaced
// without knowing it.
func askNewest[T any](c *Coordinator, r group.Request, done func(T)) {
	if c.b.cfg.Cluster == nil || c.group == nil {
		ask(c, r, done)
		return
	}
	deliver := func(response any) { done(response.(T)) }
	if code := c.away(); code != group.None {
		deliver(group.Refuse(r, code))
		return
	}
	c.group.Read(func(err error) {
		if err != nil {
			deliver(group.Refuse(r, group.NotCoordinator))
			return
		}
		c.Handle(&call{r, deliver})
	})
}

// away says why the groups are not coordinated here at the moment: clients look
// for their coordinator again on NotCoordinator and NotAvailable, and try again here on
// LoadInProgress.
func (c *Coordinator) away() group.Code {
	if c.group == nil || c.b.cfg.Cluster == nil || c.group.Leads() {
		return group.None
	}
	switch node, _, ok := c.b.LeaderOf(c.id); {
	case !ok:
		return group.NotAvailable
	case node != c.b.cfg.Node:
		return group.NotCoordinator
	}
	return group.LoadInProgress
}

// send answers those who asked.
func (c *Coordinator) send(replies []group.Reply) {
	for _, r := range replies {
		r.To.(*call).done(r.Response)
	}
}

// rearm follows the machine's wish for the next Timer.
func (c *Coordinator) rearm() {
	if next := c.machine.Next(); !next.Equal(c.timer) {
		c.timer = next
		c.group.SetTimer(next)
	}
}

// Restore implements replica.Machine.
func (c *Coordinator) Restore(state []byte) error { return c.machine.Restore(state) }

// Snapshot implements replica.Machine.
func (c *Coordinator) Snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	return c.machine.Snapshot(b), nil
}

// Apply implements replica.Machine.
func (c *Coordinator) Apply(e replica.Entry) {
	c.send(c.machine.Apply(c.now(), e.Data))
	c.rearm()
}

// Lead implements replica.Machine.
func (c *Coordinator) Lead(uint64) {
	c.machine.Lead(c.now())
	c.rearm()
}

// Follow implements replica.Machine.
func (c *Coordinator) Follow(error) {
	c.send(c.machine.Follow())
	c.rearm()
}

// Handle implements replica.Machine.
func (c *Coordinator) Handle(event any) {
	switch e := event.(type) {
	case *call:
		c.send(c.machine.Step(c.now(), e, e.request))
	case topicGone:
		c.machine.ForgetTopic(e.id)
	}
	c.rearm()
}

// Build implements replica.Machine.
func (c *Coordinator) Build(limit int) []byte { return c.machine.Build(limit) }

// Timer implements replica.Machine.
func (c *Coordinator) Timer(now time.Time) {
	c.timer = time.Time{}
	c.send(c.machine.Tick(now))
	c.rearm()
}
