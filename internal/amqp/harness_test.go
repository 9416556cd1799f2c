package amqp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"go.uber.org/goleak"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = time.Minute

// onlyGuest lets guest in, with the password guest.
type onlyGuest struct{}

func (onlyGuest) Login(_, user, password string, _ net.Addr) error {
	if user != "guest" || password != "guest" {
		return errors.New("user or password is wrong")
	}
	return nil
}

// node is a broker in memory and the server under test in front of it.
type node struct {
	*Server
	broker *broker.Broker
	addr   string
}

// startNode starts a node; change may alter the server's configuration.
func startNode(t testing.TB, change func(*Config)) *node {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	var host atomic.Pointer[replica.Host]
	store, err := storage.Open(vfs.NewMem(), "/data", storage.Options{
		WALFileSize: 4 << 20,
		Checkpoint: func(id record.LogID) (storage.Checkpoint, bool) {
			if h := host.Load(); h != nil {
				return h.Checkpoint(id)
			}
			return storage.Checkpoint{}, false
		},
		Fatal:  func(err error) { panic(err) },
		Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	host.Store(replica.NewHost(replica.Config{Store: store, ReplicaID: 1, Logger: log}))
	store.Start()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b, err := broker.Open(ctx, broker.Config{Store: store, Host: host.Load(), Node: 1, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Broker: b, Auth: onlyGuest{}, Logger: log}
	if change != nil {
		change(&cfg)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{Server: NewServer(cfg), broker: b, addr: l.Addr().String()}
	served := make(chan error, 1)
	go func() { served <- n.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := n.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		b.Close()
		host.Load().Close()
		if err := store.Close(); err != nil {
			t.Errorf("store: %v", err)
		}
	})
	return n
}

func (n *node) url() string { return "amqp://guest:guest@" + n.addr + "/" }

// dial connects a stock client.
func (n *node) dial(t testing.TB) *amqp091.Connection {
	t.Helper()
	// On a busy machine a heartbeat is soon late; they have a test of their own.
	c, err := amqp091.DialConfig(n.url(), amqp091.Config{Heartbeat: 10 * patience, Locale: "en_US"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// channel opens a channel of a connection of its own.
func (n *node) channel(t testing.TB) *amqp091.Channel {
	t.Helper()
	ch, err := n.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// durable declares a durable queue of the test's name.
func durable(t testing.TB, ch *amqp091.Channel) string {
	t.Helper()
	q, err := ch.QueueDeclare(t.Name(), true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	return q.Name
}

// must fails the test for an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// receive waits for a value.
func receive[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v, ok := <-c:
		if !ok {
			t.Fatal("the channel was closed")
		}
		return v
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	panic("unreachable")
}

// eventually polls until f holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

// rawClient speaks frames.
type rawClient struct {
	t  testing.TB
	nc net.Conn
	f  *frameReader
}

func (n *node) raw(t testing.TB) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", n.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	must(t, nc.SetDeadline(time.Now().Add(patience)))
	f := newFrameReader(nc, newBlocks(4096), 1<<20)
	return &rawClient{t: t, nc: nc, f: &f}
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

func (c *rawClient) send(channel uint16, ms ...spec.Method) {
	c.t.Helper()
	var b []byte
	for _, m := range ms {
		b = appendMethod(b, channel, m)
	}
	c.write(b)
}

// next reads the next method, whatever it is; heartbeats and content are
// skipped.
func (c *rawClient) next() (spec.Method, error) {
	for {
		h, err := c.f.next()
		if err != nil {
			return nil, err
		}
		if h.kind != spec.FrameMethod {
			if err := c.f.skip(h); err != nil {
				return nil, err
			}
			continue
		}
		payload, err := c.f.payload(h)
		if err != nil {
			return nil, err
		}
		id, args, err := spec.SplitID(payload)
		if err != nil {
			return nil, err
		}
		m := spec.New(id)
		return m, m.Decode(args)
	}
}

// expect reads the next method, which has to be of m's type, into m.
func (c *rawClient) expect(m spec.Method) {
	c.t.Helper()
	got, err := c.next()
	if err != nil {
		c.t.Fatalf("waiting for %s: %v", m.ID(), err)
	}
	if got.ID() != m.ID() {
		c.t.Fatalf("got %s %+v, want %s", got.ID(), got, m.ID())
	}
	reflect.ValueOf(m).Elem().Set(reflect.ValueOf(got).Elem())
}

// expectClose expects connection.close with a code, answers it, and expects the
// end of the stream.
func (c *rawClient) expectClose(code uint16) string {
	c.t.Helper()
	var m spec.ConnectionClose
	c.expect(&m)
	if m.ReplyCode != code {
		c.t.Errorf("closed with %d %q, want %d", m.ReplyCode, m.ReplyText, code)
	}
	c.send(0, &spec.ConnectionCloseOK{})
	c.expectEOF()
	return m.ReplyText
}

func (c *rawClient) expectEOF() {
	c.t.Helper()
	if m, err := c.next(); !errors.Is(err, io.EOF) {
		c.t.Errorf("got %+v, %v; want the end of the stream", m, err)
	}
}

var allCapabilities = record.Table{"capabilities": record.Table{
	"authentication_failure_close": true, "consumer_cancel_notify": true, "connection.blocked": true,
}}

func startOK(user, password string, properties record.Table) *spec.ConnectionStartOK {
	return &spec.ConnectionStartOK{
		ClientProperties: properties, Mechanism: "PLAIN", Response: "\x00" + user + "\x00" + password, Locale: "en_US",
	}
}

// login goes as far as tune.
func (c *rawClient) login() {
	c.t.Helper()
	c.write(protocolHeader)
	c.expect(&spec.ConnectionStart{})
	c.send(0, startOK("guest", "guest", allCapabilities))
	c.expect(&spec.ConnectionTune{})
}

// open opens the connection and channel 1.
func (c *rawClient) open() *rawClient {
	c.t.Helper()
	c.login()
	c.send(0, &spec.ConnectionTuneOK{ChannelMax: 2047, FrameMax: 131072}, &spec.ConnectionOpen{VirtualHost: "/"})
	c.expect(&spec.ConnectionOpenOK{})
	c.send(1, &spec.ChannelOpen{})
	c.expect(&spec.ChannelOpenOK{})
	return c
}

// content encodes basic.publish to the default exchange with its content.
func content(channel uint16, key, properties, body string) []byte {
	b := appendMethod(nil, channel, &spec.BasicPublish{RoutingKey: []byte(key)})
	return appendContent(b, channel, 131072, &record.Message{Properties: []byte(properties), Body: []byte(body)})
}

// conn is the server's side of a connection.
func (n *node) conn(t testing.TB, id uint64) *conn {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	c, ok := n.conns[id]
	if !ok {
		t.Fatalf("no connection %d", id)
	}
	return c
}

func consumeFrame(queue string) []byte {
	return appendMethod(nil, 1, &spec.BasicConsume{Queue: queue})
}
