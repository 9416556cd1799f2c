package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// newTestVHost is a virtual host without a catalog: its queues live in memory.
func newTestVHost() *vhost {
	b := &Broker{
		cfg:     Config{Now: time.Now, Node: 1, Cluster: &rigNode{}},
		log:     slog.New(slog.DiscardHandler),
		budget:  newBudget(1 << 30),
		metrics: newMetrics(nil),
		leaders: NewLeaders(),
	}
	b.directory = deafDirectory(b)
	v := &vhost{b: b, name: "/"}
	v.exchanges.set("", newExchange(v, catalog.Exchange{Type: "direct"}))
	return v
}

func (v *vhost) testQueue(name string, args record.Table) *Queue {
	q := newQueue(v, catalog.Queue{Name: name, Node: 1}, args)
	v.queues.set(name, q)
	return q
}

// storedMessage is the stored form of a message with that body, to queue q.
func storedMessage(body string, ttl time.Duration) []byte {
	m := record.Message{Time: time.Now().UnixMilli(), TTL: ttl, RoutingKey: []byte("key"), Properties: []byte{0, 0}, Body: []byte(body)}
	return m.Append(nil)
}

func (q *Queue) put(bodies ...string) {
	for _, body := range bodies {
		accept(q, storedMessage(body, record.NoTTL), nil, 0)
	}
}

// confirms is a Publisher that collects.
type confirms chan error

func (c confirms) Published(_ uint64, err error) { c <- err }

// taker is a Sink with room for window messages.
type taker struct {
	window   int
	got      []string // "body" or "body again"; only between synctest.Wait calls
	offsets  []record.Offset
	canceled bool
}

func (t *taker) Take(*Subscription, int) bool {
	if t.window == 0 {
		return false
	}
	t.window--
	return true
}

func (t *taker) Deliver(_ *Subscription, d *Delivery) {
	text := string(d.Message.Body)
	if d.Redelivered {
		text += " again"
	}
	t.got = append(t.got, text)
	t.offsets = append(t.offsets, d.Offset)
}

func (t *taker) Room(*Subscription) (messages, bytes int) { return t.window, 1 << 20 }
func (t *taker) Lost(*Subscription)                       {}
func (t *taker) Canceled(*Subscription)                   { t.canceled = true }

func (t *taker) expect(tb testing.TB, want ...string) {
	tb.Helper()
	synctest.Wait()
	if got, want := strings.Join(t.got, ", "), strings.Join(want, ", "); got != want {
		tb.Fatalf("got %s; want %s", got, want)
	}
	t.got = nil
}

func consume(tb testing.TB, q *Queue, o SubscribeOptions, window int) (*Subscription, *taker) {
	tb.Helper()
	sink := &taker{window: window}
	s, err := q.subscribe(context.Background(), o, sink, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return s, sink
}

func (q *Queue) expectDepth(tb testing.TB, ready, unacked, bytes int64) {
	tb.Helper()
	synctest.Wait()
	d := q.Depth()
	if d.Ready != ready || d.Unacked != unacked || d.Bytes != bytes {
		tb.Fatalf("%s has %d ready, %d unacked, %d bytes; want %d, %d, %d", q, d.Ready, d.Unacked, d.Bytes, ready, unacked, bytes)
	}
}

func TestMemoryQueueDeliversAndSettles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestVHost().testQueue("q", nil)
		confirmed := make(confirms, 10)
		accept(q, storedMessage("a", record.NoTTL), confirmed, 1)
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
		s, sink := consume(t, q, SubscribeOptions{}, 3)
		q.put("b", "c", "d")
		sink.expect(t, "a", "b", "c")
		q.expectDepth(t, 1, 3, 4)
		s.Settle(Accept, []record.Offset{1}, nil)
		s.Settle(Requeue, []record.Offset{0}, nil)
		s.Settle(Accept, []record.Offset{1, 77}, nil) // unknown: ignored
		q.expectDepth(t, 2, 1, 3)
		sink.window = 2
		s.Resume()
		sink.expect(t, "a again", "d")
		s.Close()
		q.expectDepth(t, 3, 0, 3)
		_, sink = consume(t, q, SubscribeOptions{NoAck: true}, 9)
		sink.expect(t, "a again", "c again", "d again")
		q.expectDepth(t, 0, 0, 0)
		if used := q.vhost.b.budget.used.Load(); used != 0 {
			t.Fatalf("%d bytes of the budget are not given back", used)
		}
		if n := q.group.(*memoryGroup).retained; n != 0 {
			t.Fatalf("an empty queue retains %d bytes", n)
		}
	})
}

