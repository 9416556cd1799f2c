package stock

import (
	"context"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Times of the clients.
const (
	dialTimeout   = time.Second
	handshake     = 2 * time.Second // a paused node accepts a connection, and says nothing
	heartbeat     = time.Second
	longHeartbeat = 20 * time.Second
	closing       = time.Second
	patience      = time.Minute
)

// Dial connects a client to an address. Tests hand in one of their own to cut connections.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Connect is a Dial without any extras.
func Connect(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, network, addr)
}

// AMQP connects to a node and opens a channel. The client gives the connection up when it has heard nothing for one and a
// half of its heartbeats, which may only be that one of the two got no time: who uses it connects again.
func AMQP(addr string, dial Dial) (*amqp.Connection, *amqp.Channel, error) {
	return connect(addr, dial, heartbeat)
}

// LastingAMQP is AMQP for a connection to a node that lives, over which something is done once.
func LastingAMQP(addr string, dial Dial) (*amqp.Connection, *amqp.Channel, error) {
	return connect(addr, dial, longHeartbeat)
}

func connect(addr string, dial Dial, heartbeat time.Duration) (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+addr, amqp.Config{
		Heartbeat: heartbeat,
		Dial: func(network, addr string) (net.Conn, error) {
			c, err := dial(context.Background(), network, addr)
			if err == nil {
				err = c.SetDeadline(time.Now().Add(handshake))
			}
			return c, err
		},
	})
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		CloseAMQP(conn)
		return nil, nil, err
	}
	return conn, ch, nil
}

// CloseAMQP closes a connection, which may be broken, or be one to a node that does not answer.
func CloseAMQP(conn *amqp.Connection) {
	closed := make(chan struct{})
	go func() {
		_ = conn.Close() // it may be broken already
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(closing):
		_ = conn.CloseDeadline(time.Now()) // it only must end
	}
}

// Kafka makes a client.
func Kafka(seeds []string, dial Dial, opts ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(seeds...),
		kgo.Dialer(dial),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerLinger(0),
		kgo.RetryBackoffFn(func(n int) time.Duration { return min(5*time.Millisecond<<min(n, 6), 200*time.Millisecond) }),
		kgo.MetadataMinAge(20 * time.Millisecond),
		kgo.RetryTimeout(patience),
		kgo.RequestRetries(1 << 20),
		kgo.RequestTimeoutOverhead(2 * time.Second),
		kgo.ProduceRequestTimeout(2 * time.Second),
		kgo.FetchMaxWait(50 * time.Millisecond),
	}, opts...)...)
}
