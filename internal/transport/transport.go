// Package transport connects the nodes of a cluster: every connection is
// between two nodes that have told, and with TLS proved, who they are.
//
// # What it offers
//
//   - Messages: one ordered stream to each peer, for raft. [Transport.Send] queues a frame
//     and never blocks; frames are lost when the connection is, and dropped
//     beyond 64 MiB, which raft repairs.
//   - Liveness: [Transport.OnPeer] tells when a peer comes up and when it goes down.
//   - Calls: one request, one answer ([Transport.Call], [Transport.HandleCall]).
//   - Streams: a connection of one's own ([Transport.Dial], [Transport.Handle]).
//
// # Who may connect
//
// With TLS both ends show a certificate that the cluster's authority has signed
// and that names their node in a URI, waybill://node/3; it must be the node that
// the hello names. Without TLS a connection is refused unless both of its
// addresses are loopback ones. A peer of another cluster is refused. A node that is in
// no cluster yet may call the service [JoinService], and nothing else.
//
// # Promises
//
//   - OnMessage is called with the frames of a peer in the order of its Sends, one at a
//     time; a frame may be missing, but none comes twice.
//   - A peer is down at once when its connection is cut and a new one is refused,
//     else after a second of silence; then all of its connections are closed.
//   - A slow peer holds up nobody but itself.
//   - Memory grows with the bytes received, never with a length that is only
//     declared; before the hello no more than 4 KiB are read, for ten seconds.
//
// # Bytes
//
// All integers are big endian. A connection begins with a hello from the one who
// dials, and the other's answer (hello.go has both). What follows is for its kind:
//
//	messages  frames: length 4, bytes. Length 0 is a heartbeat, sent every 100 ms. The
//	          other direction carries one byte for each heartbeat that was heard.
//	calls     frames of requests one way and of answers the other, see call.go.
//	          Any number are under way on a connection.
//	streams   whatever the service's two ends say.
//
// Each node dials each of its peers for its own messages and calls, so a peer is
// up when a round trip on the connection that this node dialed works: traffic that
// passes in one direction only is a peer that is down.
//
// # Goroutines and locks
//
// A peer has one that dials and judges (peer.run) and, while it is connected, one that
// writes messages and one that hears heartbeats come back. An accepted connection has
// one, a call that is served has one. Transport.mu guards the maps of handlers, peers
// and connections, and link.mu a queue; neither is held while anything blocks or
// anybody is called.
package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrUnreachable: the node could not be reached; it has got nothing of the request.
	ErrUnreachable = errors.New("not reachable")
	// ErrLost: the connection ended before the answer; the request may or may
	// not have been carried out.
	ErrLost = errors.New("the connection was lost before the answer")
	// ErrClosed: the transport is closed.
	ErrClosed = errors.New("transport closed")
)

// RemoteError is an error that a node has answered.
type RemoteError struct {
	Node uint64
	Text string
}

func (e *RemoteError) Error() string { return fmt.Sprintf("node %d: %s", e.Node, e.Text) }

// Identity is who a node is.
type Identity struct {
	Cluster string // the cluster's id; "" in none yet
	Node    uint64 // the operator's number of the node
	Replica uint64 // the raft id of its data directory; 0: none yet
	Store   string // the id of its data directory
}

// JoinService is the only service that is served to nodes of no cluster.
const JoinService = "join"

// Config configures a Transport. The zero value of an optional field means its
// default.
type Config struct {
	Listen   string          // host:port
	TLS      *tls.Config     // see LoadTLS; nil: plaintext, over loopback only
	Identity func() Identity // of this node, now; it may get a cluster as long as it has none
	// Admit decides about a node of the same cluster that connects; nil: all
	// may. It is called from many goroutines.
	Admit func(Identity) error

	Logger     *slog.Logger          // default slog.Default
	Registerer prometheus.Registerer // default: no metrics

	// For tests: what to listen on instead of Listen, and how to dial.
	Listener net.Listener
	Dialer   func(ctx context.Context, addr string) (net.Conn, error)
}

// Transport is this node's end of all connections to others.
type Transport struct {
	cfg      Config
	log      *slog.Logger
	listener net.Listener
	metrics  *metrics
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	running  sync.WaitGroup                   // all goroutines
	routes   atomic.Pointer[map[uint64]*peer] // a copy of peers, for Send

	mu        sync.Mutex // guards the rest
	closed    bool
	onMessage func(Identity, []byte)
	onPeer    func(uint64, bool)
	streams   map[string]func(Identity, net.Conn)
	calls     map[string]func(context.Context, Identity, []byte) ([]byte, error)
	peers     map[uint64]*peer
	gone      map[uint64]*peer   // the last ones that were removed
	conns     map[*conn]struct{} // that have passed the hello
	inbound   map[uint64]*conn   // the newest connection with a peer's messages
	refusal   time.Time          // when one was logged
}

