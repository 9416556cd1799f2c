package bench

import (
	"context"
	"io"
	"os"
	"testing"
)

// BenchmarkClient measures what the tool itself needs for a message, against a
// server that does nothing: messages per second and core, here and nowhere else its
// limit.
func BenchmarkClient(b *testing.B) {
	for _, stock := range []bool{false, true} {
		client := "lean"
		if stock {
			client = "stock"
		}
		b.Run("amqp/publish/"+client, func(b *testing.B) { benchClient(b, "amqp", 1, 0, stock) })
		b.Run("amqp/consume/"+client, func(b *testing.B) { benchClient(b, "amqp", 0, 1, stock) })
		b.Run("kafka/produce/"+client, func(b *testing.B) { benchClient(b, "kafka", 1, 0, stock) })
		if !stock { // a group needs more than a null server
			b.Run("kafka/fetch/"+client, func(b *testing.B) { benchClient(b, "kafka", 0, 1, stock) })
		}
	}
}

func benchClient(b *testing.B, protocol string, producers, consumers int, stock bool) {
	addr := startNull(b, protocol)
	load := testLoad()
	load.Producers, load.Consumers, load.Stock, load.InFlight = producers, consumers, stock, 10000
	load.Messages, load.Duration = int64(b.N), 0
	target := newTarget(b, protocol, addr, load)
	b.ReportAllocs()
	before, err := readUsage(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	result, err := Run(context.Background(), load, target, io.Discard)
	b.StopTimer()
	if err != nil {
		b.Fatal(err)
	}
	if got := result.Confirmed + result.Consumed; got < int64(b.N) {
		b.Fatalf("%d messages, want %d", got, b.N)
	}
	after, err := readUsage(os.Getpid())
	if err != nil {
		b.Fatal(err)
	}
	if cpu := (after.cpu - before.cpu).Seconds(); cpu > 0 {
		b.ReportMetric(float64(result.Confirmed+result.Consumed)/cpu, "msgs/core-s")
	}
}

func testLoad() Load {
	return Load{Producers: 1, Consumers: 1, Size: 1024, Queues: 1, InFlight: 100, Name: "waybill-bench"}
}

func newTarget(t testing.TB, protocol, addr string, load Load) Target {
	t.Helper()
	var target Target
	var err error
	if protocol == "amqp" {
		target, err = NewAMQP(load, AMQP{URL: "amqp://guest:guest@" + addr + "/", Durable: true, Prefetch: 1000, AckEvery: 1})
	} else {
		target, err = NewKafka(load, Kafka{Bootstrap: []string{addr}, Acks: "all", Idempotent: true, Compression: "none"})
	}
	if err != nil {
		t.Fatal(err)
	}
	return target
}
