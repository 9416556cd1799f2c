package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/internal/bench"
)

// failoverName is the queue or topic whose leader is killed or moved.
const failoverName = "failover"

// Figures of a failover row.
const (
	failoverPace   = 2 * time.Millisecond // between two messages
	failoverWindow = 200                  // unconfirmed messages
	failoverQuiet  = 1500 * time.Millisecond
	failoverBound  = time.Minute     // for service to come back
	failoverLong   = 8 * time.Minute // after which a contender is spared the rest

	// failoverConfirm is when a publisher gives up a connection on which nothing is confirmed:
	// RabbitMQ may leave unanswered for long what it is sent while a queue has no leader.
	failoverConfirm = 2 * time.Second
)

// failoverTimes is how often the leader is killed, or moved, where that does not take too
// long: the environment variable FAILOVERS, else 50.
func failoverTimes() int {
	if n, err := strconv.Atoi(os.Getenv("FAILOVERS")); err == nil && n > 0 {
		return n
	}
	return 50
}

// failover is the work of a row whose name begins with "failover-": a publisher with
// confirms is under way while the leader is killed, or moved, again and again. The longest time
// without a confirm, each time, is what is measured: its quantiles stand in the result's Confirm, and how
// many times it was in Confirmed.
func (r *runner) failover(ctx context.Context, w row, b *broker) (*bench.Result, error) {
	load, err := startFailoverLoad(ctx, w, b)
	if err != nil {
		return nil, err
	}
	defer load.stop()
	var gaps []time.Duration
	enough := time.Now().Add(failoverLong)
	for n := 0; n < failoverTimes() && (n == 0 || time.Now().Before(enough)); n++ {
		if err := load.await(ctx, time.Now()); err != nil {
			return nil, err
		}
		gap, err := once(ctx, w, b, load)
		if err != nil {
			return nil, fmt.Errorf("%d: %w", n+1, err)
		}
		fmt.Printf("%-22s %-26s %3d: %v\n", w.Name, b.name, n+1, gap.Round(time.Millisecond))
		gaps = append(gaps, gap)
	}
	slices.Sort(gaps)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	return &bench.Result{
		Protocol: w.protocol, Started: time.Now().UTC(), Confirmed: int64(len(gaps)),
		Confirm: &bench.Latency{P50: ms(gaps[len(gaps)/2]), P99: ms(gaps[len(gaps)*99/100]), Max: ms(gaps[len(gaps)-1])},
	}, nil
}

// once kills or moves the leader, once, and returns the longest time without a confirm.
func once(ctx context.Context, w row, b *broker, load *failoverLoad) (time.Duration, error) {
	c := b.cluster
	if err := c.await(c.healthy); err != nil {
		return 0, err
	}
	leader, err := c.leader(ctx, c)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	if kills(w) {
		err = b.kill(leader)
	} else {
		err = c.transfer(ctx, c, (leader+1)%len(c.nodes))
	}
	if err != nil {
		return 0, err
	}
	gap := failoverBound // a contender that is not back then is not waited for
	err = load.await(ctx, began.Add(failoverQuiet))
	switch {
	case err == nil:
		gap = load.longest(began)
	case !errors.Is(err, errNotBack):
		return 0, err
	default:
		fmt.Printf("%-22s %-26s %v\n", w.Name, b.name, err)
	}
	if kills(w) {
		if err := b.startNode(leader); err != nil {
			return 0, err
		}
	}
	return gap, nil
}

var errNotBack = errors.New("nothing is confirmed again")

// failoverLoad is a publisher that is under way.
type failoverLoad struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu   sync.Mutex
	acks []time.Time
	last error // what a connection ended with
}

func (l *failoverLoad) ack() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acks = append(l.acks, time.Now())
}

func (l *failoverLoad) stop() {
	l.cancel()
	l.running.Wait()
}

