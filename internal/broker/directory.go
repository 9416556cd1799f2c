package broker

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// directory hosts the catalog: it proposes commands to it and makes the
// broker's registries follow it, on every node alike. It implements
// replica.Machine; what is not said to be otherwise is touched on the catalog's
// shard only.
//
// The registries begin to follow when this node's own Start is applied, and
// not before: what lies before it in the log is history. A group that was moved away
// or deleted in the meantime must not be opened again with an empty log, as
// that replica would not remember what it has promised.
type directory struct {
	b         *Broker
	group     *replica.Group
	catalog   *catalog.Catalog
	run       string      // of this process, in its Start
	waiting   []*proposal // not built yet
	built     []*proposal // in the log, not applied yet, in order
	leads     bool
	following bool // the registries hold what the catalog names

	clusterID atomic.Value  // string; "" until the registries follow
	began     chan struct{} // closed when the registries follow
	reached   progress      // up to where the catalog's log is applied here
	closed    chan struct{} // closed by close: nobody is answered any more
}

// proposal is one command on its way through the catalog's log.
type proposal struct {
	cmd  *catalog.Command
	done chan answer // capacity 1
}

// misplaced asks to look again whether a replica shall be on this node.
type misplaced struct{ queue *Queue }

type answer struct {
	result catalog.Result
	index  record.Index // of the entry that carried the command
	err    error
}

func newDirectory(b *Broker) *directory {
	d := &directory{
		b: b, catalog: catalog.New(), run: randomText(22),
		began: make(chan struct{}), closed: make(chan struct{}),
	}
	d.clusterID.Store("")
	return d
}

// open starts the catalog's group, tells it that this node begins, and waits
// until the registries follow.
func (d *directory) open(ctx context.Context) error {
	g, err := d.b.host.Open(catalog.LogID, d.founders(), d)
	if err != nil {
		return fmt.Errorf("broker: the catalog cannot be read, and without it nothing can be served: %w", err)
	}
	d.group = g
	d.b.groups.Store(catalog.LogID, g)
	g.Start()
	if err := d.begin(ctx, d.b.cfg.Addresses); err != nil {
		return err
	}
	select {
	case <-d.began:
		return nil
	case <-ctx.Done():
		return unavailable("wait for the catalog", ctx.Err())
	}
}

// founders are the voters of the catalog's group when it came into being.
func (d *directory) founders() []uint64 {
	if len(d.b.cfg.Founders) == 0 {
		return []uint64{d.b.cfg.Replica}
	}
	var ids []uint64
	for _, n := range d.b.cfg.Founders {
		ids = append(ids, n.Replica)
	}
	return ids
}

// begin tells the catalog that this node begins, or that its addresses are other ones.
func (d *directory) begin(ctx context.Context, a Addresses) error {
	cfg := &d.b.cfg
	_, err := d.b.change(ctx, &catalog.Command{Start: &catalog.Start{
		Node: cfg.Node, Replica: cfg.Replica, Store: cfg.Store.ID(), Run: d.run,
		Addr: a.Cluster, AMQP: a.AMQP, Kafka: a.Kafka, HTTP: a.HTTP,
		ClusterID:    cfg.clusterID(),
		Coordinators: cfg.Coordinators,
		Founders:     cfg.Founders,
	}})
	return err
}

// clusterID is the id of a cluster that this node founds.
func (c *Config) clusterID() string {
	if c.ClusterID != "" {
		return c.ClusterID
	}
	return randomText(22)
}

func (d *directory) close() { close(d.closed) }

// Restore implements replica.Machine. While the registries follow it comes from
// another node, in place of the entries that this one has missed.
func (d *directory) Restore(state []byte) error {
	fresh := catalog.New()
	if err := fresh.Restore(state); err != nil {
		return err
	}
	old := d.catalog
	d.catalog = fresh
	if d.following {
		changes := fresh.Diff(old)
		d.b.followNodes(changes) // which compares with the members that were known before
		d.b.follow(changes)
		d.reached.set(fresh.Index())
		return nil
	}
	d.b.members.follow(fresh)
	if n := fresh.Node(d.b.cfg.Node); n != nil && n.Run == d.run {
		d.begins()
	} else {
		d.b.tellNodes() // they have to be reached for this node to begin
	}
	d.reached.set(fresh.Index())
	return nil
}

// Snapshot implements replica.Machine.
func (d *directory) Snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	return d.catalog.Snapshot(b), nil
}

// Handle implements replica.Machine. A single node will lead in a moment, if it does not
// yet; in a cluster the proposer looks for the leader.
func (d *directory) Handle(event any) {
	if m, ok := event.(misplaced); ok {
		if log := m.queue.spec.Log; !m.queue.here() && d.b.host.IsOpen(log) { // else the news of the move has found it
			d.b.groups.Delete(log)
			m.queue.move(false)
		}
		return
	}
	p := event.(*proposal)
	if !d.leads && d.b.cfg.Cluster != nil {
		p.done <- answer{err: replica.ErrNotLeader}
		return
	}
	d.waiting = append(d.waiting, p)
}

