package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// errNotYet marks a refusal that will end by itself: a node is just starting.
var errNotYet = errors.New("not yet")

const (
	tlsTimeout   = 5 * time.Second
	helloTimeout = 10 * time.Second // TLS included
	// maxPerNode bounds the connections of one node, those of nodes of no cluster together.
	maxPerNode = 256
)

// conn is a connection that has passed the hello.
type conn struct {
	net.Conn          // with TLS, where there is
	raw      net.Conn // without
	t        *Transport
	peer     Identity
	stranger bool // one of both is in no cluster yet
	once     sync.Once
	done     chan struct{} // of an inbound one for messages: closed when the last was taken
}

// Close closes the connection. With TLS it says goodbye, which may take time
// when the peer is stuck.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.t.mu.Lock()
		delete(c.t.conns, c)
		c.t.mu.Unlock()
	})
	return c.Conn.Close()
}

// cut ends the connection at once. Its owner closes it then.
func (c *conn) cut() { _ = c.raw.Close() } // it may be closed already

// register counts c among the connections, or says why it cannot stay.
func (t *Transport) register(c *conn) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return ErrClosed
	}
	n := 0
	for other := range t.conns {
		if other.stranger == c.stranger && (c.stranger || other.peer.Node == c.peer.Node) {
			n++
		}
	}
	if n >= maxPerNode {
		return fmt.Errorf("there are %d connections with it already", n)
	}
	t.conns[c] = struct{}{}
	return nil
}

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return d.DialContext(ctx, "tcp", addr)
}

// connect dials a node and says hello. node 0 means whoever is there. Its
// errors are ErrUnreachable.
func (t *Transport) connect(ctx context.Context, addr string, node uint64, k kind, service string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	raw, err := t.cfg.Dialer(ctx, addr)
	if err != nil {
		return nil, unreachable(node, addr, err)
	}
	// A context that ends cuts the connection, whatever it waits for.
	uncut := context.AfterFunc(ctx, func() { _ = raw.Close() })
	c, err := t.greet(ctx, raw, node, k, service)
	if !uncut() {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = raw.Close() // the error is what there is to tell
		if c != nil {
			_ = c.Close() // the same
		}
		return nil, unreachable(node, addr, err)
	}
	return c, nil
}

func unreachable(node uint64, addr string, err error) error {
	if node == 0 {
		return fmt.Errorf("%s: %w: %w", addr, ErrUnreachable, err)
	}
	return fmt.Errorf("node %d at %s: %w: %w", node, addr, ErrUnreachable, err)
}

// greet makes a connection of a raw one that was dialed.
func (t *Transport) greet(ctx context.Context, raw net.Conn, node uint64, k kind, service string) (*conn, error) {
	secure, err := t.secure(ctx, raw, tls.Client)
	if err != nil {
		return nil, err
	}
	own := t.cfg.Identity()
	h := hello{version: version, oldest: oldestVersion, kind: k, who: own, to: node, service: service}
	if _, err := secure.Write(h.encode()); err != nil {
		return nil, err
	}
	answer, err := readHello(secure)
	switch {
	case err != nil:
		return nil, err
	case answer.kind == refused:
		return nil, fmt.Errorf("it refuses: %s", answer.service)
	case node != 0 && answer.who.Node != node:
		return nil, fmt.Errorf("node %d answers there", answer.who.Node)
	}
	c := &conn{Conn: secure, raw: raw, t: t, peer: answer.who}
	if err := t.judge(c, own); err != nil {
		return nil, err
	}
	if c.stranger && node != 0 {
		return nil, fmt.Errorf("%w: it is in no cluster", errNotYet)
	}
	return c, t.register(c)
}

// secure does the TLS handshake, or checks that none is needed.
func (t *Transport) secure(ctx context.Context, raw net.Conn, role func(net.Conn, *tls.Config) *tls.Conn) (net.Conn, error) {
	if t.cfg.TLS == nil {
		if !isLoopback(raw.LocalAddr()) || !isLoopback(raw.RemoteAddr()) {
			return nil, errors.New("without certificates nodes talk over the loopback interface only (see waybill certs)")
		}
		return raw, nil
	}
	ctx, cancel := context.WithTimeout(ctx, tlsTimeout)
	defer cancel()
	c := role(raw, t.cfg.TLS)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return c, nil
}

// judge checks who the peer says it is.
func (t *Transport) judge(c *conn, own Identity) error {
	if err := proven(c.Conn, c.peer.Node); err != nil {
		return err
	}
	c.stranger = own.Cluster == "" || c.peer.Cluster == ""
	switch {
	case c.peer.Node == 0:
		return errors.New("a node without a number")
	case c.stranger:
		return nil
	case c.peer.Cluster != own.Cluster:
		return fmt.Errorf("node %d is in another cluster (%s) than node %d (%s)", c.peer.Node, c.peer.Cluster, own.Node, own.Cluster)
	case c.peer.Node == own.Node:
		return fmt.Errorf("node %d talks to itself, or two nodes have that number", own.Node)
	case t.cfg.Admit != nil:
		return t.cfg.Admit(c.peer)
	default:
		return nil
	}
}

// proven checks that the certificate, where there is one, is of that node.
func proven(c net.Conn, node uint64) error {
	secure, ok := c.(*tls.Conn)
	if !ok {
		return nil
	}
	certs := secure.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return errors.New("the other end shows no certificate")
	}
	named, err := nodeOf(certs[0])
	if err != nil {
		return fmt.Errorf("the other end's certificate: %w", err)
	}
	if named != node {
		return fmt.Errorf("the certificate is for node %d, but node %d shows it", named, node)
	}
	return nil
}
