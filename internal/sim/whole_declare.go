package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"waybill/internal/broker"
	"waybill/internal/record"
)

// declarer declares queues, binds them, and deletes them, at any node. What it was told is done must be so
// from then on, at that node at once and in the end at all.
type declarer struct {
	user
	want  map[string]presence
	names []string // that are in use
	made  int
}

type presence int

const (
	unknown presence = iota // an answer was lost
	absent
	there   // with or without its binding: an answer was lost
	present // with its binding
)

const theExchange = "x"

func (d *declarer) run() {
	for range 4 {
		d.names = append(d.names, d.fresh())
	}
	for !d.h.calm.Load() && d.sleep(400*time.Millisecond) {
		p := d.connect()
		if p == nil {
			return
		}
		d.act(p)
	}
}

// fresh makes up a name.
func (d *declarer) fresh() string {
	d.made++
	return fmt.Sprintf("d%d", d.made-1)
}

// act does one thing at a node.
func (d *declarer) act(p *process) {
	ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
	defer cancel()
	s, err := p.broker.OpenSession(broker.DefaultVHost)
	if err != nil {
		d.h.w.fail("%s: n%d: %v", d.name, p.n.id, err)
		return
	}
	defer s.Close(ctx)
	i := d.rng.IntN(len(d.names))
	name := d.names[i]
	if d.want[name] == present && d.chance(2) {
		if _, err := s.DeleteQueue(ctx, name, false, false); err != nil {
			// For a minute it may still happen, also to a queue that was found and declared again meanwhile: nothing
			// can be said of the name any more.
			d.trace("deletes %s at n%d: %v", name, p.n.id, err)
			delete(d.want, name)
			d.names[i] = d.fresh()
			return
		}
		d.trace("has deleted %s at n%d", name, p.n.id)
		d.want[name] = absent
		d.look(ctx, p, s, name)
		return
	}
	if d.want[name] != present {
		d.want[name] = unknown
	}
	if err := d.declare(ctx, s, name); err != nil {
		d.trace("declares %s at n%d: %v", name, p.n.id, err)
		return
	}
	d.trace("has declared %s at n%d", name, p.n.id)
	d.want[name] = present
	d.look(ctx, p, s, name)
}

// declare makes a queue with a binding.
func (d *declarer) declare(ctx context.Context, s *broker.Session, name string) error {
	if err := s.DeclareExchange(ctx, broker.ExchangeSpec{Name: theExchange, Type: "direct", Durable: true}); err != nil {
		return err
	}
	if _, err := s.DeclareQueue(ctx, broker.QueueSpec{Name: name, Durable: true}); err != nil {
		return err
	}
	return s.Bind(ctx, broker.Binding{Source: theExchange, Destination: name, Key: name})
}

// look compares what a node knows of a queue with what is to be so.
func (d *declarer) look(ctx context.Context, p *process, s *broker.Session, name string) {
	want := d.want[name]
	_, err := s.CheckQueue(ctx, name)
	missing := isMissing(err)
	if want >= there && missing || want == absent && !missing {
		d.h.w.fail("%s: %s is %s, and n%d says: %v", d.name, name, [...]string{"unknown", "deleted", "there", "declared"}[want], p.n.id, err)
		return
	}
	m := record.Message{TTL: record.NoTTL, RoutingKey: []byte(name), Body: []byte("to see where it goes")}
	n, err := s.Publish(&broker.Publication{Exchange: theExchange, RoutingKey: name, Stored: m.Append(nil)}, nil, 0)
	if err != nil || want == present && n != 1 || want == absent && n != 0 {
		d.h.w.fail("%s: a message for %s is routed to %d queues at n%d, %v", d.name, name, n, p.n.id, err)
	}
}

func isMissing(err error) bool {
	var e *broker.Error
	return errors.As(err, &e) && e.Kind == broker.NotFound
}

// judge looks at every queue at a node, when no change is under way.
func (d *declarer) judge(u *user, n *node) {
	p := n.proc
	if p == nil || !p.ready.Load() {
		return
	}
	s, err := p.broker.OpenSession(broker.DefaultVHost)
	if err != nil {
		u.h.w.fail("n%d: %v", n.id, err)
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
	defer cancel()
	for _, name := range slices.Sorted(maps.Keys(d.want)) {
		if d.want[name] == unknown {
			_, err := s.CheckQueue(ctx, name)
			d.want[name] = map[bool]presence{true: absent, false: there}[isMissing(err)] // and the other nodes agree
		}
		d.look(ctx, p, s, name)
	}
}
