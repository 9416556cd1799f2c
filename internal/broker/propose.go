package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
)

const (
	// A proposal that failed is tried again after a pause that grows, or when
	// a leader becomes known.
	minPause = 5 * time.Millisecond
	maxPause = 100 * time.Millisecond
	// tryTimeout is how long one node may take to answer. Then the next try
	// may find that another one leads.
	tryTimeout = 3 * time.Second
	// sendTimeout bounds a proposal that nobody waits for.
	sendTimeout = time.Minute
)

// errLost: the answer of another node got lost; the command may or may not be
// carried out.
var errLost = errors.New("broker: the answer of the catalog's leader is lost")

// propose waits until cmd is applied, wherever the catalog is led, and here. It
// may be called from any goroutine but a shard's. In a cluster it tries again until
// ctx ends: every command can be repeated.
func (d *directory) propose(ctx context.Context, cmd *catalog.Command) (catalog.Result, error) {
	lost := false
	pause := minPause
	for {
		changed := d.b.leaders.change()
		a := d.try(ctx, cmd)
		if a.err == nil {
			return d.proposed(ctx, cmd, a, lost)
		}
		if ctx.Err() != nil {
			return catalog.Result{}, unavailable("change the catalog", ctx.Err())
		}
		if d.b.cfg.Cluster == nil || errors.Is(a.err, replica.ErrClosed) {
			return catalog.Result{}, unavailable("change the catalog", a.err)
		}
		lost = lost || !errors.Is(a.err, replica.ErrNotLeader)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
		case <-d.closed:
			return catalog.Result{}, unavailable("change the catalog", replica.ErrClosed)
		}
		timer.Stop()
		pause = min(2*pause, maxPause)
	}
}

// proposed takes the answer of the catalog, and waits until this node has come
// as far: what was declared is visible here when the client is told so.
func (d *directory) proposed(ctx context.Context, cmd *catalog.Command, a answer, lost bool) (catalog.Result, error) {
	if err := d.reached.wait(ctx, a.index, d.closed); err != nil {
		return catalog.Result{}, unavailable("wait for the catalog", err)
	}
	if lost && a.result.Err != nil && d.doneBefore(cmd, a.result.Err) {
		a.result.Err = nil
	}
	return a.result, nil
}

// doneBefore reports whether a refusal only says that an earlier try of the
// same command, whose answer got lost, was carried out.
func (d *directory) doneBefore(cmd *catalog.Command, e *catalog.Error) bool {
	switch {
	case cmd.DeleteTopic != nil:
		return e.Kind == catalog.NotFound
	case cmd.AddPartitions != nil:
		t, ok := d.b.Topic(cmd.AddPartitions.Name)
		return ok && len(t.Partitions) == int(cmd.AddPartitions.Total)
	}
	return false
}

// try proposes once: here, or at the node that leads.
func (d *directory) try(ctx context.Context, cmd *catalog.Command) answer {
	ctx, cancel := d.tryContext(ctx)
	defer cancel()
	if d.b.cfg.Cluster == nil || d.group.Leads() {
		return d.local(ctx, cmd)
	}
	lost := replica.ErrNotLeader
	for _, node := range d.candidates() {
		a := d.remote(ctx, node, cmd)
		if a.err == nil {
			return a
		}
		if !errors.Is(a.err, replica.ErrNotLeader) {
			lost = a.err
		}
	}
	return answer{err: lost}
}

func (d *directory) tryContext(ctx context.Context) (context.Context, context.CancelFunc) {
	if d.b.cfg.Cluster == nil {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, tryTimeout)
}