// New returns a transport that listens. It serves after Serve, and dials the
// peers that SetPeers names.
func New(cfg Config) (*Transport, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Dialer == nil {
		cfg.Dialer = dialTCP
	}
	l := cfg.Listener
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", cfg.Listen); err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
	}
	if cfg.TLS == nil && !isLoopback(l.Addr()) {
		_ = l.Close() // it has served nobody
		return nil, fmt.Errorf("transport: %s is open to other machines, and without certificates nodes talk over the loopback interface only", l.Addr())
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Transport{
		cfg: cfg, log: cfg.Logger, listener: l, metrics: newMetrics(cfg.Registerer), ctx: ctx, cancel: cancel,
		streams: map[string]func(Identity, net.Conn){},
		calls:   map[string]func(context.Context, Identity, []byte) ([]byte, error){},
		peers:   map[uint64]*peer{},
		gone:    map[uint64]*peer{},
		conns:   map[*conn]struct{}{},
		inbound: map[uint64]*conn{},
	}, nil
}

// Addr is where the transport listens.
func (t *Transport) Addr() net.Addr { return t.listener.Addr() }

// OnMessage sets who takes messages; until then no peer's are accepted. It is
// called in order for one peer, and must not block. The frame may be kept.
func (t *Transport) OnMessage(take func(from Identity, frame []byte)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onMessage = take
}

// OnPeer sets who is told that a peer is up or down, the first time when that
// is known. It must be set before SetPeers, and must not block.
func (t *Transport) OnPeer(tell func(node uint64, up bool)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.onPeer = tell
}

// Handle sets who serves the streams of a service; the connection is closed
// when serve returns.
func (t *Transport) Handle(service string, serve func(from Identity, c net.Conn)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.streams[service] = serve
}

// HandleCall sets who answers the calls of a service. The context ends with
// the caller's, or with the connection. The text of an error is the answer.
func (t *Transport) HandleCall(service string, answer func(ctx context.Context, from Identity, request []byte) ([]byte, error)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.calls[service] = answer
}

// SetPeers sets the other nodes of the cluster: node id → address. This node
// may be among them. What is connected to a node that is named no longer is closed.
func (t *Transport) SetPeers(addrs map[uint64]string) {
	own := t.cfg.Identity().Node
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	for node, p := range t.peers {
		if addrs[node] == "" {
			p.cancel()
			delete(t.peers, node)
			t.gone[node] = p
			t.closeConns(node)
		}
	}
	for node, addr := range addrs {
		switch p := t.peers[node]; {
		case node == own || addr == "":
		case p != nil:
			p.moveTo(addr)
		default:
			p = newPeer(t, node, addr)
			t.peers[node] = p
			before := t.gone[node]
			t.running.Go(func() { p.run(before) })
		}
	}
	peers := maps.Clone(t.peers)
	t.routes.Store(&peers)
}

// Peers tells which peers are up.
func (t *Transport) Peers() map[uint64]bool {
	up := map[uint64]bool{}
	if peers := t.routes.Load(); peers != nil {
		for node, p := range *peers {
			up[node] = p.up.Load()
		}
	}
	return up
}

func (t *Transport) peer(node uint64) *peer {
	peers := t.routes.Load()
	if peers == nil {
		return nil
	}
	return (*peers)[node]
}

// Send queues a frame, of which it is given the parts, for a peer and returns at once;
// false: it was dropped. The parts must not be changed any more.
func (t *Transport) Send(node uint64, parts ...[]byte) bool {
	p := t.peer(node)
	if p == nil {
		return false
	}
	l := p.link.Load()
	if l == nil || !l.send(parts) {
		p.metrics.dropped.Inc()
		return false
	}
	return true
}

// Close closes the listener and all connections, and waits for what is being
// served; the contexts of calls are canceled.
func (t *Transport) Close() error {
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil
	}
	t.closed = true
	t.cancel()
	for c := range t.conns {
		c.cut()
	}
	t.mu.Unlock()
	err := t.listener.Close()
	t.running.Wait()
	return err
}

// spawn runs f, which Close then waits for; false when it is too late.
func (t *Transport) spawn(f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.running.Go(f)
	}
	return !t.closed
}

// closeConns closes all connections with a node; t.mu is held.
func (t *Transport) closeConns(node uint64) {
	for c := range t.conns {
		if c.peer.Node == node {
			c.cut()
		}
	}
}
