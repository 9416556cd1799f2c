package admin

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/auth"
)

// oneUser lets alice in, with the password wonderland, and notes the peer.
type oneUser struct{ peer atomic.Value }

func (o *oneUser) Login(mechanism, user, password string, peer net.Addr) error {
	o.peer.Store(peer.String())
	switch {
	case user == "flood":
		return auth.ErrThrottled
	case mechanism != "PLAIN" || user != "alice" || password != "wonderland":
		return auth.ErrRefused
	}
	return nil
}

// node is what a test serves.
type node struct {
	url   string
	users oneUser
	ready atomic.Value // string: why it is not ready
	view  atomic.Pointer[View]
}

func start(t *testing.T, pprof bool) *node {
	t.Helper()
	n := &node{}
	n.ready.Store("starting")
	registry := prometheus.NewRegistry()
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: "waybill_test_total", Help: "A test."})
	registry.MustRegister(c)
	c.Inc()
	s := NewServer(Config{
		Auth: &n.users, Gatherer: registry, View: n.view.Load, Pprof: pprof,
		Ready: func() error {
			if why := n.ready.Load().(string); why != "" {
				return errors.New(why)
			}
			return nil
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && !errors.Is(err, t.Context().Err()) {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	n.url = "http://" + l.Addr().String()
	return n
}

func (n *node) get(t *testing.T, path, user, password string) (int, string, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		req.SetBasicAuth(user, password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body), resp.Header
}

func TestHealth(t *testing.T) {
	n := start(t, false)
	if code, body, _ := n.get(t, "/healthz", "", ""); code != 200 || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if code, body, _ := n.get(t, "/readyz", "", ""); code != 503 || body != "starting\n" {
		t.Errorf("readyz while it starts: %d %q", code, body)
	}
	n.ready.Store("")
	if code, body, _ := n.get(t, "/readyz", "", ""); code != 200 || body != "ready\n" {
		t.Errorf("readyz: %d %q", code, body)
	}
	if code, body, _ := n.get(t, "/metrics", "", ""); code != 200 || !strings.Contains(body, "waybill_test_total 1") {
		t.Errorf("metrics: %d %q", code, body)
	}
}

// TestEveryRouteAsksForALogin is the table of all routes that show more than
// health and metrics.
func TestEveryRouteAsksForALogin(t *testing.T) {
	n := start(t, true)
	n.view.Store(testView())
	for _, path := range []string{
		"/api/overview", "/api/queues", "/api/connections", "/api/cluster", "/api/cluster/groups",
		"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/cmdline", "/debug/pprof/symbol",
	} {
		for _, c := range []struct {
			user, password string
			want           int
		}{
			{"", "", 401}, {"alice", "", 401}, {"alice", "wrong", 401}, {"bob", "wonderland", 401},
			{"flood", "x", 429}, {"alice", "wonderland", 200},
		} {
			code, _, header := n.get(t, path, c.user, c.password)
			if code != c.want {
				t.Errorf("%s as %q: %d, want %d", path, c.user, code, c.want)
			}
			if asks := header.Get("WWW-Authenticate") != ""; asks != (code == 401) {
				t.Errorf("%s as %q: %d with WWW-Authenticate %v", path, c.user, code, asks)
			}
		}
	}
	if peer, _ := n.users.peer.Load().(string); !strings.HasPrefix(peer, "127.0.0.1:") {
		t.Errorf("the login was judged by the peer %q", peer)
	}
}

func TestPprofIsOffByDefault(t *testing.T) {
	n := start(t, false)
	if code, _, _ := n.get(t, "/debug/pprof/heap", "alice", "wonderland"); code != 404 {
		t.Errorf("got %d", code)
	}
}

func testView() *View {
	return &View{
		Version: "1", Cluster: "c", Node: "n",
		Listeners: []Listener{{Protocol: "amqp", Address: "127.0.0.1", Port: 5672}},
		Queues: func(context.Context) []Queue {
			return []Queue{{Name: "a", VHost: "/", Ready: 2, Unacked: 3, Messages: 5, Consumers: 1}, {Name: "b", VHost: "/", Ready: 1, Messages: 1}}
		},
		Connections: func() []Connection { return nil },
		Topics:      func() int { return 4 },
		Alarm:       func() string { return "" },
		Members:     &fakeCluster{},
	}
}

func TestAPI(t *testing.T) {
	n := start(t, false)
	if code, _, _ := n.get(t, "/api/overview", "alice", "wonderland"); code != 503 {
		t.Errorf("while it starts: %d", code)
	}
	n.view.Store(testView())

	_, body, header := n.get(t, "/api/overview", "alice", "wonderland")
	var o struct {
		QueueTotals  map[string]int `json:"queue_totals"`
		ObjectTotals map[string]int `json:"object_totals"`
		Listeners    []Listener     `json:"listeners"`
	}
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		t.Fatal(err)
	}
	if o.QueueTotals["messages"] != 6 || o.QueueTotals["messages_unacknowledged"] != 3 || o.ObjectTotals["queues"] != 2 ||
		o.ObjectTotals["topics"] != 4 || len(o.Listeners) != 1 || header.Get("Content-Type") != "application/json" {
		t.Errorf("overview: %s", body)
	}
	if _, body, _ = n.get(t, "/api/queues", "alice", "wonderland"); !strings.Contains(body, `"messages_ready":2`) {
		t.Errorf("queues: %s", body)
	}
	if _, body, _ = n.get(t, "/api/connections", "alice", "wonderland"); body != "[]\n" {
		t.Errorf("connections: %s", body)
	}
}

// pipes is a listener without a network: what dial returns is served.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// TestSilentClientIsCutOff starts requests that never end, on a fake clock.
func TestSilentClientIsCutOff(t *testing.T) {
	for _, request := range []string{"", "GET /healthz HT", "POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12"} {
		synctest.Test(t, func(t *testing.T) {
			s := NewServer(Config{Gatherer: prometheus.NewRegistry(), Logger: slog.New(slog.DiscardHandler)})
			l := &pipes{make(chan net.Conn), make(chan struct{})}
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			client, server := net.Pipe()
			l.conns <- server
			began := time.Now()
			go func() { _, _ = io.WriteString(client, request) }()
			if _, err := io.Copy(io.Discard, client); err != nil && !errors.Is(err, io.ErrClosedPipe) {
				t.Error(err)
			}
			if d := time.Since(began); d > 2*readTimeout {
				t.Errorf("%q: closed after %v", request, d)
			}
			if err := s.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}
