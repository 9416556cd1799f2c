package broker

import (
	"encoding/binary"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// benchSink settles what it gets in batches, as a client with prefetch does.
type benchSink struct {
	pending []record.Offset
	left    int
	done    chan struct{}
}

func (s *benchSink) Take(*Subscription, int) bool { return true }

func (s *benchSink) Deliver(sub *Subscription, d *Delivery) {
	s.pending = append(s.pending, d.Offset)
	s.left--
	if len(s.pending) == 64 || s.left == 0 {
		sub.Settle(Accept, s.pending, nil)
		s.pending = make([]record.Offset, 0, 64)
	}
	if s.left == 0 {
		close(s.done)
	}
}

func (s *benchSink) Room(*Subscription) (messages, bytes int) { return 1 << 20, 1 << 20 }
func (s *benchSink) Lost(*Subscription)                       {}
func (s *benchSink) Canceled(*Subscription)                   {}

// slots bound the publishes without a confirm.
type slots chan struct{}

func (w slots) Published(_ uint64, err error) {
	if err != nil {
		panic(err)
	}
	<-w
}

// BenchmarkQueue is the whole life of a message of 1 KiB in one queue:
// published, confirmed, delivered and acknowledged, without the protocol around
// it.
func BenchmarkQueue(b *testing.B) {
	for _, durable := range []bool{true, false} {
		name := "memory"
		if durable {
			name = "durable"
		}
		b.Run(name, func(b *testing.B) { benchmarkQueue(b, durable) })
	}
}

func benchmarkQueue(b *testing.B, durable bool) {
	n := startTestNode(b, vfs.OS{}, 128<<20)
	defer n.stop(b)
	n.declare(b, QueueSpec{Name: "q", Durable: durable})
	sink := &benchSink{left: b.N, done: make(chan struct{})}
	if _, err := n.session.Subscribe(b.Context(), SubscribeOptions{Queue: "q"}, sink, nil); err != nil {
		b.Fatal(err)
	}
	body := make([]byte, 1024)
	w := make(slots, 2000)
	b.ReportAllocs()
	b.SetBytes(1024)
	b.ResetTimer()
	for i := range b.N {
		binary.LittleEndian.PutUint64(body, uint64(i))
		m := record.Message{Time: time.Now().UnixMilli(), TTL: record.NoTTL, RoutingKey: []byte("q"), Properties: []byte{0, 0}, Body: body}
		stored := m.Append(make([]byte, 0, m.EncodedLen()))
		w <- struct{}{}
		if _, err := n.session.Publish(&Publication{RoutingKey: "q", Stored: stored}, w, uint64(i)); err != nil {
			b.Fatal(err)
		}
	}
	<-sink.done
}

// BenchmarkQueueBacklog drains messages of 1 KiB that are on disk only.
func BenchmarkQueueBacklog(b *testing.B) {
	fs, dir := vfs.OS{}, b.TempDir()
	n := startTestNodeIn(b, fs, dir, 4<<20)
	n.declare(b, QueueSpec{Name: "q", Durable: true})
	w := make(slots, 5000)
	for v := range uint64(b.N) {
		w <- struct{}{}
		if err := n.publishValue("q", v, 1024, w, v); err != nil {
			b.Fatal(err)
		}
	}
	for range cap(w) {
		w <- struct{}{}
	}
	n.stop(b)
	n = startTestNodeIn(b, fs, dir, 4<<20)
	defer n.stop(b)
	sink := &benchSink{left: b.N, done: make(chan struct{})}
	b.SetBytes(1024)
	b.ReportAllocs()
	b.ResetTimer()
	if _, err := n.session.Subscribe(b.Context(), SubscribeOptions{Queue: "q"}, sink, nil); err != nil {
		b.Fatal(err)
	}
	<-sink.done
}

// BenchmarkQueueForwarded is BenchmarkQueue for a client of another node than
// the leader, over TCP; local is the same for a client of the leader.
func BenchmarkQueueForwarded(b *testing.B) {
	for _, node := range []int{1, 3} {
		b.Run(map[int]string{1: "local", 3: "forwarded"}[node], func(b *testing.B) {
			r := newRig(b, 3, 1, nil)
			r.tcp = true
			r.lead(1)
			defer r.stop()
			n := r.nodes[node-1]
			sink := &benchSink{left: b.N, done: make(chan struct{})}
			if _, err := n.session.Subscribe(b.Context(), SubscribeOptions{Queue: "q"}, sink, nil); err != nil {
				b.Fatal(err)
			}
			body := make([]byte, 1024)
			w := make(slots, 2000)
			b.ReportAllocs()
			b.SetBytes(1024)
			b.ResetTimer()
			for i := range b.N {
				w <- struct{}{}
				n.put(b, "q", w, uint64(i), body)
			}
			<-sink.done
		})
	}
}
