package prove

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/test/check"
	clustertest "waybill/test/cluster"
	"waybill/test/stock"
)

// mode is one way of using the broker, as a load and what is known of it.
type mode interface {
	// prepare declares what the load needs.
	prepare(ctx context.Context) error
	// run loads the cluster until ctx ends, however broken it is meanwhile.
	run(ctx context.Context)
	// drain reads everything, when the load has ended and the cluster is whole.
	drain(ctx context.Context) error
	// outcome compares.
	outcome() outcome
	// acks is when acknowledgements came; nil for a mode that gets none.
	acks() *timeline
	// refusals is what clients were refused with; nil for a mode that is told of none.
	refusals() *stock.Refusals
}

// outcome is what one run found out about a mode.
type outcome struct {
	Acked      int
	Lost       int // acknowledged, and not there
	Duplicated int // there twice, or delivered twice
	Nacked     int
	Wrong      []string // what must never be: invented, out of order, unmarked
}

// Times of a run.
const (
	loadBefore = 1500 * time.Millisecond
	loadAfter  = 1500 * time.Millisecond
	patience   = 60 * time.Second // for a cluster to become whole, and for a drain
)

// rig is a cluster under load.
type rig struct {
	t       testing.TB
	promise *Promise
	cluster *clustertest.Cluster
	rng     *rand.Rand    // of the test's goroutine
	whole   time.Duration // Settings.Whole
	single  bool          // one node: there is no other one to go to
	bulky   bool          // messages have some size
	modes   map[string]mode
	order   []string
	links   links
	nextID  atomic.Uint32 // of producers

	mu    sync.Mutex
	notes map[string]int // how often
}

var portNumber = regexp.MustCompile(`:\d+|\d+-\d+`)

// note keeps a sentence for the report of the run: what clients met. Sentences that differ in
// a port or in a message are one.
func (r *rig) note(format string, args ...any) {
	text := portNumber.ReplaceAllString(fmt.Sprintf(format, args...), "")
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.notes == nil {
		r.notes = map[string]int{}
	}
	r.notes[text]++
}

// noted lists the sentences.
func (r *rig) noted() (all []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, text := range slices.Sorted(maps.Keys(r.notes)) {
		all = append(all, fmt.Sprintf("%d × %s", r.notes[text], text))
	}
	return all
}

// newModes makes all modes that can be run.
func (r *rig) newModes(names []string) {
	r.modes = map[string]mode{}
	for _, name := range names {
		if m := r.newMode(name); m != nil {
			r.modes[name] = m
			r.order = append(r.order, name)
		}
	}
}

func (r *rig) newMode(name string) mode {
	switch name {
	case "amqp-no-confirms":
		return &amqpMode{r: r, name: name, durable: true, blind: true}
	case "amqp-confirms":
		return &amqpMode{r: r, name: name, durable: true}
	case "amqp-transient":
		return &amqpMode{r: r, name: name}
	case "amqp-tx":
		return &amqpMode{r: r, name: name, durable: true, tx: true}
	case "amqp-consume":
		return &amqpMode{r: r, name: name, durable: true, consume: true}
	case "amqp-auto-ack":
		return &amqpMode{r: r, name: name, durable: true, consume: true, autoAck: true}
	case "kafka-acks-0":
		return newKafkaMode(r, name, acksNone)
	case "kafka-acks-1":
		return newKafkaMode(r, name, acksLeader)
	case "kafka-acks-all":
		return newKafkaMode(r, name, acksAll)
	case "kafka-idempotent":
		return newKafkaMode(r, name, idempotent)
	case "kafka-group":
		return newGroupMode(r, name)
	case "declare":
		return &declareMode{r: r}
	}
	return nil
}

// each calls do with every mode, side by side, and joins the errors.
func (r *rig) each(what string, do func(mode) error) error {
	errs := make([]error, len(r.order))
	var all sync.WaitGroup
	for i, name := range r.order {
		all.Go(func() {
			if err := do(r.modes[name]); err != nil {
				errs[i] = fmt.Errorf("%s: %s: %w", what, name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// Bodies are shorter than smallBody, or from bulkyLeast to bulkyMost bytes. Those come at a slower pace.
const (
	smallBody  = 1000
	bulkyLeast = 4 << 10
	bulkyMost  = 8 << 10
	bulkyPace  = 4
)

// pace is the time between two messages, of a client that usually takes so long.
func (r *rig) pace(usual time.Duration) time.Duration {
	if r.bulky {
		return bulkyPace * usual
	}
	return usual
}

// body makes the body of a message.
func (r *rig) body(v check.Value) []byte {
	if r.bulky {
		return v.Payload(bulkyLeast + rand.IntN(bulkyMost-bulkyLeast))
	}
	return v.Payload(rand.IntN(smallBody))
}

// codec is what Kafka's producers compress with: the client's usual one, but then nothing
// that they send has any size.
func (r *rig) codec() kgo.CompressionCodec {
	if r.bulky {
		return kgo.NoCompression()
	}
	return kgo.SnappyCompression()
}

// producer gives out an id for check.Value.
func (r *rig) producer() check.Value { return check.Value{Producer: r.nextID.Add(1)} }

// links are the open connections of clients, so that they can be cut.
type links struct {
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// link is a client's connection.
type link struct {
	net.Conn
	of *links
}

func (l *link) Close() error {
	l.of.mu.Lock()
	delete(l.of.open, l)
	l.of.mu.Unlock()
	return l.Conn.Close()
}

// dial connects a client.
func (l *links) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := stock.Connect(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	wrapped := &link{c, l}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		l.open = map[net.Conn]struct{}{}
	}
	l.open[wrapped] = struct{}{}
	return wrapped, nil
}

// cut resets all connections.
func (l *links) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		if t, ok := c.(*link).Conn.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a reset
			_ = t.Close()      // the client's reader finds out
		}
	}
}

// pause lets the load run; nothing is waited for.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