// Build implements replica.Machine.
func (d *directory) Build(limit int) []byte {
	if len(d.waiting) == 0 {
		return nil
	}
	data := record.Header{}.Append(nil)
	n := 0
	for n < len(d.waiting) && (n == 0 || len(data) < limit) {
		data = d.waiting[n].cmd.Append(data)
		n++
	}
	d.built = append(d.built, d.waiting[:n]...)
	d.waiting = append(d.waiting[:0], d.waiting[n:]...)
	return data
}

// Apply implements replica.Machine.
func (d *directory) Apply(e replica.Entry) {
	d.catalog.Reached(e.Index)
	_, payload, err := record.ParseHeader(e.Data)
	for err == nil && len(payload) > 0 {
		var cmd *catalog.Command
		if cmd, payload, err = catalog.ParseCommand(payload); err == nil {
			d.apply(cmd, e.Index)
		}
	}
	if err != nil {
		panic(fmt.Sprintf("broker: catalog entry %d: %v", e.Index, err))
	}
	d.reached.set(e.Index)
}

// apply carries out a command and answers who proposed it here.
func (d *directory) apply(cmd *catalog.Command, at record.Index) {
	r := d.catalog.Apply(cmd)
	d.b.followNodes(r.Changes)
	switch {
	case d.following:
		d.b.follow(r.Changes)
	case cmd.Start != nil && cmd.Start.Run == d.run && r.Err == nil:
		d.begins()
	}
	if cmd.Rebalance != nil && d.following {
		d.b.reconciler.prefer()
	}
	if d.leads {
		d.built[0].done <- answer{result: r, index: at}
		d.built = d.built[1:]
	}
}

// begins: this node's own Start is applied, what lived in its memory is gone
// from the catalog, and the registries can be filled.
func (d *directory) begins() {
	d.following = true
	d.clusterID.Store(d.catalog.ClusterID())
	changes := d.catalog.Changes()
	d.tidy(changes)
	d.b.places.set(catalog.LogID, d.catalog.Placement(catalog.LogID))
	d.b.follow(changes)
	d.b.followNodes(changes)
	close(d.began)
}

// tidy finishes the deletion of logs on this disk that the catalog gives up.
// It says so itself; what it does not know at all is kept.
func (d *directory) tidy(changes []catalog.Change) {
	known := map[record.LogID]bool{catalog.LogID: true}
	for _, c := range changes {
		for _, id := range c.Logs() {
			known[id] = true
		}
	}
	for _, id := range d.b.cfg.Store.Logs() {
		p := d.catalog.Placement(id)
		switch {
		case known[id] && (p == nil || p.Holds(d.b.cfg.Replica)):
		case known[id]:
			d.b.log.Info("deleting the copy of a log whose replica was moved to another node", "log", id)
			d.b.host.Remove(id)
		case id < d.catalog.NextLog():
			// The catalog gave this id out and no longer refers to it: its
			// deletion was acknowledged, but not yet carried out on this disk.
			d.b.log.Info("finishing the deletion of a log", "log", id)
			d.b.host.Remove(id)
		default:
			d.b.log.Error("a log on disk was never handed out by the catalog; it is kept and not served", "log", id)
		}
	}
}

// Lead implements replica.Machine.
func (d *directory) Lead(uint64) { d.leads = true }

// Follow implements replica.Machine.
func (d *directory) Follow(reason error) {
	d.leads = false
	for _, p := range d.built {
		p.done <- answer{err: replica.ErrUnknown}
	}
	for _, p := range d.waiting {
		p.done <- answer{err: reason}
	}
	d.built, d.waiting = nil, nil
}

// Timer implements replica.Machine.
func (d *directory) Timer(time.Time) {}

// follow makes the registries follow changes of the catalog.
func (b *Broker) follow(changes []catalog.Change) {
	for i := range changes {
		c := &changes[i]
		b.followPlaces(c)
		switch {
		case c.Node != nil, c.Placement != nil:
		case c.Coordinator != 0:
			b.addCoordinator(c.Coordinator)
		case c.Topic != nil:
			b.followTopic(c.Topic, c.Gone)
		default:
			b.vhost(c.VHost).follow(*c)
		}
	}
}

// errElsewhere: no replica of the log is on this node.
var errElsewhere = fmt.Errorf("%w: no replica of it is on this node", replica.ErrNotLeader)

// openGroup opens the raft group of something that the catalog names; the
// caller starts it, once the machine knows its group. errElsewhere when this
// node has no replica. A log that cannot be opened is reported and held: its owner answers
// with the error.
func (b *Broker) openGroup(what string, id record.LogID, m replica.Machine) (*replica.Group, error) {
	p := b.directory.catalog.Placement(id)
	if p == nil {
		panic(fmt.Sprintf("broker: %s, log %d, has no placement", what, id))
	}
	if !p.Holds(b.cfg.Replica) {
		return nil, errElsewhere
	}
	g, err := b.host.Open(id, p.Voters(b.cfg.Replica), m)
	if errors.Is(err, replica.ErrClosed) {
		return g, err
	}
	b.healer.opened(id, err)
	if err != nil {
		b.log.Error("held offline: its log cannot be read; nothing of it was deleted", "what", what, "log", id, "error", err)
	}
	if err == nil {
		b.groups.Store(id, g)
	}
	return g, err
}
