package broker

import (
	"context"
	"encoding/binary"
	"log/slog"
	"math/rand/v2"
	"strings"
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

// publishValue publishes a message that holds v, of size bytes, to the queue of that name.
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

func TestDurableQueueSurvivesARestart(t *testing.T) {
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 1<<20)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	confirmed := make(confirms, 10)
	for v := range uint64(10) {
		if err := n.publishValue("q", v, 8, confirmed, v); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
	}
	b := newBasket(5)
	s := n.consume(t, "q", b)
	var got []received
	for range 5 {
		got = append(got, b.next(t))
	}
	settled := make(chan error, 1)
	s.Settle(Accept, []record.Offset{got[0].off, got[2].off}, func(err error) { settled <- err })
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	n.stop(t)

	n = startTestNode(t, fs, 1<<20)
	defer n.stop(t)
	if s := n.declare(t, QueueSpec{Name: "q", Durable: true}); s.Ready != 8 {
		t.Fatalf("%d messages are there, want 8", s.Ready)
	}
	b = newBasket(100)
	n.consume(t, "q", b)
	for _, v := range []uint64{1, 3, 4, 5, 6, 7, 8, 9} {
		r := b.next(t)
		if r.value != v || v < 5 && !r.again {
			t.Fatalf("got %d (again %v), want %d", r.value, r.again, v)
		}
	}
}

// A backlog that is far larger than the memtables comes from disk, in order, also
// when much of it is requeued.
func TestDurableQueueReadsItsBacklogFromDisk(t *testing.T) {
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 1<<20)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	const count, size = 8000, 2000
	confirmed := make(confirms, count)
	for v := range uint64(count) {
		if err := n.publishValue("q", v, size, confirmed, v); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
	}
	n.stop(t)
	n = startTestNode(t, fs, 1<<20)
	defer n.stop(t)
	b := newBasket(count)
	s := n.consume(t, "q", b)
	var offsets []record.Offset
	for v := range uint64(count) {
		r := b.next(t)
		if r.value != v {
			t.Fatalf("got %d, want %d", r.value, v)
		}
		if v%3 == 0 {
			offsets = append(offsets, r.off)
		}
	}
	s.Settle(Requeue, offsets, nil)
	b.more(s, len(offsets))
	for i := range offsets {
		if r := b.next(t); r.value != uint64(3*i) || !r.again {
			t.Fatalf("got %d (again %v), want %d again", r.value, r.again, 3*i)
		}
	}
}

// TestDurableQueueLosesNothingInAPowerCut publishes and consumes while the
// power is cut at a random sync, many times on the same disk: what was confirmed and
// not settled is there afterwards, once, in order, and flagged if it
// was delivered; what was settled durably is not.
func TestDurableQueueLosesNothingInAPowerCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 256<<10)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	n.stop(t)
	w := &cutWorld{confirmed: map[uint64]bool{}, settled: map[uint64]bool{}, delivered: map[uint64]bool{}}
	for range 20 {
		clone := w.life(t, fs, rng)
		if fs = clone; t.Failed() {
			return
		}
		w.inspect(t, fs)
	}
}

// cutWorld is what the clients know, over all lives of the disk.
type cutWorld struct {
	mu        sync.Mutex // guards the maps and next
	next      uint64
	confirmed map[uint64]bool
	settled   map[uint64]bool // durably
	settling  map[uint64]bool // or perhaps
	delivered map[uint64]bool
	over      bool // the power is cut: what is answered now does not count
}

type cutPublisher struct {
	w     *cutWorld
	slots chan struct{}
}

func (p *cutPublisher) Published(tag uint64, err error) {
	p.w.mu.Lock()
	if err == nil && !p.w.over {
		p.w.confirmed[tag] = true
	}
	p.w.mu.Unlock()
	<-p.slots
}

func (w *cutWorld) life(t *testing.T, fs *vfs.Mem, rng *rand.Rand) *vfs.Mem {
	n := startTestNode(t, fs, 256<<10)
	w.over, w.settling = false, map[uint64]bool{}
	after := 1 + rng.IntN(40)
	cutSeed := rng.Uint64()
	dead := make(chan struct{})
	var once sync.Once
	var clone *vfs.Mem
	var syncs sync.Mutex // guards after
	fs.OnSync(func(vfs.SyncPoint) {
		syncs.Lock()
		after--
		cut := after == 0
		syncs.Unlock()
		if cut {
			once.Do(func() {
				w.mu.Lock()
				defer w.mu.Unlock()
				clone = fs.CrashClone(cutSeed)
				w.over = true
				close(dead)
			})
		}
	})
	var clients sync.WaitGroup
	clients.Go(func() { w.publish(n, dead) })
	clients.Go(func() { w.consume(t, n, dead) })
	clients.Wait()
	fs.OnSync(nil)
	n.stop(t)
	return clone
}

func (w *cutWorld) publish(n *testNode, dead chan struct{}) {
	p := &cutPublisher{w, make(chan struct{}, 50)}
	for {
		select {
		case <-dead:
			return
		case p.slots <- struct{}{}:
		}
		w.mu.Lock()
		w.next++
		v := w.next
		w.mu.Unlock()
		if err := n.publishValue("q", v, 100+int(v%1000), p, v); err != nil {
			panic(err)
		}
	}
}

