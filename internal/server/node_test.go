package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"waybill/internal/vfs"
)

// testConfig is a node on free ports with its data in dir.
func testConfig(dir string) Config {
	c := DefaultConfig()
	c.DataDir = dir
	c.AMQP.Listen, c.Kafka.Listen, c.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	c.Disk.WALFileSize = 4 << 20
	return c
}

// testLog writes to the test's own log.
func testLog(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

func startNode(t testing.TB, fs vfs.FS, c Config) *Node {
	t.Helper()
	n, err := startOn(t.Context(), fs, c, testLog(t))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func stopNode(t testing.TB, n *Node) {
	t.Helper()
	if err := n.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// eventually waits until ok says so, and fails the test when it does not
// within ten seconds.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("after 10 s still not: %s", what)
		}
	}
}

func dial(t testing.TB, n *Node) (*amqp091.Connection, *amqp091.Channel) {
	t.Helper()
	conn, err := amqp091.Dial("amqp://guest:guest@" + n.Addrs().AMQP.String())
	if err != nil {
		t.Fatal(err)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return conn, ch
}

// publish publishes one message to the default exchange and waits for its confirm.
func publish(t testing.TB, ch *amqp091.Channel, queue, body string) {
	t.Helper()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	c, err := ch.PublishWithDeferredConfirm("", queue, false, false, amqp091.Publishing{Body: []byte(body), DeliveryMode: amqp091.Persistent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if ok, err := c.WaitContext(ctx); err != nil || !ok {
		t.Fatalf("confirmed: %v, %v", ok, err)
	}
}

func declare(t testing.TB, ch *amqp091.Channel, queue string) {
	t.Helper()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
}

func kafkaClient(t testing.TB, n *Node, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(n.Addrs().Kafka.String()), kgo.AllowAutoTopicCreation())...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// TestThread takes one message of each protocol through the whole node, over a
// restart, and back to the client.
func TestThread(t *testing.T) {
	fs, c := vfs.NewMem(), testConfig("/data")
	n := startNode(t, fs, c)
	_, ch := dial(t, n)
	declare(t, ch, "letters")
	publish(t, ch, "letters", "dear reader")

	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	produced, err := kafkaClient(t, n).ProduceSync(ctx, &kgo.Record{Topic: "parcels", Value: []byte("a parcel")}).First()
	if err != nil {
		t.Fatal(err)
	}
	stopNode(t, n)

	n = startNode(t, fs, c)
	defer stopNode(t, n)
	conn, ch := dial(t, n)
	defer conn.Close()
	d, ok, err := ch.Get("letters", false)
	if err != nil || !ok || string(d.Body) != "dear reader" {
		t.Fatalf("after the restart: %q, %v, %v", d.Body, ok, err)
	}
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	consumer := kafkaClient(t, n, kgo.ConsumeTopics("parcels"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	fetches := consumer.PollFetches(ctx)
	if err := fetches.Err(); err != nil {
		t.Fatal(err)
	}
	if r := fetches.Records(); len(r) != 1 || string(r[0].Value) != "a parcel" || r[0].Offset != produced.Offset {
		t.Fatalf("after the restart: %+v", r)
	}
}

// TestStartTime measures how long an empty node takes, on the real file
// system. It asserts nothing: time is the machine's.
// TestStartTime: a node is ready on an empty directory in less than a second. On a busy
// machine one start of a few has to be.
func TestStartTime(t *testing.T) {
	best := time.Hour
	for try := 0; try < 5 && best >= time.Second; try++ {
		began := time.Now()
		n := startNode(t, vfs.OS{}, testConfig(t.TempDir()))
		if err := n.ready(); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(began))
		stopNode(t, n)
	}
	t.Logf("ready on an empty directory after %v", best)
	if best >= time.Second {
		t.Errorf("ready on an empty directory after %v", best)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	c := testConfig(t.TempDir())
	n := startNode(t, vfs.OS{}, c)
	defer stopNode(t, n)
	_, err := Start(t.Context(), c, testLog(t))
	if err == nil || !strings.Contains(err.Error(), c.DataDir) || !strings.Contains(err.Error(), "in use by another process") {
		t.Fatalf("got %v", err)
	}
}

func TestStartFails(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().String()
	for name, c := range map[string]struct {
		spoil func(*Config)
		want  string
	}{
		"amqp port":  {func(c *Config) { c.AMQP.Listen = port }, "--amqp"},
		"kafka port": {func(c *Config) { c.Kafka.Listen = port }, "--kafka"},
		"http port":  {func(c *Config) { c.HTTP.Listen = port }, "--http"},
		"user":       {func(c *Config) { c.Users["alice"] = "secret" }, `"alice"`},
		"directory":  {func(c *Config) { c.DataDir = "/dev/null/data" }, "/dev/null"},
	} {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			cfg := testConfig(t.TempDir())
			c.spoil(&cfg)
			if _, err := Start(t.Context(), cfg, testLog(t)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s in it", err, c.want)
			}
			// What it had taken is free again.
			if name != "directory" {
				stopNode(t, startNode(t, vfs.OS{}, testConfig(cfg.DataDir)))
			}
		})
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	stopNode(t, startNode(t, vfs.NewMem(), testConfig("/data")))
}

func TestHealthOverHTTP(t *testing.T) {
	n := startNode(t, vfs.NewMem(), testConfig("/data"))
	base := "http://" + n.Addrs().HTTP.String()
	get := func(path string) (int, string) {
		resp, err := http.Get(base + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(body)
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if code, body := get(path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	_, metrics := get("/metrics")
	for _, want := range []string{"waybill_auth_logins_total", "waybill_kafka_connections", "go_goroutines"} {
		if want != "waybill_auth_logins_total" && !strings.Contains(metrics, want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	stopNode(t, n)
}

// TestStopDrains stops a node while publishers wait for confirms and checks
// that what was confirmed, and nothing but what was sent, is there afterwards.
func TestStopDrains(t *testing.T) {
	fs, c := vfs.NewMem(), testConfig("/data")
	n := startNode(t, fs, c)
	_, ch := dial(t, n)
	declare(t, ch, "work")

	const publishers = 4
	var mu sync.Mutex
	confirmed, sent := map[string]bool{}, map[string]bool{}
	var done, busy sync.WaitGroup
	busy.Add(publishers)
	for p := range publishers {
		done.Go(func() {
			var once sync.Once
			defer once.Do(busy.Done)
			conn, ch := dial(t, n)
			defer conn.Close()
			if err := ch.Confirm(false); err != nil {
				t.Error(err)
				return
			}
			var waiting sync.WaitGroup
			defer waiting.Wait()
			for i := 0; ; i++ {
				body := fmt.Sprintf("%d-%d", p, i)
				mu.Lock()
				sent[body] = true
				mu.Unlock()
				dc, err := ch.PublishWithDeferredConfirm("", "work", false, false, amqp091.Publishing{Body: []byte(body)})
				if err != nil {
					return // the node is gone
				}
				waiting.Go(func() {
					select {
					case <-dc.Done():
					case <-time.After(time.Minute):
						t.Errorf("%s: neither a confirm nor a closed channel", body)
					}
					if dc.Acked() {
						mu.Lock()
						confirmed[body] = true
						mu.Unlock()
					}
				})
				if i == 500 {
					once.Do(busy.Done)
				}
				if i%100 == 99 {
					waiting.Wait()
				}
			}
		})
	}
	busy.Wait()
	began := time.Now()
	stopNode(t, n)
	took := time.Since(began)
	done.Wait()
	t.Logf("stopped after %v with %d confirmed of %d sent", took, len(confirmed), len(sent))

	n = startNode(t, fs, c)
	defer stopNode(t, n)
	conn, ch := dial(t, n)
	defer conn.Close()
	there := map[string]bool{}
	for {
		d, ok, err := ch.Get("work", true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		if there[string(d.Body)] || !sent[string(d.Body)] {
			t.Errorf("%q is there twice, or was never sent", d.Body)
		}
		there[string(d.Body)] = true
	}
	for body := range confirmed {
		if !there[body] {
			t.Errorf("%q was confirmed and is lost", body)
		}
	}
	if len(confirmed) < 500 {
		t.Errorf("only %d messages were confirmed", len(confirmed))
	}
}

// TestRun runs a node as the command line does and stops it as a signal does.
func TestRun(t *testing.T) {
	ctx, stop := context.WithCancelCause(t.Context())
	reader, out := io.Pipe()
	var log bytes.Buffer
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, testConfig(t.TempDir()), out, &log, "a warning")
		out.Close()
	}()
	banner := make([]byte, 4096)
	k, err := reader.Read(banner)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"AMQP", "amqp://guest:guest@127.0.0.1:", "Kafka", "HTTP", "data", "ready after"} {
		if !strings.Contains(string(banner[:k]), want) {
			t.Errorf("the banner has no %q:\n%s", want, banner[:k])
		}
	}
	stop(errors.New("enough"))
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for _, want := range []string{"a warning", "stopping", "stopped"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log.String())
		}
	}
}
