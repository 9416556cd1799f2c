package transport

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a transport with what it was told.
type node struct {
	*Transport
	id   uint64
	mu   sync.Mutex // guards the rest
	who  Identity
	got  map[uint64][]string // frames by sender
	ups  map[uint64]bool
	seen []string // "2 up", "2 down", …
}

// identify is the node's identity; it may be changed.
func (n *node) identify() Identity {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.who
}

func (n *node) become(who Identity) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.who = who
}

func quiet(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// start starts a node of cluster "c" on a free port.
func start(t testing.TB, id uint64, change ...func(*Config)) *node {
	t.Helper()
	n := &node{
		id: id, who: Identity{Cluster: "c", Node: id, Replica: id + 100, Store: fmt.Sprint("store", id)},
		got: map[uint64][]string{}, ups: map[uint64]bool{},
	}
	cfg := Config{Listen: "127.0.0.1:0", Identity: n.identify, Logger: quiet(t)}
	for _, c := range change {
		c(&cfg)
	}
	tr, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Transport = tr
	tr.OnMessage(func(from Identity, frame []byte) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.got[from.Node] = append(n.got[from.Node], string(frame))
	})
	tr.OnPeer(func(node uint64, up bool) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.ups[node] = up
		n.seen = append(n.seen, fmt.Sprint(node, map[bool]string{true: " up", false: " down"}[up]))
	})
	tr.Serve()
	t.Cleanup(func() { tr.Close() })
	return n
}

// aside has a node listen on an address of its own, whose port stays free while nobody listens there:
// connections that come into being meanwhile take their ports from 127.0.0.1.
func aside(c *Config) {
	c.Listen = fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
}

func (n *node) up(node uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ups[node]
}

func (n *node) frames(from uint64) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.got[from]
}

// meet makes nodes peers of each other and waits until all are up.
func meet(t testing.TB, nodes ...*node) {
	t.Helper()
	addrs := map[uint64]string{}
	for _, n := range nodes {
		addrs[n.id] = n.Addr().String()
	}
	for _, n := range nodes {
		n.SetPeers(addrs)
	}
	for _, n := range nodes {
		for _, other := range nodes {
			if n != other {
				eventually(t, fmt.Sprintf("node %d sees node %d up", n.id, other.id), func() bool { return n.up(other.id) })
			}
		}
	}
}

// eventually polls until ok, for at most a minute.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after a minute still not: %s", what)
		}
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// proxy passes connections on to a node, and can do what networks do.
type proxy struct {
	listener net.Listener
	to       string
	done     sync.WaitGroup

	mu      sync.Mutex // guards the rest
	refuse  bool       // cut what comes
	swallow [2]bool    // what goes to the node, and what comes from it, vanishes
	conns   map[net.Conn]bool
}

func newProxy(t testing.TB, to net.Addr) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to.String(), conns: map[net.Conn]bool{}}
	p.done.Go(p.run)
	t.Cleanup(func() {
		l.Close()
		p.cut()
		p.done.Wait()
	})
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) run() {
	for {
		in, err := p.listener.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			in.Close()
			continue
		}
		p.mu.Lock()
		if p.refuse {
			in.Close()
			out.Close()
		}
		p.conns[in], p.conns[out] = true, true
		p.mu.Unlock()
		p.done.Go(func() { p.pass(out, in, 0) })
		p.done.Go(func() { p.pass(in, out, 1) })
	}
}

func (p *proxy) pass(to, from net.Conn, direction int) {
	defer to.Close()
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		p.mu.Lock()
		vanish := p.swallow[direction]
		p.mu.Unlock()
		if vanish {
			continue
		}
		if _, err := to.Write(b[:n]); err != nil {
			return
		}
	}
}

// set sets what the proxy does to what goes to the node and comes from it.
func (p *proxy) set(refuse, swallowTo, swallowFrom bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse, p.swallow = refuse, [2]bool{swallowTo, swallowFrom}
}

// cut resets all connections.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok {
			tcp.SetLinger(0)
		}
		c.Close()
		delete(p.conns, c)
	}
}

// readAll reads a stream to its end.
func readAll(t testing.TB, c net.Conn) string {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}
