package amqp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("amqp: server closed")

// Server serves AMQP 0-9-1 on any number of listeners.
type Server struct {
	cfg        Config
	metrics    *metrics
	properties record.Table
	ctx        context.Context // done when connections are to be dropped
	drop       context.CancelFunc
	replies    replies
	blocks     *blocks
	running    sync.WaitGroup // connections

	mu        sync.Mutex // guards the rest
	closed    bool
	lastID    uint64
	listeners map[net.Listener]struct{}
	conns     map[uint64]*conn
	seats     map[uint64]*conn // of conns, those that were admitted
}

// NewServer returns a server; Serve starts it.
func NewServer(cfg Config) *Server {
	cfg.setDefaults()
	s := &Server{
		cfg: cfg, metrics: newMetrics(cfg.Registerer), properties: serverProperties(&cfg), blocks: newBlocks(blockSize),
		listeners: map[net.Listener]struct{}{}, conns: map[uint64]*conn{}, seats: map[uint64]*conn{},
	}
	s.ctx, s.drop = context.WithCancel(context.Background())
	cfg.Broker.OnDirect(s.answerHere)
	return s
}

// Serve accepts connections until Shutdown, and returns ErrServerClosed then, or the
// listener's error. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	defer func() { _ = l.Close() }()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.listeners, l)
	}()
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.start(nc)
		case s.isClosed():
			return ErrServerClosed
		case isTemporary(err): // out of file descriptors, say: others may give theirs back
			s.cfg.Logger.Warn("cannot accept AMQP connections for a moment", "error", err)
			s.pause(100 * time.Millisecond)
		default:
			return fmt.Errorf("amqp: %w", err)
		}
	}
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// pause waits for d, or until connections are dropped.
func (s *Server) pause(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.ctx.Done():
	}
}

func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = nc.Close()
		return
	}
	s.lastID++
	c := newConn(s, s.lastID, nc)
	s.conns[c.id] = c
	s.running.Add(1)
	s.mu.Unlock()
	s.metrics.connections.Inc()
	go func() {
		defer s.running.Done()
		c.serve()
		s.metrics.connections.Dec()
		s.mu.Lock()
		delete(s.conns, c.id)
		delete(s.seats, c.id)
		s.mu.Unlock()
	}()
}

// admit gives a connection whose user is logged in a seat, within the limits.
func (s *Server) admit(c *conn) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	address := hostOf(c.nc.RemoteAddr())
	sameAddress, sameUser := 0, 0
	if s.cfg.MaxConnectionsPerAddress > 0 || s.cfg.MaxConnectionsPerUser > 0 {
		for _, other := range s.seats {
			if hostOf(other.nc.RemoteAddr()) == address {
				sameAddress++
			}
			if other.user == c.user {
				sameUser++
			}
		}
	}
	for _, limit := range []struct {
		used, max int
		what      string
	}{
		{len(s.seats), s.cfg.MaxConnections, "the node"},
		{sameAddress, s.cfg.MaxConnectionsPerAddress, "address " + address},
		{sameUser, s.cfg.MaxConnectionsPerUser, "user '" + c.user + "'"},
	} {
		if limit.max > 0 && limit.used >= limit.max {
			return fmt.Errorf("connection limit of %s (%d) is reached", limit.what, limit.max)
		}
	}
	s.seats[c.id] = c
	return nil
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// Shutdown stops accepting, tells every client connection.close 320 after its
// confirms, and waits until all connections are gone. When ctx is done it drops those
// that are left and returns the context's error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close()
	}
	for _, c := range s.conns {
		c.stopWith(spec.ConnectionForced, "the broker is shutting down")
	}
	s.mu.Unlock()
	gone := make(chan struct{})
	go func() {
		s.running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
		s.drop()
		return nil
	case <-ctx.Done():
	}
	s.drop()
	s.mu.Lock()
	for _, c := range s.conns {
		_ = c.nc.Close()
	}
	s.mu.Unlock()
	return ctx.Err()
}