// candidates are the nodes that may lead the catalog: the one that does, or
// all others when that is not known.
func (d *directory) candidates() []uint64 {
	if node, _, ok := d.b.LeaderOf(catalog.LogID); ok && node != d.b.cfg.Node {
		return []uint64{node}
	}
	nodes := d.b.members.load().nodes
	if len(nodes) == 0 && len(d.b.cfg.Contacts) > 0 { // nothing is known yet
		return d.b.cfg.Contacts
	}
	if len(nodes) == 0 {
		for i := range d.b.cfg.Founders {
			nodes = append(nodes, &d.b.cfg.Founders[i])
		}
	}
	var ids []uint64
	for _, n := range nodes {
		if n.ID != d.b.cfg.Node && n.Member() {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// local proposes to the group on this node.
func (d *directory) local(ctx context.Context, cmd *catalog.Command) answer {
	p := &proposal{cmd: cmd, done: make(chan answer, 1)}
	if !d.group.Post(p) {
		return answer{err: replica.ErrClosed}
	}
	select {
	case a := <-p.done:
		return a
	case <-ctx.Done():
		return answer{err: ctx.Err()}
	case <-d.closed:
		return answer{err: replica.ErrClosed}
	}
}

// catalogAnswer is what service "catalog" answers, as JSON.
type catalogAnswer struct {
	NotLeader bool           `json:"not_leader,omitempty"` // nothing was proposed
	Lost      string         `json:"lost,omitempty"`       // why the outcome is not known
	Index     record.Index   `json:"index,omitempty"`
	Refused   *catalog.Error `json:"refused,omitempty"`
	FirstID   int64          `json:"first_id,omitempty"`
	Node      *catalog.Node  `json:"node,omitempty"`
}

// remote proposes at another node.
func (d *directory) remote(ctx context.Context, node uint64, cmd *catalog.Command) answer {
	reply, err := d.b.cfg.Cluster.Call(ctx, node, "catalog", cmd.Append(nil))
	if err != nil {
		return answer{err: fmt.Errorf("%w: %w", errLost, err)}
	}
	var a catalogAnswer
	switch err := json.Unmarshal(reply, &a); {
	case err != nil:
		return answer{err: fmt.Errorf("%w: %w", errLost, err)}
	case a.NotLeader:
		return answer{err: replica.ErrNotLeader}
	case a.Lost != "":
		return answer{err: fmt.Errorf("%w: %s", errLost, a.Lost)}
	}
	return answer{index: a.Index, result: catalog.Result{Err: a.Refused, FirstID: a.FirstID, Node: a.Node}}
}

// serveCatalog proposes a command for another node, if the catalog is led here.
func (b *Broker) serveCatalog(ctx context.Context, _ uint64, request []byte) ([]byte, error) {
	cmd, _, err := catalog.ParseCommand(request)
	if err != nil {
		return nil, err
	}
	d := b.directory
	if g := b.groupOf(catalog.LogID); g == nil || !g.Leads() {
		return json.Marshal(catalogAnswer{NotLeader: true})
	}
	ctx, cancel := d.tryContext(ctx)
	defer cancel()
	a := d.local(ctx, cmd)
	switch {
	case errors.Is(a.err, replica.ErrNotLeader):
		return json.Marshal(catalogAnswer{NotLeader: true})
	case a.err != nil:
		return json.Marshal(catalogAnswer{Lost: a.err.Error()})
	}
	return json.Marshal(catalogAnswer{Index: a.index, Refused: a.result.Err, FirstID: a.result.FirstID, Node: a.result.Node})
}

// send proposes cmd and does not wait. It may be called from a shard.
func (d *directory) send(cmd *catalog.Command) {
	if d.b.cfg.Cluster == nil {
		d.group.Post(&proposal{cmd: cmd, done: make(chan answer, 1)})
		return
	}
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), sendTimeout)
		defer cancel()
		if _, err := d.propose(ctx, cmd); err != nil {
			d.b.log.Warn("a change of the catalog that nobody waits for was not made", "error", err)
		}
	}()
}

// latest waits until this node knows all that the catalog holds now.
func (d *directory) latest(ctx context.Context) error {
	if d.b.cfg.Cluster == nil {
		return nil
	}
	done := make(chan error, 1)
	d.group.Read(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-d.closed:
		return replica.ErrClosed
	}
}

// progress tells how far something has come, and lets others wait for it.
type progress struct {
	mu      sync.Mutex // guards the rest
	at      record.Index
	changed chan struct{} // closed at the next change; nil while nobody waits
}

func (p *progress) set(at record.Index) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = max(p.at, at)
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

func (p *progress) now() record.Index {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.at
}

// wait returns when at is reached, or with an error when ctx ends or closed is closed.
func (p *progress) wait(ctx context.Context, at record.Index, closed <-chan struct{}) error {
	for {
		p.mu.Lock()
		reached := p.at
		if reached < at && p.changed == nil {
			p.changed = make(chan struct{})
		}
		changed := p.changed
		p.mu.Unlock()
		if reached >= at {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-closed:
			return replica.ErrClosed
		}
	}
}
