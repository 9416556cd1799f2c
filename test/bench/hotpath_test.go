package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"waybill/internal/bench"
	"waybill/internal/server"
)

// BenchmarkHotPath is what one message of 1 KiB costs a node from socket to
// disk, or back to the socket. The client is in the same process; it allocates nothing for each
// message (BenchmarkClient), so what is allocated is the node's.
func BenchmarkHotPath(b *testing.B) {
	cfg := server.DefaultConfig()
	cfg.DataDir = b.TempDir()
	cfg.AMQP.Listen, cfg.Kafka.Listen, cfg.HTTP.Listen = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	n, err := server.Start(b.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := n.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	}()
	amqp := func(l bench.Load) (bench.Target, error) {
		return bench.NewAMQP(l, bench.AMQP{URL: "amqp://guest:guest@" + n.Addrs().AMQP.String() + "/", Durable: true, Prefetch: 1000, AckEvery: 1})
	}
	kafka := func(l bench.Load) (bench.Target, error) {
		return bench.NewKafka(l, bench.Kafka{Bootstrap: []string{n.Addrs().Kafka.String()}, Acks: "all", Idempotent: true, Compression: "none", Commit: time.Second})
	}
	for _, c := range []struct {
		name  string
		phase bench.Phase
		open  func(bench.Load) (bench.Target, error)
	}{
		{"amqp/publish", bench.Build, amqp}, {"amqp/deliver", bench.Drain, amqp},
		{"kafka/produce", bench.Build, kafka}, {"kafka/fetch", bench.Drain, kafka},
	} {
		runs := 0
		b.Run(c.name, func(b *testing.B) {
			runs++
			hotPath(b, fmt.Sprintf("%s-%d", c.phase, runs), c.phase, c.open)
		})
	}
}

// hotPath publishes, or consumes, b.N messages.
func hotPath(b *testing.B, name string, phase bench.Phase, open func(bench.Load) (bench.Target, error)) {
	load := func(phase bench.Phase) {
		l := bench.Load{Producers: 1, Consumers: 1, Size: 1024, Queues: 1, InFlight: 1000, Name: name, Phase: phase, Keep: phase == bench.Build}
		if phase == bench.Build {
			l.Messages = int64(b.N)
		}
		t, err := open(l)
		if err == nil {
			_, err = bench.Run(b.Context(), l, t, io.Discard)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if phase == bench.Drain {
		load(bench.Build)
	}
	b.ReportAllocs()
	b.SetBytes(1024)
	b.ResetTimer()
	load(phase)
}
