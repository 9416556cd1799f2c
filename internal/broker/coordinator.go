package broker

import (
	"hash/fnv"
	"io"
	"time"

	"waybill/internal/group"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// Coordinator hosts the consumer groups of one coordinator log. It implements
// replica.Machine; the machine inside is touched on the group's shard only.
type Coordinator struct {
	now     func() time.Time
	machine *group.Machine
	group   *replica.Group // nil when its log is damaged
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
	c := &Coordinator{now: b.cfg.Now, machine: group.New(cfg)}
	if g, err := b.openGroup("coordinator of consumer groups", id, c); err == nil {
		c.group = g
		g.Start()
	}
	return c
}

// coordinator is the one that a group belongs to, for ever: their number never
// changes.
func (b *Broker) coordinator(name string) *Coordinator {
	h := fnv.New32a()
	_, _ = io.WriteString(h, name) // a hash takes everything
	return b.coordinators[h.Sum32()%uint32(len(b.coordinators))]
}

// ask hands a request to the machine. done is called once, from any goroutine,
// and must not block.
func ask[T any](c *Coordinator, r group.Request, done func(T)) {
	deliver := func(response any) { done(response.(T)) }
	if c.group == nil || !c.group.Post(&call{r, deliver}) {
		deliver(group.Refuse(r, group.NotAvailable))
	}
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
