package broker

import (
	"context"
	"encoding/binary"
	"log/slog"
	"sync"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// testNode is a broker on a file system.
type testNode struct {
	*Broker
	store   *storage.Store
	host    *replica.Host
	session *Session
}

func startTestNode(t testing.TB, fs vfs.FS, walSize int64) *testNode {
	t.Helper()
	if _, ok := fs.(vfs.OS); ok {
		return startTestNodeIn(t, fs, t.TempDir(), walSize)
	}
	return startTestNodeIn(t, fs, "data", walSize)
}

func startTestNodeIn(t testing.TB, fs vfs.FS, dir string, walSize int64) *testNode {
	t.Helper()
	n := &testNode{}
	logger := slog.New(slog.DiscardHandler)
	var err error
	n.store, err = storage.Open(fs, dir, storage.Options{
		WALFileSize: walSize,
		Logger:      logger,
		Checkpoint:  func(id record.LogID) (storage.Checkpoint, bool) { return n.host.Checkpoint(id) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.host = replica.NewHost(replica.Config{Store: n.store, ReplicaID: 1, Shards: 2, Logger: logger})
	n.store.Start()
	n.Broker, err = Open(testContext(t), Config{Store: n.store, Host: n.host, Node: 1, Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	if n.session, err = n.OpenSession("/"); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *testNode) stop(t testing.TB) {
	n.session.Close(testContext(t))
	n.Close()
	n.host.Close()
	if err := n.store.Close(); err != nil {
		t.Error(err)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (n *testNode) declare(t testing.TB, q QueueSpec) QueueStatus {
	t.Helper()
	s, err := n.session.DeclareQueue(testContext(t), q)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// publishValue publishes a message that holds v, of size bytes, to the queue of
// that name.
func (n *testNode) publishValue(queue string, v uint64, size int, to Publisher, tag uint64) error {
	body := binary.LittleEndian.AppendUint64(make([]byte, 0, size), v)
	m := record.Message{Time: time.Now().UnixMilli(), TTL: record.NoTTL, RoutingKey: []byte(queue), Properties: []byte{0, 0}, Body: body[:max(size, 8)]}
	_, err := n.session.Publish(&Publication{RoutingKey: queue, Stored: m.Append(nil)}, to, tag)
	return err
}

// received is one delivery to a basket.
type received struct {
	sub   *Subscription
	off   record.Offset
	value uint64
	again bool
}

// basket is a Sink that passes deliveries on, with a window of unsettled ones.
type basket struct {
	mu     sync.Mutex // guards room and paused
	room   int
	paused bool
	ch     chan received
}

func newBasket(window int) *basket { return &basket{room: window, ch: make(chan received, window)} }

func (b *basket) Take(*Subscription, int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = b.room == 0
	if !b.paused {
		b.room--
	}
	return !b.paused
}

func (b *basket) Deliver(s *Subscription, d *Delivery) {
	b.ch <- received{s, d.Offset, valueOf(d), d.Redelivered}
}

// valueOf is the value that publishValue put into the message.
func valueOf(d *Delivery) uint64 { return binary.LittleEndian.Uint64(d.Message.Body) }

func (b *basket) Room(*Subscription) (messages, bytes int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = b.room == 0
	return b.room, 1 << 20
}

func (b *basket) Lost(*Subscription)     {}
func (b *basket) Canceled(*Subscription) {}

// more makes room for n messages.
func (b *basket) more(s *Subscription, n int) {
	b.mu.Lock()
	b.room += n
	resume := b.paused
	b.paused = false
	b.mu.Unlock()
	if resume {
		s.Resume()
	}
}

func (n *testNode) consume(t testing.TB, queue string, b *basket) *Subscription {
	t.Helper()
	s, err := n.session.Subscribe(testContext(t), SubscribeOptions{Queue: queue}, b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *basket) next(t testing.TB) received {
	t.Helper()
	select {
	case r := <-b.ch:
		return r
	case <-time.After(20 * time.Second):
		t.Fatal("nothing is delivered")
		panic("unreachable")
	}
}
