package sim

import (
	"context"
	"sync/atomic"
	"time"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// process is one life of a node with a broker.
type process struct {
	n      *node
	ctx    context.Context // ends with it
	end    context.CancelFunc
	broker *broker.Broker
	ready  atomic.Bool // it serves clients
}

// boot starts the broker on a store that is open, when it is known who the node is.
func (n *node) boot() {
	w := n.w
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{n: n, ctx: ctx, end: cancel}
	n.proc = p
	if n.replica == 0 {
		go w.whole.admit(p, w.whole.user(""), uint64(n.id), n.store.ID())
		return
	}
	p.boot()
}

// admitted: the node has its replica id.
func (p *process) admitted(replica uint64) {
	n := p.n
	if n.proc != p {
		return
	}
	n.replica = replica
	n.w.replicas[replica] = n
	p.boot()
}

func (p *process) boot() {
	n, w := p.n, p.n.w
	leaders := broker.NewLeaders()
	n.host = replica.NewHost(replica.Config{
		Store: n.store, ReplicaID: n.replica, Transport: link{n}, Manual: true, Go: n.spawn, Woken: p.woken,
		OnApply: w.whole.compare,
		OnLeader: func(log record.LogID, leader, term uint64) {
			if leader == n.replica {
				w.trace("n%d leads log %d in term %d", n.id, log, term)
			}
			leaders.Set(log, leader, term)
		},
		Shards: 2, Now: n.time, Logger: n.logger(),
	})
	var err error
	p.broker, err = broker.New(broker.Config{
		Store: n.store, Host: n.host, Node: uint64(n.id), Replica: n.replica, Founders: w.whole.founders,
		Cluster: wire{p}, Leaders: leaders, Coordinators: 2, Now: n.time, Logger: n.logger(),
	})
	if err != nil {
		w.fail("n%d: %v", n.id, err)
		return
	}
	w.trace("n%d is up as replica %d", n.id, n.replica)
	n.kick()
	go func() {
		err := p.broker.Start(p.ctx)
		w.post(func() {
			switch {
			case p.ctx.Err() != nil:
			case err != nil:
				w.trace("n%d cannot start: %v", n.id, err)
				n.mayBeDamaged(err)
			default:
				w.trace("n%d serves", n.id)
				p.ready.Store(true)
				w.whole.serves(n, p)
			}
		})
	}()
}

// woken: there is something for the host to do. It is called from any goroutine.
func (p *process) woken() {
	if !p.n.poked.Swap(true) {
		p.n.w.post(func() {
			p.n.poked.Store(false)
			p.n.kick()
		})
	}
}

// die ends the process of a node that is down by now: nobody hears from it any more.
func (n *node) die() {
	p := n.proc
	n.proc = nil
	if p == nil {
		return
	}
	p.ready.Store(false)
	n.w.whole.serves(n, nil)
	p.end()
	for _, e := range n.ends {
		e.fail(errReset)
	}
	for _, c := range n.calls {
		c.answer(nil, errUnreachable)
	}
	n.ends, n.calls = nil, nil
	if p.broker != nil {
		go p.broker.Close() // its goroutines end
	}
}

// end ends all processes, so that the bubble can.
func (w *World) end() {
	if !w.cfg.Broker {
		return
	}
	w.calm = true
	if w.whole != nil {
		w.whole.stop()
	}
	for _, n := range w.nodes {
		if n.up {
			n.crash("the run is over", n.disk)
		}
		n.die()
	}
	time.Sleep(2 * time.Minute) // what still waits gives up: a bubble has no time without its first goroutine
}
