package clustertest

import (
	"maps"
	"net"
	"sync"
	"testing"
	"time"
)

// Fault is what happens to the bytes that go from one node to another.
type Fault int

// The faults of a direction.
const (
	Open Fault = iota
	// Cut resets the connections and refuses new ones, as a killed machine behind a live switch does.
	Cut
	// Stall lets nothing pass, and tells nobody, as a dropped packet does. What was
	// sent arrives when the direction is open again.
	Stall
	// HalfOpen closes the receiver's end of the connections and not the sender's, as a
	// receiver does that has restarted behind a firewall.
	HalfOpen
)

func (f Fault) String() string { return [...]string{"open", "cut", "stall", "half open"}[f] }

// direction is an ordered pair of nodes.
type direction struct{ from, to uint64 }

// rule is what holds for a direction.
type rule struct {
	fault Fault
	delay time.Duration
}

// Network is what lies between the nodes. It may be used from any goroutine.
type Network struct {
	mu        sync.Mutex
	pids      map[uint64]int // the process of each node that was started
	rules     map[direction]rule
	changed   chan struct{} // closed when a rule changes, and replaced
	pipes     map[*pipe]struct{}
	listeners map[uint64]net.Listener
	running   sync.WaitGroup
	closed    bool
}

// pipe is a connection between two nodes, through the proxy.
type pipe struct {
	dialer, target uint64
	near, far      net.Conn // to the node that has dialed, and to the one it dialed
	done           chan struct{}
	once           sync.Once
}

func (p *pipe) close() {
	p.once.Do(func() {
		close(p.done)
		for _, c := range []net.Conn{p.near, p.far} {
			if t, ok := c.(*net.TCPConn); ok {
				_ = t.SetLinger(0) // a reset, not an end in order; it is gone anyway
			}
			_ = c.Close()
		}
	})
}

func newNetwork(t testing.TB) *Network {
	n := &Network{
		pids: map[uint64]int{}, rules: map[direction]rule{}, changed: make(chan struct{}),
		pipes: map[*pipe]struct{}{}, listeners: map[uint64]net.Listener{},
	}
	t.Cleanup(n.close)
	return n
}

// add puts a proxy before the node that listens on addr; others are told the
// address that add returns.
func (n *Network) add(t testing.TB, node uint64, addr string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n.mu.Lock()
	n.listeners[node] = l
	n.mu.Unlock()
	n.running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			n.running.Go(func() { n.serve(node, addr, c) })
		}
	})
	return l.Addr().String()
}

func (n *Network) close() {
	n.mu.Lock()
	n.closed = true
	for _, l := range n.listeners {
		_ = l.Close() // it listens to nobody any more
	}
	for p := range n.pipes {
		p.close()
	}
	n.mu.Unlock()
	n.running.Wait()
}

// serve joins a connection with the node that it is for.
func (n *Network) serve(target uint64, addr string, near net.Conn) {
	dialer := n.owner(near)
	if dialer == 0 || n.rule(dialer, target).fault == Cut || n.rule(target, dialer).fault == Cut {
		_ = near.Close() // refused, as far as a proxy can
		return
	}
	far, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		_ = near.Close() // the node is down
		return
	}
	p := &pipe{dialer: dialer, target: target, near: near, far: far, done: make(chan struct{})}
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		p.close()
		return
	}
	n.pipes[p] = struct{}{}
	n.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { n.carry(p, direction{dialer, target}, near, far) })
	both.Go(func() { n.carry(p, direction{target, dialer}, far, near) })
	both.Wait()
	p.close()
	n.mu.Lock()
	delete(n.pipes, p)
	n.mu.Unlock()
}

// chunk is what was read at a time.
type chunk struct {
	data []byte
	at   time.Time
}

// carry moves bytes in one direction. Reading goes on while bytes are delayed, within a bound.
func (n *Network) carry(p *pipe, d direction, from, to net.Conn) {
	chunks := make(chan chunk, 256)
	n.running.Go(func() {
		defer close(chunks)
		for {
			buf := make([]byte, 32<<10)
			k, err := from.Read(buf)
			if k > 0 {
				select {
				case chunks <- chunk{buf[:k], time.Now()}:
				case <-p.done:
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range chunks {
		if !n.admit(p, d, c.at) {
			return
		}
		if _, err := to.Write(c.data); err != nil {
			break
		}
	}
	// The end of the stream is delayed and stalled like its bytes; and where the receiver of the other
	// direction is half open, this end must not tell.
	if n.admit(p, d, time.Now()) && n.admit(p, direction{d.to, d.from}, time.Time{}) {
		p.close()
	}
}

// admit waits until a chunk may pass that was read at a time, and reports whether it may at all.
func (n *Network) admit(p *pipe, d direction, at time.Time) bool {
	for {
		n.mu.Lock()
		r, changed := n.rules[d], n.changed
		n.mu.Unlock()
		var due <-chan time.Time
		switch {
		case r.fault == Stall, r.fault == HalfOpen:
		case r.delay > 0 && time.Since(at) < r.delay:
			due = time.After(r.delay - time.Since(at))
		default:
			select {
			case <-p.done:
				return false
			default:
				return true
			}
		}
		select {
		case <-due:
		case <-changed:
		case <-p.done:
			return false
		}
	}
}

func (n *Network) rule(from, to uint64) rule {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.rules[direction{from, to}]
}

// Set sets what happens to what from sends to to.
func (n *Network) Set(from, to uint64, f Fault) { n.change(from, to, func(r *rule) { r.fault = f }) }

// Delay delays what from sends to to.
func (n *Network) Delay(from, to uint64, d time.Duration) {
	n.change(from, to, func(r *rule) { r.delay = d })
}

func (n *Network) change(from, to uint64, change func(*rule)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	r := n.rules[direction{from, to}]
	before := r.fault
	change(&r)
	n.rules[direction{from, to}] = r
	for p := range n.pipes {
		forward, back := p.dialer == from && p.target == to, p.dialer == to && p.target == from
		if !forward && !back {
			continue
		}
		switch {
		case r.fault == Cut, before == HalfOpen:
			p.close()
		case r.fault == HalfOpen && forward:
			_ = p.far.Close() // the receiver's end
		case r.fault == HalfOpen:
			_ = p.near.Close()
		}
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

// Between sets both directions between two nodes.
func (n *Network) Between(a, b uint64, f Fault) {
	n.Set(a, b, f)
	n.Set(b, a, f)
}

// Isolate sets both directions between a node and all the others.
func (n *Network) Isolate(node uint64, f Fault) {
	for _, other := range n.nodes() {
		if other != node {
			n.Between(node, other, f)
		}
	}
}

func (n *Network) nodes() (all []uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for node := range n.listeners {
		all = append(all, node)
	}
	return all
}

// Heal makes the network whole.
func (n *Network) Heal() {
	all := n.nodes()
	for _, from := range all {
		for _, to := range all {
			if from != to {
				n.change(from, to, func(r *rule) { *r = rule{} })
			}
		}
	}
}

// owner returns the node whose process holds the other end of a connection; 0 when there is none.
func (n *Network) owner(c net.Conn) uint64 {
	inode, err := peerInode(c.RemoteAddr().(*net.TCPAddr), c.LocalAddr().(*net.TCPAddr))
	if err != nil {
		return 0
	}
	n.mu.Lock()
	pids := maps.Clone(n.pids)
	n.mu.Unlock()
	for node, pid := range pids {
		if holdsSocket(pid, inode) {
			return node
		}
	}
	return 0
}

// started tells which process is a node from now on.
func (n *Network) started(node uint64, pid int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.pids[node] = pid
}
