// Package admin serves the node's HTTP listener: health, metrics and a small
// API that answers in the field names of RabbitMQ's management API.
//
//	GET /healthz          200: the process works
//	GET /readyz           200: all listeners are up and every raft group is led; else 503 and the reason
//	GET /metrics          Prometheus
//	GET /api/overview     totals and listeners
//	GET /api/queues       queues of all virtual hosts
//	GET /api/connections  open AMQP connections
//	GET /api/cluster      members, who is up, what has no leader; /api/cluster/groups lists the raft groups
//	POST /api/cluster/…   remove, replace, drain, transfer, rebalance
//	    /debug/pprof/     net/http/pprof, when the configuration asks for it
//
// What lies under /api and /debug asks for a user and a password (HTTP basic
// authentication), like the protocols do. Health and metrics do not: they name
// queues and consumer groups, but hold nothing of what is in them.
package admin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Authenticator checks a login; auth.Auth is one.
type Authenticator interface {
	Login(mechanism, user, password string, peer net.Addr) error
}

// Config configures a [Server].
type Config struct {
	Auth     Authenticator
	Gatherer prometheus.Gatherer
	// Ready returns nil when the node serves, else what it waits for.
	Ready func() error
	// View is what the API shows; it is called for each request, and returns nil as
	// long as the node starts.
	View func() *View
	// Pprof adds net/http/pprof under /debug/pprof/.
	Pprof  bool
	Logger *slog.Logger
}

// Server is the HTTP server of a node.
type Server struct {
	cfg  Config
	http http.Server
}

// Times that keep a slow or silent client from holding a connection for ever.
// There is no limit on writing: a profile takes as long as it was asked to.
const (
	readTimeout = 10 * time.Second
	idleTimeout = 2 * time.Minute
	maxHeader   = 64 << 10 // bytes
)

// NewServer returns a server that does not listen yet.
func NewServer(cfg Config) *Server {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Server{cfg: cfg}
	s.http = http.Server{
		Handler:           s.routes(),
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		ConnContext:       withPeer,
	}
	return s
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Gatherer, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelError),
	}))
	mux.Handle("GET /api/overview", s.login(s.overview))
	mux.Handle("GET /api/queues", s.login(s.queues))
	mux.Handle("GET /api/connections", s.login(s.connections))
	mux.Handle("GET /api/cluster", s.login(s.clusterStatus))
	mux.Handle("GET /api/cluster/groups", s.login(s.clusterGroups))
	mux.Handle("POST /api/cluster/{verb}", s.login(s.clusterChange))
	if s.cfg.Pprof {
		mux.Handle("/debug/pprof/", s.login(pprof.Index))
		mux.Handle("/debug/pprof/cmdline", s.login(pprof.Cmdline))
		mux.Handle("/debug/pprof/profile", s.login(pprof.Profile))
		mux.Handle("/debug/pprof/symbol", s.login(pprof.Symbol))
		mux.Handle("/debug/pprof/trace", s.login(pprof.Trace))
	}
	return mux
}

// Serve answers requests on l until Shutdown, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops listening and waits for the requests that are being answered,
// until ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.http.Shutdown(ctx)
	if err != nil {
		_ = s.http.Close() // what would not end by itself; err says it already
	}
	return err
}

func (s *Server) healthz(w http.ResponseWriter, _ *http.Request) {
	writeText(w, http.StatusOK, "ok\n")
}

func (s *Server) readyz(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Ready(); err != nil {
		writeText(w, http.StatusServiceUnavailable, err.Error()+"\n")
		return
	}
	writeText(w, http.StatusOK, "ready\n")
}

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // fails when the client is gone; nobody is left to tell
}
