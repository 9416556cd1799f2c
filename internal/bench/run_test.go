package bench

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

// TestRun goes through a whole run with each client.
func TestRun(t *testing.T) {
	for _, protocol := range []string{"amqp", "kafka"} {
		for _, stock := range []bool{false, true} {
			t.Run(protocol+map[bool]string{true: "/stock", false: "/lean"}[stock], func(t *testing.T) {
				load := testLoad()
				load.Consumers, load.Messages, load.Stock = 0, 1000, stock
				target := newTarget(t, protocol, startNull(t, protocol), load)
				var progress strings.Builder
				r, err := Run(context.Background(), load, target, &progress)
				if err != nil {
					t.Fatal(err)
				}
				if r.Confirmed != 1000 || r.Unconfirmed != 0 || r.Confirm == nil || r.Confirm.N != 1000 || r.Confirm.P50 <= 0 {
					t.Errorf("%+v, latencies %+v", r, r.Confirm)
				}
				var text strings.Builder
				if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "confirm ") {
					t.Errorf("printed %q, %v", text.String(), err)
				}
			})
		}
	}
}

func TestConsume(t *testing.T) {
	for _, protocol := range []string{"amqp", "kafka"} {
		t.Run(protocol, func(t *testing.T) {
			load := testLoad()
			load.Producers, load.Messages = 0, 5000
			r, err := Run(context.Background(), load, newTarget(t, protocol, startNull(t, protocol), load), io.Discard)
			if err != nil || r.Consumed < 5000 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// TestNobodyThere: a broker that is not there is an error, not a hang.
func TestNobodyThere(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	load := testLoad()
	load.Messages = 1
	if _, err := Run(ctx, load, newTarget(t, "amqp", "127.0.0.1:1", load), io.Discard); err == nil {
		t.Error("a run without a broker succeeds")
	}
}

func TestImpossibleLoads(t *testing.T) {
	for name, spoil := range map[string]func(*Load){
		"nobody":   func(l *Load) { l.Producers, l.Consumers = 0, 0 },
		"size":     func(l *Load) { l.Size = 7 },
		"queues":   func(l *Load) { l.Queues = 0 },
		"window":   func(l *Load) { l.InFlight = 0 },
		"rate":     func(l *Load) { l.Rate = -1 },
		"no end":   func(l *Load) { l.Messages, l.Duration = 0, 0 },
		"no phase": func(l *Load) { l.Phase = "boil" },
	} {
		load := testLoad()
		load.Messages = 1
		spoil(&load)
		if _, err := NewAMQP(load, AMQP{URL: "amqp://h/"}); !errors.Is(err, ErrLoad) {
			t.Errorf("%s: %v", name, err)
		}
	}
	load := testLoad()
	load.Messages = 1
	for _, url := range []string{"", "h:5672", "http://h/"} {
		if _, err := NewAMQP(load, AMQP{URL: url}); !errors.Is(err, ErrLoad) {
			t.Errorf("URL %q: %v", url, err)
		}
	}
	for _, k := range []Kafka{{Acks: "2", Compression: "none"}, {Acks: "1", Idempotent: true, Compression: "none"}, {Acks: "all", Compression: "rar"}} {
		if _, err := NewKafka(load, k); !errors.Is(err, ErrLoad) {
			t.Errorf("%+v: %v", k, err)
		}
	}
}

// TestBatches: what a batch is made of comes out again, with each codec.
func TestBatches(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		times := rapid.SliceOfN(rapid.Int64Range(1, 1<<62), 1, 50).Draw(t, "times")
		slices.Sort(times)
		names := []string{"none", "gzip", "snappy", "lz4", "zstd"}
		w := batchWriter{body: newBody(rapid.IntRange(minSize, 100).Draw(t, "size")), codec: codecs[rapid.SampledFrom(names).Draw(t, "codec")]}
		b := w.append(nil, 7, times)
		if _, _, ok, _ := splitBatch(b[:len(b)-1]); ok {
			t.Fatal("a batch that is cut off is taken")
		}
		span, rest, ok, err := splitBatch(b)
		if err != nil || !ok || len(rest) > 0 || span.next != int64(len(times)) {
			t.Fatalf("split: %+v, %d bytes left, %v", span, len(rest), err)
		}
		from := rapid.IntRange(0, len(times)).Draw(t, "from")
		got, err := span.appendTimes(nil, int64(from), kgo.DefaultDecompressor())
		if err != nil || !slices.Equal(got, times[from:]) {
			t.Fatalf("%v %v, want %v", got, err, times[from:])
		}
	})
}

// FuzzBatch: whatever a broker sends, the reader does not panic.
func FuzzBatch(f *testing.F) {
	w := batchWriter{body: newBody(20)}
	f.Add(w.append(nil, 0, []int64{1, 2, 3}))
	inflate := kgo.DefaultDecompressor()
	f.Fuzz(func(_ *testing.T, b []byte) {
		for {
			span, rest, ok, err := splitBatch(b)
			if !ok || err != nil {
				return
			}
			_, _ = span.appendTimes(nil, 0, inflate)
			b = rest
		}
	})
}
