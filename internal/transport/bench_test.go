package transport

import (
	"context"
	"fmt"
	"testing"
)

// pair is two nodes; the second does take with the frames of the first.
func pair(b *testing.B, secure bool, take func(frame []byte, two *node)) (one, two *node) {
	var change1, change2 []func(*Config)
	if secure {
		dir := certificates(b)
		change1, change2 = append(change1, withTLS(b, dir, 1)), append(change2, withTLS(b, dir, 2))
	}
	one, two = start(b, 1, change1...), start(b, 2, change2...)
	two.OnMessage(func(_ Identity, frame []byte) { take(frame, two) })
	one.OnMessage(func(_ Identity, frame []byte) { take(frame, one) })
	meet(b, one, two)
	return one, two
}

// BenchmarkMessages is how fast one node sends to another.
func BenchmarkMessages(b *testing.B) {
	for _, size := range []int{100, 4 << 10, 256 << 10} {
		for _, secure := range []bool{false, true} {
			b.Run(fmt.Sprintf("size=%d/tls=%t", size, secure), func(b *testing.B) {
				window := make(chan struct{}, max(1, maxQueued/4/size)) // frames under way
				one, _ := pair(b, secure, func([]byte, *node) { <-window })
				b.SetBytes(int64(size))
				b.ResetTimer()
				for range b.N {
					window <- struct{}{}
					// A frame is given away, so each is new, as the ones of raft are.
					if !one.Send(2, make([]byte, size)) {
						b.Fatal("a frame was dropped")
					}
				}
				for range cap(window) {
					window <- struct{}{} // all have come
				}
			})
		}
	}
}

// BenchmarkRoundTrip is how long a message there and one back take.
func BenchmarkRoundTrip(b *testing.B) {
	for _, secure := range []bool{false, true} {
		b.Run(fmt.Sprintf("tls=%t", secure), func(b *testing.B) {
			back := make(chan struct{}, 1)
			one, _ := pair(b, secure, func(frame []byte, n *node) {
				if n.id == 2 {
					n.Send(1, frame)
				} else {
					back <- struct{}{}
				}
			})
			b.ResetTimer()
			for b.Loop() {
				one.Send(2, make([]byte, 100))
				<-back
			}
		})
	}
}

// BenchmarkCall is how long a call takes.
func BenchmarkCall(b *testing.B) {
	one, two := pair(b, false, nil)
	two.HandleCall("echo", func(_ context.Context, _ Identity, request []byte) ([]byte, error) { return request, nil })
	b.ResetTimer()
	for b.Loop() {
		if _, err := one.Call(b.Context(), 2, "echo", make([]byte, 100)); err != nil {
			b.Fatal(err)
		}
	}
}
