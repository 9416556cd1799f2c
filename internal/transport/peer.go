package transport

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	heartbeat = 100 * time.Millisecond
	// silence is the number of heartbeats without an answer after which a peer is
	// down. It counts this node's own ticks: after this process was stopped for a while, it
	// first listens again.
	silence = 10

	redialTimeout = time.Second     // of a peer that was up a moment ago
	dialTimeout   = 3 * time.Second // of one that was not
	backoffFirst  = 50 * time.Millisecond
	backoffLast   = time.Second
)

var errSilent = errors.New("it has not answered for a second")

// peer is another node, and the connection that this node dials for its
// messages.
type peer struct {
	t       *Transport
	node    uint64
	ctx     context.Context
	cancel  context.CancelFunc
	metrics *peerMetrics
	link    atomic.Pointer[link] // nil while there is no connection
	up      atomic.Bool
	down    atomic.Pointer[error] // why it is not up; nil while it is, or that is not known yet
	kick    chan struct{}         // one token: dial now
	caller  caller

	mu   sync.Mutex // guards addr
	addr string

	told  time.Time     // owned by run: when it was logged that the peer is down
	met   bool          // owned by run: it was up once
	ended chan struct{} // closed when run has returned
}

func newPeer(t *Transport, node uint64, addr string) *peer {
	p := &peer{t: t, node: node, addr: addr, kick: make(chan struct{}, 1), ended: make(chan struct{}), metrics: t.metrics.of(node)}
	p.ctx, p.cancel = context.WithCancel(t.ctx)
	p.caller.init(p)
	return p
}

// reachable fails at once for a peer that is down: run dials it, and nobody
// else has to wait for what does not answer.
func (p *peer) reachable() error {
	why := p.down.Load()
	switch {
	case why == nil:
		return nil
	case errors.Is(*why, ErrUnreachable):
		return *why
	}
	return unreachable(p.node, p.address(), *why)
}

func (p *peer) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// moveTo gives the peer another address, which the next dial uses.
func (p *peer) moveTo(addr string) {
	p.mu.Lock()
	moved := p.addr != addr
	p.addr = addr
	p.mu.Unlock()
	if moved {
		p.retry()
	}
}

// retry ends a pause between dials.
func (p *peer) retry() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// run keeps a connection to the peer, and tells whether it is up. before is one
// with the same number that was removed: it has its last word first.
func (p *peer) run(before *peer) {
	defer close(p.ended)
	defer p.tell(false, context.Canceled)
	if before != nil {
		<-before.ended
	}
	backoff := backoffFirst
	for p.ctx.Err() == nil {
		l, err := p.dial()
		if err != nil {
			p.tell(false, err)
			p.pause(backoff)
			backoff = min(2*backoff, backoffLast)
			continue
		}
		p.link.Store(l)
		p.tell(true, nil)
		err = l.run(p.ctx)
		p.link.Store(nil)
		if errors.Is(err, errSilent) {
			p.tell(false, err)
		}
		if l.heard.Load() > 0 {
			backoff = backoffFirst
		} else {
			p.pause(backoff) // it takes connections, and cuts them at once
			backoff = min(2*backoff, backoffLast)
		}
	}
}

func (p *peer) dial() (*link, error) {
	limit := dialTimeout
	if p.up.Load() {
		limit = redialTimeout
	}
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	c, err := p.t.connect(ctx, p.address(), p.node, kindMessages, "")
	if err != nil {
		return nil, err
	}
	return newLink(c, p.metrics), nil
}

// pause waits about as long as told, not to come together with all others.
func (p *peer) pause(d time.Duration) {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-p.kick:
	case <-p.ctx.Done():
	}
}

// downAgain is how often it is logged of a peer that stays down.
const downAgain = time.Minute

// tell tells a change. Of a peer that goes down all connections are cut, so that
// nobody waits for its answers.
func (p *peer) tell(up bool, err error) {
	changed := p.up.Swap(up) != up || !up && p.down.Load() == nil
	p.down.Store(nil)
	if !up {
		p.down.Store(&err)
	}
	if now := time.Now(); !up && p.ctx.Err() == nil && (changed || now.Sub(p.told) >= downAgain) {
		level, text := slog.LevelWarn, "a node is down"
		if !p.met && p.told.IsZero() {
			level, text = slog.LevelInfo, "a node is not up yet"
		}
		p.told = now
		p.t.log.Log(p.ctx, level, text, "node", p.node, "addr", p.address(), "err", err)
	}
	if !changed {
		return
	}
	p.t.mu.Lock()
	tell := p.t.onPeer
	if !up {
		p.t.closeConns(p.node)
	}
	p.t.mu.Unlock()
	p.metrics.setUp(up)
	if up {
		p.met = true
		p.t.log.Info("a node is up", "node", p.node, "addr", p.address())
	}
	if tell != nil && p.t.ctx.Err() == nil {
		tell(p.node, up)
	}
}
