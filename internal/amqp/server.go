package amqp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// Authenticator checks logins. The error is shown to the client.
type Authenticator interface {
	Login(mechanism, user, password string, peer net.Addr) error
}

// Config configures a Server. The zero value of an optional field means its
// default.
type Config struct {
	Broker     *broker.Broker
	Auth       Authenticator
	Logger     *slog.Logger          // default slog.Default
	Registerer prometheus.Registerer // nil: no metrics are registered

	Version     string // Waybill's own, told to clients
	ClusterName string // told to clients, "waybill"

	MaxConnections           int           // that are open at a time, 0 for no limit
	MaxConnectionsPerAddress int           // the same from one IP address
	MaxConnectionsPerUser    int           // the same of one user
	MaxChannels              int           // per connection, 2047
	MaxFrame                 int           // bytes, 131072
	MaxMessage               int           // bytes of a body, 16 MiB
	MaxTransaction           int           // bytes that a channel's transaction may publish, 64 MiB
	Heartbeat                time.Duration // suggested to clients, 60 s
	HandshakeTimeout         time.Duration // from the first byte to connection.open, 10 s
	WriteTimeout             time.Duration // for 128 KiB; a client that reads slower is cut off; 60 s
	OutputLimit              int           // bytes that wait for one client to read them, 1 MiB
}

func (c *Config) setDefaults() {
	orElse(&c.MaxChannels, 2047)
	orElse(&c.MaxFrame, 128<<10)
	orElse(&c.MaxMessage, 16<<20)
	orElse(&c.MaxTransaction, 64<<20)
	orElse(&c.Heartbeat, 60*time.Second)
	orElse(&c.HandshakeTimeout, 10*time.Second)
	orElse(&c.WriteTimeout, 60*time.Second)
	orElse(&c.OutputLimit, 1<<20)
	orElse(&c.Version, "dev")
	orElse(&c.ClusterName, "waybill")
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

func orElse[T comparable](value *T, def T) {
	var zero T
	if *value == zero {
		*value = def
	}
}

// ErrServerClosed is returned by Serve after Shutdown.
var ErrServerClosed = errors.New("amqp: server closed")

// Server serves AMQP 0-9-1 on any number of listeners.
type Server struct {
	cfg        Config
	metrics    *metrics
	properties record.Table
	ctx        context.Context // done when connections are to be dropped
	drop       context.CancelFunc
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
		cfg: cfg, metrics: newMetrics(cfg.Registerer), properties: serverProperties(&cfg),
		listeners: map[net.Listener]struct{}{}, conns: map[uint64]*conn{}, seats: map[uint64]*conn{},
	}
	s.ctx, s.drop = context.WithCancel(context.Background())
	return s
}

// Serve accepts connections until Shutdown, and returns ErrServerClosed then, or the
// listener's error. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrServerClosed
	}
	s.listeners[l] = struct{}{}
	s.mu.Unlock()
	for {
		nc, err := l.Accept()
		if err != nil {
			s.mu.Lock()
			delete(s.listeners, l)
			closed := s.closed
			s.mu.Unlock()
			if closed {
				return ErrServerClosed
			}
			if isTemporary(err) { // out of file descriptors, say: others may give theirs back
				s.cfg.Logger.Warn("cannot accept AMQP connections for a moment", "error", err)
				if !s.pause(100 * time.Millisecond) {
					return ErrServerClosed
				}
				s.mu.Lock()
				s.listeners[l] = struct{}{}
				s.mu.Unlock()
				continue
			}
			return fmt.Errorf("amqp: %w", err)
		}
		s.start(nc)
	}
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// pause waits for d, and reports false when the server was dropped meanwhile.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

func (s *Server) start(nc net.Conn) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		nc.Close()
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
		l.Close()
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
		c.nc.Close()
	}
	s.mu.Unlock()
	return ctx.Err()
}

// Connection describes one connection.
type Connection struct {
	ID        uint64
	Peer      string // address
	User      string
	VHost     string
	Mechanism string
	Since     time.Time
	Channels  int
	FrameMax  int
	Heartbeat time.Duration
	Client    record.Table // client-properties, as it told them
}

// Connections lists the open connections by their ids.
func (s *Server) Connections() []Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Connection, 0, len(s.conns))
	for _, c := range s.conns {
		if !c.opened.Load() {
			continue
		}
		list = append(list, Connection{
			ID: c.id, Peer: c.nc.RemoteAddr().String(), User: c.user, VHost: c.vhost,
			Mechanism: c.mechanism, Since: c.since, Channels: int(c.nchannels.Load()),
			FrameMax: c.frameMax, Heartbeat: c.idle / 2, Client: c.client,
		})
	}
	slices.SortFunc(list, func(a, b Connection) int { return int(int64(a.ID) - int64(b.ID)) })
	return list
}

// CloseConnection ends a connection with code 320 and the reason given; it
// reports whether there is one of that id.
func (s *Server) CloseConnection(id uint64, reason string) bool {
	s.mu.Lock()
	c, ok := s.conns[id]
	s.mu.Unlock()
	if ok {
		c.stopWith(spec.ConnectionForced, reason)
	}
	return ok
}

// servedVersion is the RabbitMQ release whose behaviour is served. Clients
// compare it to decide what they can expect.
const servedVersion = "4.3.0"

func serverProperties(cfg *Config) record.Table {
	return record.Table{
		"capabilities": record.Table{
			"publisher_confirms":           true,
			"exchange_exchange_bindings":   true,
			"basic.nack":                   true,
			"consumer_cancel_notify":       true,
			"connection.blocked":           true,
			"consumer_priorities":          true,
			"authentication_failure_close": true,
			"per_consumer_qos":             true,
		},
		"product":         "RabbitMQ",
		"version":         servedVersion,
		"platform":        "Go",
		"cluster_name":    cfg.ClusterName,
		"copyright":       "The Waybill authors",
		"information":     "Waybill speaks as RabbitMQ " + servedVersion + "; Apache-2.0",
		"waybill":         "Waybill",
		"waybill_version": cfg.Version,
	}
}
