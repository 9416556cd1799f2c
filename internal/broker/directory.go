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
// broker's registries follow it. It implements replica.Machine; what is not
// said to be otherwise is touched on the catalog's shard only.
type directory struct {
	b         *Broker
	group     *replica.Group
	catalog   *catalog.Catalog
	waiting   []*proposal // not built yet
	built     []*proposal // in the log, not applied yet, in order
	leads     bool
	following bool // the registries hold what the catalog names

	clusterID atomic.Value  // string; "" until the catalog is started
	closed    chan struct{} // closed by close: nobody is answered any more
}

// proposal is one command on its way through the catalog's log.
type proposal struct {
	cmd  *catalog.Command
	done chan answer // capacity 1
}

type answer struct {
	result catalog.Result
	err    error
}

func newDirectory(b *Broker) *directory {
	d := &directory{b: b, catalog: catalog.New(), closed: make(chan struct{})}
	d.clusterID.Store("")
	return d
}

// open starts the catalog's group and tells it that this node begins.
func (d *directory) open(ctx context.Context) error {
	g, err := d.b.host.Open(catalog.LogID, []uint64{d.b.cfg.Replica}, d)
	if err != nil {
		return fmt.Errorf("broker: the catalog cannot be read, and without it nothing can be served: %w", err)
	}
	d.group = g
	g.Start()
	_, err = d.b.change(ctx, &catalog.Command{Start: &catalog.Start{
		Node:         d.b.cfg.Node,
		Replica:      d.b.cfg.Replica,
		Store:        d.b.cfg.Store.ID(),
		ClusterID:    randomText(22),
		Coordinators: d.b.cfg.Coordinators,
	}})
	return err
}

func (d *directory) close() { close(d.closed) }

// propose waits until cmd is applied. It may be called from any goroutine but
// a shard's.
func (d *directory) propose(ctx context.Context, cmd *catalog.Command) (catalog.Result, error) {
	p := &proposal{cmd: cmd, done: make(chan answer, 1)}
	if !d.group.Post(p) {
		return catalog.Result{}, unavailable("change the catalog", replica.ErrClosed)
	}
	select {
	case a := <-p.done:
		if a.err != nil {
			return catalog.Result{}, unavailable("change the catalog", a.err)
		}
		return a.result, nil
	case <-ctx.Done():
		return catalog.Result{}, unavailable("change the catalog", ctx.Err())
	case <-d.closed:
		return catalog.Result{}, unavailable("change the catalog", replica.ErrClosed)
	}
}

// send proposes cmd and does not wait.
func (d *directory) send(cmd *catalog.Command) {
	d.group.Post(&proposal{cmd: cmd, done: make(chan answer, 1)})
}

// Restore implements replica.Machine.
func (d *directory) Restore(state []byte) error { return d.catalog.Restore(state) }

// Snapshot implements replica.Machine.
func (d *directory) Snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	return d.catalog.Snapshot(b), nil
}

// Handle implements replica.Machine.
func (d *directory) Handle(event any) {
	d.waiting = append(d.waiting, event.(*proposal))
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
	_, payload, err := record.ParseHeader(e.Data)
	for err == nil && len(payload) > 0 {
		var cmd *catalog.Command
		if cmd, payload, err = catalog.ParseCommand(payload); err == nil {
			d.apply(cmd)
		}
	}
	if err != nil {
		panic(fmt.Sprintf("broker: catalog entry %d: %v", e.Index, err))
	}
}

func (d *directory) apply(cmd *catalog.Command) {
	r := d.catalog.Apply(cmd)
	if d.leads && cmd.Start != nil {
		d.began()
	} else if d.following {
		d.b.follow(r.Changes)
	}
	if d.leads {
		d.built[0].done <- answer{result: r}
		d.built = d.built[1:]
	}
}

// began: this node's own Start is applied, what lived in its memory is gone
// from the catalog, and the registries can be filled.
func (d *directory) began() {
	d.following = true
	d.clusterID.Store(d.catalog.ClusterID())
	known := map[record.LogID]bool{catalog.LogID: true}
	changes := d.catalog.Changes()
	for _, c := range changes {
		for _, id := range c.Logs() {
			known[id] = true
		}
	}
	for _, id := range d.b.cfg.Store.Logs() {
		switch {
		case known[id]:
		case id < d.catalog.NextLog():
			// The catalog gave this id out and no longer refers to it: its
			// deletion was acknowledged, but not yet carried out on this disk.
			d.b.log.Info("finishing the deletion of a log", "log", id)
			d.b.host.Remove(id)
		default:
			d.b.log.Error("a log on disk was never handed out by the catalog; it is kept and not served", "log", id)
		}
	}
	d.b.follow(changes)
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
	for _, c := range changes {
		switch {
		case c.Node != nil, c.Placement != nil:
			b.followNodes()
		case c.Coordinator != 0:
			b.coordinators = append(b.coordinators, newCoordinator(b, c.Coordinator, b.cfg.Groups))
		case c.Topic != nil:
			b.followTopic(c.Topic, c.Gone)
		default:
			b.vhost(c.VHost).follow(c)
		}
	}
}

// openGroup opens the raft group of something that the catalog names; the
// caller starts it, once the machine knows its group. A log that cannot be
// opened is reported and held: its owner answers with the error.
func (b *Broker) openGroup(what string, id record.LogID, m replica.Machine) (*replica.Group, error) {
	g, err := b.host.Open(id, []uint64{b.cfg.Replica}, m)
	if err != nil && !errors.Is(err, replica.ErrClosed) {
		b.metrics.offline.Inc()
		b.log.Error("held offline: its log cannot be read; nothing of it was deleted", "what", what, "log", id, "error", err)
	}
	return g, err
}