// A verb sees what was published before it, confirmed or not.
func TestMemoryQueueVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		q := newTestVHost().testQueue("q", nil)
		q.put("a", "b", "c")
		if s, err := q.status(ctx); err != nil || s.Ready != 3 {
			t.Fatalf("status %+v, %v", s, err)
		}
		pull, err := q.subscribe(ctx, SubscribeOptions{Pull: true}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, remaining, ok, err := pull.Get(ctx)
		if err != nil || !ok || string(d.Message.Body) != "a" || remaining != 2 || d.Redelivered {
			t.Fatalf("get: %v %d %v %v", d, remaining, ok, err)
		}
		var e *Error
		if _, err := q.prepareDelete(ctx, false, true); !errors.As(err, &e) || e.Kind != PreconditionFailed {
			t.Fatalf("delete of a queue that is not empty: %v", err)
		}
		if n, err := q.purge(ctx); n != 2 || err != nil {
			t.Fatalf("purged %d, %v", n, err)
		}
		if _, _, ok, err := pull.Get(ctx); ok || err != nil {
			t.Fatalf("get from an empty queue: %v %v", ok, err)
		}
		_, sink := consume(t, q, SubscribeOptions{}, 0)
		if _, err := q.prepareDelete(ctx, true, false); !errors.As(err, &e) || e.Kind != PreconditionFailed {
			t.Fatalf("delete of a queue that is used: %v", err)
		}
		pull.Close()
		if n, err := q.prepareDelete(ctx, false, false); n != 1 || err != nil {
			t.Fatalf("delete: %d, %v", n, err)
		}
		confirmed := make(confirms, 1)
		accept(q, storedMessage("late", record.NoTTL), confirmed, 1)
		q.remove()
		if err := <-confirmed; err != nil {
			t.Fatalf("a message that went with its queue: %v", err)
		}
		synctest.Wait()
		if !sink.canceled {
			t.Fatal("the consumer does not know that the queue is gone")
		}
		if _, err := q.status(ctx); !errors.As(err, &e) || e.Kind != NotFound {
			t.Fatalf("status of a deleted queue: %v", err)
		}
	})
}

func TestMemoryQueueAbandonedGetIsRequeued(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestVHost().testQueue("q", nil)
		q.put("a")
		pull, err := q.subscribe(context.Background(), SubscribeOptions{Pull: true}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		gone, cancel := context.WithCancel(context.Background())
		cancel()
		if _, _, ok, err := pull.Get(gone); err == nil && !ok {
			t.Fatal("neither a message nor an error")
		}
		synctest.Wait()
		if d := q.Depth(); d.Ready+d.Unacked != 1 {
			t.Fatalf("the message is lost: %+v", d)
		}
	})
}

func TestMemoryQueueExpiresMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVHost()
		v.testQueue("dead", nil)
		q := v.testQueue("q", record.Table{
			"x-message-ttl": int32(100), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
		})
		dead, _ := v.queues.get("dead")
		q.put("a")
		accept(q, storedMessage("b", 30*time.Millisecond), nil, 0)
		time.Sleep(50 * time.Millisecond) // of the bubble: b waits behind a, as in RabbitMQ
		q.expectDepth(t, 2, 0, 2)
		time.Sleep(51 * time.Millisecond)
		q.expectDepth(t, 0, 0, 0)
		dead.expectDepth(t, 2, 0, 2)
		s, sink := consume(t, dead, SubscribeOptions{}, 9)
		sink.expect(t, "a", "b")
		s.Settle(Accept, sink.offsets, nil)
		dead.expectDepth(t, 0, 0, 0)
	})
}

func TestMemoryQueueLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVHost()
		q := v.testQueue("drop", record.Table{"x-max-length": int32(2)})
		q.put("a", "b", "c", "d")
		q.expectDepth(t, 2, 0, 2)
		_, sink := consume(t, q, SubscribeOptions{}, 9)
		sink.expect(t, "c", "d")

		v.testQueue("dead", nil)
		dead, _ := v.queues.get("dead")
		q = v.testQueue("reject", record.Table{
			"x-max-length-bytes": int32(5), "x-overflow": "reject-publish-dlx",
			"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead",
		})
		confirmed := make(confirms, 10)
		for _, body := range []string{"abc", "def", "ghi"} {
			accept(q, storedMessage(body, record.NoTTL), confirmed, 0)
		}
		synctest.Wait()
		var nacks int
		for range 3 {
			if err := <-confirmed; err != nil {
				nacks++
			}
		}
		if nacks != 1 {
			t.Fatalf("%d of 3 are refused, want 1", nacks)
		}
		q.expectDepth(t, 2, 0, 6)
		dead.expectDepth(t, 1, 0, 3)
	})
}

func TestDeadLetterHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVHost()
		a := v.testQueue("a", record.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "b"})
		b := v.testQueue("b", record.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "a", "x-message-ttl": int32(10)})
		props := record.Properties{Headers: record.Table{"mine": int32(1)}, Expiration: "60000"}
		raw, err := props.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		m := record.Message{Time: time.Now().UnixMilli(), TTL: time.Minute, RoutingKey: []byte("a"), Properties: raw, Body: []byte("x")}
		accept(a, m.Append(nil), nil, 0)
		for round := range 2 { // a rejects, b expires: no circle, since somebody rejects
			s, sink := consume(t, a, SubscribeOptions{}, 1)
			sink.expect(t, "x")
			s.Settle(Discard, sink.offsets, nil)
			s.Close()
			b.expectDepth(t, 1, 0, 1)
			a.expectDepth(t, 0, 0, 0)
			if round == 0 {
				time.Sleep(10 * time.Millisecond)
			}
		}
		pull, err := b.subscribe(t.Context(), SubscribeOptions{Pull: true}, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, _, ok, err := pull.Get(t.Context())
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		got, err := record.ParseProperties(d.Message.Properties)
		if err != nil {
			t.Fatal(err)
		}
		deaths := got.Headers["x-death"].([]any)
		first, second := deaths[0].(record.Table), deaths[1].(record.Table)
		text := fmt.Sprint(len(deaths), first["queue"], first["reason"], first["count"], first["original-expiration"],
			second["queue"], second["reason"], second["count"], got.Headers["x-first-death-queue"],
			got.Headers["x-last-death-reason"], got.Headers["mine"], got.Expiration == "")
		if want := fmt.Sprint(2, "a", "rejected", 2, "60000", "b", "expired", 1, "a", "rejected", 1, true); text != want {
			t.Fatalf("got %s, want %s", text, want)
		}
	})
}

// A message that expires from one queue into the next and back would go round
// for ever.
func TestDeadLetterCircleEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVHost()
		ttl := func(to string) record.Table {
			return record.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": to, "x-message-ttl": int32(10)}
		}
		a, b := v.testQueue("a", ttl("b")), v.testQueue("b", ttl("a"))
		a.put("x")
		b.expectDepth(t, 0, 0, 0)
		time.Sleep(10 * time.Millisecond)
		b.expectDepth(t, 1, 0, 1)
		time.Sleep(100 * time.Millisecond)
		a.expectDepth(t, 0, 0, 0)
		b.expectDepth(t, 0, 0, 0)
	})
}

// A message that one of its dead-letter queues refuses is offered to that one
// again, and only to that one.
func TestDeadLetterIsRepeatedWhereItWasRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newTestVHost()
		x := newExchange(v, catalog.Exchange{Name: "dlx", Type: "fanout"})
		v.exchanges.set("dlx", x)
		open, full := v.testQueue("open", nil), v.testQueue("full", record.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
		for _, to := range []*Queue{open, full} {
			x.follow(&catalog.Binding{Source: "dlx", Destination: to.spec.Name}, false, target{queue: to})
		}
		q := v.testQueue("q", record.Table{"x-dead-letter-exchange": "dlx"})
		full.put("before")
		q.put("dead")
		s, sink := consume(t, q, SubscribeOptions{}, 1)
		sink.expect(t, "dead")
		s.Settle(Discard, sink.offsets, nil)
		time.Sleep(10 * burialRetry)
		open.expectDepth(t, 1, 0, 4)
		_, sink = consume(t, full, SubscribeOptions{NoAck: true}, 1)
		sink.expect(t, "before")
		time.Sleep(burialRetry)
		full.expectDepth(t, 1, 0, 4)
		open.expectDepth(t, 1, 0, 4)
		q.expectDepth(t, 0, 0, 0)
	})
}

// One message that stays must not keep the memory of all that came after it.
func TestMemoryQueueFreesWhatIsSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newTestVHost().testQueue("q", nil)
		q.put("first")
		s, sink := consume(t, q, SubscribeOptions{}, 1<<30)
		body := strings.Repeat("x", 10_000)
		for range 50 {
			for range 20 {
				q.put(body)
			}
			synctest.Wait()
			s.Settle(Accept, sink.offsets[1:], nil)
			sink.offsets = sink.offsets[:1:1]
			synctest.Wait()
		}
		if n := q.group.(*memoryGroup).retained; n > 2*minSweep {
			t.Fatalf("%d bytes are retained for one small message", n)
		}
		q.expectDepth(t, 0, 1, 5)
	})
}

// accept publishes one stored message to a queue.
func accept(q *Queue, stored []byte, to Publisher, tag uint64) {
	q.vhost.b.budget.acquire(int64(len(stored)))
	q.post(command{kind: cmdPublish, stored: stored, to: to, tag: tag})
}
