package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/internal/vfs"
)

var hostileSeed = flag.Uint64("hostile.seed", 0, "replay this seed of TestHostileClients")

// noise is what a hostile or lost client may send to any of the listeners.
func noise(rng *rand.PCG) map[string][]byte {
	var random []byte
	for len(random) < 1<<20 {
		random = binary.LittleEndian.AppendUint64(random, rng.Uint64())
	}
	header := "AMQP\x00\x00\x09\x01"
	return map[string][]byte{
		"random bytes":            random,
		"zeros":                   make([]byte, 1<<20),
		"ones":                    bytes.Repeat([]byte{0xff}, 1<<20),
		"a line":                  []byte("hello\r\n\r\n"),
		"HTTP":                    []byte("GET / HTTP/1.0\r\n\r\n"),
		"a large HTTP header":     []byte("GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n"),
		"TLS":                     append([]byte{22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3}, random[:501]...),
		"AMQP 1.0":                []byte("AMQP\x03\x01\x00\x00"),
		"AMQP, then noise":        append([]byte(header), random[:4096]...),
		"AMQP, a frame of 4 GiB":  []byte(header + "\x01\x00\x00\xff\xff\xff\xff"),
		"AMQP, a frame of 9 KiB":  append([]byte(header+"\x01\x00\x00\x00\x00\x24\x00"), make([]byte, 9<<10)...),
		"Kafka, 2 GiB":            []byte("\x7f\xff\xff\xff\x00\x00\x00\x0b"),
		"Kafka, negative":         []byte("\x80\x00\x00\x00\x00\x00\x00\x0b"),
		"Kafka, empty":            []byte("\x00\x00\x00\x00"),
		"Kafka, unknown key":      []byte("\x00\x00\x00\x0c\x7f\xff\x00\x00\x00\x00\x00\x01\xff\xff\x00\x00"),
		"Kafka, array of 2^31-1":  []byte("\x00\x00\x00\x0e\x00\x03\x00\x04\x00\x00\x00\x01\xff\xff\x7f\xff\xff\xff"),
		"Kafka, half a request":   []byte("\x00\x00\x10\x00\x00\x03\x00\x04"),
		"nothing, and it waits":   nil,
		"one byte, and it waits":  []byte("A"),
		"half a header, it waits": []byte("AMQP\x00"),
	}
}

// lockedBuffer collects the log of a node.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// TestHostileClients sends all kinds of noise to all listeners at once, while
// a good client of each protocol works. The node closes every one of the hostile
// connections, names it in the log, keeps its memory, and loses nothing of the good ones.
func TestHostileClients(t *testing.T) {
	c := testConfig("/data")
	c.AMQP.HandshakeTimeout, c.Kafka.IdleTimeout = time.Second, time.Second
	var log lockedBuffer
	n, err := startOn(t.Context(), vfs.NewMem(), c, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer stopNode(t, n)

	conn, ch := dial(t, n)
	defer conn.Close()
	declare(t, ch, "good")
	producer := kafkaClient(t, n)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	seed := *hostileSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("replay with -hostile.seed=%d", seed)
	heap := heapInUse()
	var hostile sync.WaitGroup
	attack(t, &hostile, n, noise(rand.NewPCG(seed, 0)), &log)
	ended := make(chan struct{})
	go func() { hostile.Wait(); close(ended) }()

	sent, began := 0, time.Now()
	for busy := true; busy; sent++ {
		publish(t, ch, "good", fmt.Sprint(sent))
		if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "good", Value: fmt.Append(nil, sent)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ended:
			busy = false
		default:
		}
	}
	if grown := heapInUse() - heap; grown > 128<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	t.Logf("%d messages of each good client in between, %v", sent, time.Since(began))
	for want := range sent {
		d, ok, err := ch.Get("good", true)
		if err != nil || !ok || string(d.Body) != fmt.Sprint(want) {
			t.Fatalf("message %d: %q, %v, %v", want, d.Body, ok, err)
		}
	}
	consumer := kafkaClient(t, n, kgo.ConsumeTopics("good"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	for want := 0; want < sent; {
		fetches := consumer.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		for _, r := range fetches.Records() {
			if string(r.Value) != fmt.Sprint(want) || r.Offset != int64(want) {
				t.Fatalf("record %d: %q at %d", want, r.Value, r.Offset)
			}
			want++
		}
	}
}

// attack opens a connection for each noise and protocol, and checks that the
// node closes it.
func attack(t *testing.T, hostile *sync.WaitGroup, n *Node, noises map[string][]byte, log *lockedBuffer) {
	addrs := n.Addrs()
	for protocol, addr := range map[string]net.Addr{"amqp": addrs.AMQP, "kafka": addrs.Kafka, "http": addrs.HTTP} {
		for name, bytes := range noises {
			waits := strings.HasSuffix(name, "waits") || strings.Contains(name, "half")
			unfinished := len(bytes) < 1<<20 && !strings.HasSuffix(string(bytes), "\r\n\r\n")
			if protocol == "kafka" && waits || protocol == "http" && unfinished {
				continue // closed too, but after ten seconds; their packages test it with another clock
			}
			hostile.Go(func() {
				peer, err := shout(addr, bytes)
				if err != nil {
					t.Errorf("%s, %s: %v", protocol, name, err)
				}
				// A connection that is only idle is nothing to warn of.
				if protocol != "http" && !waits && !strings.Contains(log.String(), peer) {
					t.Errorf("%s, %s: no line of the log names the peer %s", protocol, name, peer)
				}
			})
		}
	}
}

// shout sends bytes and waits until the node closes the connection.
func shout(addr net.Addr, bytes []byte) (peer string, err error) {
	nc, err := net.Dial("tcp", addr.String())
	if err != nil {
		return "", err
	}
	defer nc.Close()
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return "", err
	}
	_, _ = nc.Write(bytes) // fails when the node has closed it already, as it should
	_, err = io.Copy(io.Discard, nc)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return nc.LocalAddr().String(), errors.New("after 20 s the node has not closed the connection")
	}
	return nc.LocalAddr().String(), nil // closed or reset: both will do
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}
