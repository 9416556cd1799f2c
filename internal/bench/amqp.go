package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

// AMQP says how to reach a broker of AMQP 0-9-1, and what is special to the protocol.
type AMQP struct {
	URL       string // amqp://user:password@host:port/vhost
	QueueType string // the argument x-queue-type; "": none
	Durable   bool   // queues and messages
	Prefetch  int    // per consumer; 0: no limit
	AckEvery  int    // one ack for so many deliveries; 0: deliveries need no ack
	FanOut    bool   // one exchange gives each message to all queues
}

// amqpTarget declares queues over connections of its own.
type amqpTarget struct {
	AMQP
	load Load
}

// declarers is the number of connections that declare queues side by side.
const declarers = 16

// NewAMQP makes a target of a broker that speaks AMQP 0-9-1. Without FanOut the
// producers share the queues among themselves and publish to the default exchange.
func NewAMQP(load Load, a AMQP) (Target, error) {
	if err := load.check(); err != nil {
		return nil, err
	}
	if a.Prefetch < 0 || a.Prefetch > 65535 || a.AckEvery < 0 {
		return nil, fmt.Errorf("%w: prefetch %d, an ack every %d messages", ErrLoad, a.Prefetch, a.AckEvery)
	}
	if a.Prefetch > 0 && a.AckEvery > a.Prefetch {
		return nil, fmt.Errorf("%w: an ack every %d messages, but only %d are sent unacknowledged", ErrLoad, a.AckEvery, a.Prefetch)
	}
	if _, err := parseURL(a.URL); err != nil {
		return nil, err
	}
	return &amqpTarget{a, load}, nil
}

func (t *amqpTarget) names() (protocol, client string) {
	if t.load.Stock {
		return "amqp", "amqp091-go"
	}
	return "amqp", "lean"
}

func (t *amqpTarget) copies() int64 {
	if t.FanOut {
		return int64(t.load.Queues)
	}
	return 1
}

func (t *amqpTarget) queue(i int) string {
	if t.load.Queues == 1 {
		return t.load.Name
	}
	return t.load.Name + "-" + strconv.Itoa(i)
}

// destination is where a producer publishes to.
type destination struct{ exchange, key string }

func (t *amqpTarget) destinations(producer int) []destination {
	if t.FanOut {
		return []destination{{exchange: t.load.Name}}
	}
	var all []destination
	for _, q := range share(producer, t.load.Producers, t.load.Queues) {
		all = append(all, destination{key: t.queue(q)})
	}
	return all
}

func (t *amqpTarget) setup(ctx context.Context) (backlog int64, err error) {
	if t.FanOut {
		err := t.admin(ctx, func(c *amqpConn) error {
			_, err := c.call(&spec.ExchangeDeclare{Exchange: t.load.Name, Type: "fanout", Durable: t.Durable}, spec.ExchangeDeclareOKID)
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	var mu sync.Mutex
	err = t.eachQueue(ctx, func(c *amqpConn, queue string) error {
		n, err := t.declare(c, queue)
		mu.Lock()
		defer mu.Unlock()
		backlog += n
		return err
	})
	if err == nil && backlog > 0 && t.load.Phase == Both {
		err = fmt.Errorf("%w: %d messages wait in %q already; drain them, or give another name", ErrLoad, backlog, t.load.Name)
	}
	return backlog, err
}

// declare declares a queue and returns how many messages it holds.
func (t *amqpTarget) declare(c *amqpConn, queue string) (int64, error) {
	var args record.Table
	if t.QueueType != "" {
		args = record.Table{"x-queue-type": t.QueueType}
	}
	answer, err := c.call(&spec.QueueDeclare{Queue: queue, Durable: t.Durable, Arguments: args}, spec.QueueDeclareOKID)
	if err != nil {
		return 0, err
	}
	var ok spec.QueueDeclareOK
	if err := ok.Decode(answer); err != nil {
		return 0, err
	}
	if t.FanOut {
		_, err = c.call(&spec.QueueBind{Queue: queue, Exchange: t.load.Name}, spec.QueueBindOKID)
	}
	return int64(ok.MessageCount), err
}

func (t *amqpTarget) teardown(ctx context.Context) error {
	err := t.eachQueue(ctx, func(c *amqpConn, queue string) error {
		_, err := c.call(&spec.QueueDelete{Queue: queue}, spec.QueueDeleteOKID)
		return err
	})
	if t.FanOut {
		err = errors.Join(err, t.admin(ctx, func(c *amqpConn) error {
			_, err := c.call(&spec.ExchangeDelete{Exchange: t.load.Name}, spec.ExchangeDeleteOKID)
			return err
		}))
	}
	return err
}

// eachQueue calls do for each queue, side by side over several connections.
func (t *amqpTarget) eachQueue(ctx context.Context, do func(*amqpConn, string) error) error {
	conns := min(declarers, t.load.Queues)
	failures := make([]error, conns)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() {
			failures[i] = t.admin(ctx, func(c *amqpConn) error {
				for q := i; q < t.load.Queues; q += conns {
					if err := do(c, t.queue(q)); err != nil {
						return err
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	return errors.Join(failures...)
}

// admin calls do with a connection that has a channel.
func (t *amqpTarget) admin(ctx context.Context, do func(*amqpConn) error) error {
	c, err := dialAMQP(ctx, t.URL)
	if err != nil {
		return err
	}
	defer c.close()
	return do(c)
}

func (t *amqpTarget) ping(ctx context.Context) error {
	return t.admin(ctx, func(c *amqpConn) error {
		_, err := c.call(&spec.QueueDeclare{Queue: t.queue(0), Passive: true}, spec.QueueDeclareOKID)
		return err
	})
}

func (t *amqpTarget) producer(ctx context.Context, i int, out *outlet) (worker, error) {
	if t.load.Stock {
		return t.stockProducer(ctx, i, out)
	}
	return t.leanProducer(ctx, i, out)
}

func (t *amqpTarget) consumer(ctx context.Context, i int, in *recorder) (worker, error) {
	if t.load.Stock {
		return t.stockConsumer(ctx, i, in)
	}
	return t.leanConsumer(ctx, i, in)
}