func (w *cutWorld) consume(t *testing.T, n *testNode, dead chan struct{}) {
	b := newBasket(20)
	s := n.consume(t, "q", b)
	for {
		var r received
		select {
		case <-dead:
			return
		case r = <-b.ch:
		}
		w.mu.Lock()
		if !w.over {
			if w.settled[r.value] {
				t.Errorf("%d comes again, though its settlement was durable", r.value)
			}
			if w.delivered[r.value] && !r.again {
				t.Errorf("%d comes again without the flag", r.value)
			}
			w.delivered[r.value] = true
			w.settling[r.value] = true
		}
		w.mu.Unlock()
		var done func(error)
		if r.value%7 == 0 {
			done = func(err error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				if err == nil && !w.over {
					w.settled[r.value] = true
				}
			}
		}
		s.Settle(Accept, []record.Offset{r.off}, done)
		b.more(s, 1)
	}
}

// inspect looks at all that the queue holds, and leaves it there.
func (w *cutWorld) inspect(t *testing.T, fs *vfs.Mem) {
	n := startTestNode(t, fs, 256<<10)
	ready := n.declare(t, QueueSpec{Name: "q", Durable: true}).Ready
	b := newBasket(ready + 1)
	n.consume(t, "q", b)
	held := map[uint64]bool{}
	last := uint64(0)
	for range ready {
		r := b.next(t)
		if r.value <= last || r.value > w.next {
			t.Errorf("%d after %d", r.value, last)
		}
		if w.settled[r.value] {
			t.Errorf("%d is there, though its settlement was durable", r.value)
		}
		if w.delivered[r.value] && !r.again {
			t.Errorf("%d comes again without the flag", r.value)
		}
		last = r.value
		held[r.value] = true
		w.delivered[r.value] = true
	}
	for v := range w.confirmed {
		switch {
		case held[v], w.settled[v]:
		case w.settling[v]:
			w.settled[v] = true // it was decided by the power cut
		default:
			t.Errorf("%d was confirmed, never settled, and is gone", v)
		}
	}
	n.stop(t)
}

// An auto-delete queue goes with its last consumer, and its name can be used
// again at once; x-expires ends a queue that nobody uses.
func TestQueuesThatDeleteThemselves(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	for range 20 {
		n.declare(t, QueueSpec{Name: "q", Durable: true, AutoDelete: true})
		confirmed := make(confirms, 1)
		if err := n.publishValue("q", 1, 8, confirmed, 1); err != nil {
			t.Fatal(err)
		}
		b := newBasket(1)
		s := n.consume(t, "q", b)
		if r := b.next(t); r.again {
			t.Fatal("a message of the deleted queue is back")
		}
		s.Close()
	}
	n.declare(t, QueueSpec{Name: "lease", Args: record.Table{"x-expires": int32(50)}})
	deadline := time.Now().Add(20 * time.Second)
	for {
		if _, ok := n.session.vhost.queues.get("lease"); !ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the queue does not expire")
		}
		time.Sleep(time.Millisecond) // polling, within the deadline
	}
}

// A message that rots on the disk stops the deliveries before it: consumers
// get no gap, and publishing goes on.
func TestDurableQueueStopsAtDamage(t *testing.T) {
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 256<<10)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	const count, size = 2000, 2000
	confirmed := make(confirms, count)
	for v := range uint64(count) {
		if err := n.publishValue("q", v, size, confirmed, v); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
	}
	n.stop(t)
	rotSegments(t, fs)

	n = startTestNode(t, fs, 256<<10)
	defer n.stop(t)
	b := newBasket(count)
	n.consume(t, "q", b)
	q, _ := n.session.vhost.queues.get("q")
	pull, err := n.session.Subscribe(testContext(t), SubscribeOptions{Queue: "q", Pull: true}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Gets compete with the consumer until both come to the damage.
	seen := map[uint64]bool{}
	for {
		d, _, ok, err := pull.Get(testContext(t))
		if err != nil {
			break
		}
		if !ok {
			t.Fatal("the queue pretends to be empty")
		}
		seen[valueOf(d)] = true
	}
	delivered := int(q.Depth().Unacked)
	for len(seen) < delivered {
		seen[b.next(t).value] = true
	}
	for v := range uint64(delivered) {
		if !seen[v] {
			t.Fatalf("%d messages were delivered, and %d is not among them: a gap", delivered, v)
		}
	}
	if delivered == 0 || delivered == count {
		t.Fatalf("%d messages were delivered: the damage is not where it was meant to be", delivered)
	}
	if err := n.publishValue("q", count, size, confirmed, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-confirmed; err != nil {
		t.Fatal(err)
	}
}

// rotSegments flips a byte in the middle of each segment.
func rotSegments(t *testing.T, fs *vfs.Mem) {
	t.Helper()
	found := false
	var walk func(dir string)
	walk = func(dir string) {
		names, err := fs.List(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			path := dir + "/" + name
			info, err := fs.Stat(path)
			switch {
			case err != nil:
				t.Fatal(err)
			case info.IsDir():
				walk(path)
			case strings.HasSuffix(name, ".seg"):
				found = true
				if err := fs.Flip(path, info.Size()/2, 0xff); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	walk("data")
	if !found {
		t.Fatal("no segment was written")
	}
}
