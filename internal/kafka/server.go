package kafka

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"waybill/internal/broker"
)

// ErrServerClosed is returned by [Server.Serve] after [Server.Shutdown].
var ErrServerClosed = errors.New("kafka: server closed")

// Server serves Kafka clients on any number of listeners.
type Server struct {
	cfg     Config
	log     *slog.Logger
	apis    [maxKey + 1]*api // by key; nil where none is served
	metrics *metrics
	fetches budget // of all Fetch responses
	frames  frames

	altering sync.Mutex // held over the reading and writing of a topic's configs

	mu        sync.Mutex // protects what follows
	closed    bool
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	running   sync.WaitGroup // one for each connection
}

// maxKey is the highest API key that may stand in the table.
const maxKey = 127

// NewServer returns a server that does not listen yet.
func NewServer(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Intake == nil {
		cfg.Intake = broker.NewIntake(512<<20, 0)
	}
	if cfg.firstRequest == 0 {
		cfg.firstRequest, cfg.stall = firstRequest, stall
	}
	s := &Server{
		cfg:       cfg,
		log:       cfg.Logger,
		metrics:   newMetrics(cfg.Registerer),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*conn]struct{}),
	}
	s.fetches.free.Store(fetchBytes())
	for _, a := range apis() {
		s.apis[a.key] = &a
	}
	return s
}

// Serve accepts connections until the listener fails or Shutdown is called,
// which makes it return ErrServerClosed. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		_ = l.Close() // it never served; there is nothing to lose
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	defer s.forget(l)

	pause := 5 * time.Millisecond
	for {
		nc, err := l.Accept()
		if err == nil {
			pause = 5 * time.Millisecond
			s.start(nc)
			continue
		}
		if s.isClosed() {
			return ErrServerClosed
		}
		var ne net.Error
		if !errors.As(err, &ne) || !ne.Timeout() && !isOutOfFiles(err) {
			return err
		}
		s.log.Warn("kafka: cannot accept a connection", "err", err, "retry", pause)
		time.Sleep(pause)
		pause = min(2*pause, time.Second)
	}
}

// start serves one connection in the background.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	full := len(s.conns) >= s.cfg.MaxConnections && s.cfg.MaxConnections > 0
	if s.closed || full {
		s.mu.Unlock()
		if full {
			s.log.Warn("kafka: connection refused: max.connections reached",
				"peer", nc.RemoteAddr(), "max", s.cfg.MaxConnections)
		}
		c.cancel()
		_ = nc.Close() // refused; nothing was exchanged
		return
	}
	s.conns[c] = struct{}{}
	s.running.Add(1)
	s.mu.Unlock()
	s.metrics.connections.Inc()
	go func() {
		defer s.running.Done()
		c.serve()
		s.metrics.connections.Dec()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// Shutdown stops accepting, lets every connection answer what it has received,
// and closes it. When ctx ends first, the rest is cut off and its error is returned.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	for l := range s.listeners {
		_ = l.Close() // Serve sees it and returns ErrServerClosed
	}
	for c := range s.conns {
		c.drain()
	}
	s.mu.Unlock()

	done := make(chan struct{})
	go func() { s.running.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.close()
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

func (s *Server) forget(l net.Listener) {
	_ = l.Close() // closing twice is harmless
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}