// await waits until something was confirmed after t.
func (l *failoverLoad) await(ctx context.Context, t time.Time) error {
	late := time.After(time.Until(t) + failoverBound)
	for {
		l.mu.Lock()
		ok, last := len(l.acks) > 0 && l.acks[len(l.acks)-1].After(t), l.last
		l.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("%w within %v; the last connection ended with: %w", errNotBack, failoverBound, last)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// longest is the longest time between two confirms of which the later one came after t.
func (l *failoverLoad) longest(t time.Time) (gap time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := len(l.acks) - 1; i > 0 && l.acks[i].After(t); i-- {
		gap = max(gap, l.acks[i].Sub(l.acks[i-1]))
	}
	return gap
}

func startFailoverLoad(ctx context.Context, w row, b *broker) (*failoverLoad, error) {
	ctx, cancel := context.WithCancel(ctx)
	l := &failoverLoad{cancel: cancel}
	var err error
	if w.protocol == "kafka" {
		err = l.startKafka(ctx, b)
	} else {
		err = l.startAMQP(ctx, b)
	}
	if err != nil {
		cancel()
	}
	return l, err
}

// startAMQP publishes over a connection to one node, and to the next one when that breaks.
func (l *failoverLoad) startAMQP(ctx context.Context, b *broker) error {
	var addrs []string
	for _, n := range b.cluster.nodes {
		addrs = append(addrs, n.amqp)
	}
	args := amqp.Table{}
	if b.name == rabbit3 {
		args["x-queue-type"] = "quorum"
	}
	c, err := dialFailover(addrs[0])
	if err != nil {
		return err
	}
	_, err = c.ch.QueueDeclare(failoverName, true, false, false, false, args)
	c.hangUp()
	if err != nil {
		return err
	}
	l.running.Go(func() {
		for turn := 0; ctx.Err() == nil; turn++ {
			c, err := dialFailover(addrs[turn%len(addrs)])
			if err == nil {
				err = l.publish(ctx, c) // the next connection will do
				c.hangUp()
			}
			l.met(err)
			select {
			case <-time.After(10 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	return nil
}

// met keeps what a connection ended with, for when service does not come back.
func (l *failoverLoad) met(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = err
}

// failoverConn is a connection of the publisher.
type failoverConn struct {
	ch      *amqp.Channel
	socket  net.Conn
	silence *time.Timer // hangs up
}

// hangUp ends the connection without asking: RabbitMQ may be long in answering a close
// while a queue has no leader, and the library waits for it.
func (c *failoverConn) hangUp() {
	c.silence.Stop()
	_ = c.socket.Close() // it may be closed already
}

func dialFailover(addr string) (*failoverConn, error) {
	c := &failoverConn{}
	conn, err := amqp.DialConfig("amqp://guest:guest@"+addr, amqp.Config{
		Heartbeat: time.Second,
		Dial: func(network, addr string) (net.Conn, error) {
			var err error
			if c.socket, err = net.DialTimeout(network, addr, time.Second); err == nil {
				err = c.socket.SetDeadline(time.Now().Add(2 * time.Second)) // of the handshake
			}
			return c.socket, err
		},
	})
	if err != nil {
		return nil, err
	}
	c.silence = time.AfterFunc(failoverConfirm, func() { _ = c.socket.Close() })
	if c.ch, err = conn.Channel(); err != nil {
		c.hangUp()
		return nil, err
	}
	return c, nil
}

// publish publishes until the channel breaks or ctx ends.
func (l *failoverLoad) publish(ctx context.Context, c *failoverConn) error {
	ch := c.ch
	if err := ch.Confirm(false); err != nil {
		return err
	}
	window := make(chan struct{}, failoverWindow)
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, failoverWindow))
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	l.running.Go(func() {
		for confirm := range confirms {
			if confirm.Ack {
				c.silence.Reset(failoverConfirm)
				l.ack()
			}
			<-window
		}
	})
	pace := time.NewTicker(failoverPace)
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case err := <-closed:
			return closedBy(err)
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case window <- struct{}{}:
		case err := <-closed:
			return closedBy(err)
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := ch.Publish("", failoverName, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: make([]byte, 1024)}); err != nil {
			return err
		}
	}
}

// closedBy is what a channel or its connection was closed for.
func closedBy(err *amqp.Error) error {
	if err == nil { // by this end
		return errors.New("closed")
	}
	return err
}

// startKafka produces with acks=all.
func (l *failoverLoad) startKafka(ctx context.Context, b *broker) error {
	admin, err := b.cluster.kafkaAdmin()
	if err != nil {
		return err
	}
	defer admin.Close()
	resp, err := admin.CreateTopic(ctx, 1, -1, nil, failoverName)
	if err == nil {
		err = resp.Err
	}
	if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
		return err
	}
	var seeds []string
	for _, n := range b.cluster.nodes {
		seeds = append(seeds, n.kafka)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.DefaultProduceTopic(failoverName), kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.MetadataMinAge(20*time.Millisecond),
		kgo.RequestRetries(1<<20), kgo.RetryTimeout(failoverBound), kgo.RequestTimeoutOverhead(2*time.Second), kgo.ProduceRequestTimeout(2*time.Second))
	if err != nil {
		return err
	}
	l.running.Go(func() {
		defer cl.Close()
		window := make(chan struct{}, failoverWindow)
		pace := time.NewTicker(failoverPace)
		defer pace.Stop()
		for {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return
			}
			select {
			case window <- struct{}{}:
			case <-ctx.Done():
				return
			}
			cl.Produce(ctx, &kgo.Record{Value: make([]byte, 1024)}, func(_ *kgo.Record, err error) {
				if err == nil {
					l.ack()
				}
				<-window
			})
		}
	})
	return nil
}
