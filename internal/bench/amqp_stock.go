package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// stockAMQPProducer drives amqp091-go. Confirms come in the order of the tags:
// that library sorts them.
type stockAMQPProducer struct {
	conn     *amqp091.Connection
	channel  *amqp091.Channel
	confirms chan amqp091.Confirmation
	ended    chan *amqp091.Error
	out      *outlet
	waiting  unconfirmed
	to       []destination
	message  amqp091.Publishing
	once     sync.Once
}

func dialStock(url string) (*amqp091.Connection, *amqp091.Channel, error) {
	conn, err := amqp091.DialConfig(url, amqp091.Config{Dial: amqp091.DefaultDial(dialTimeout)})
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		_ = conn.Close() // the error is the one before
		return nil, nil, err
	}
	return conn, ch, nil
}

func (t *amqpTarget) stockProducer(_ context.Context, i int, out *outlet) (worker, error) {
	conn, ch, err := dialStock(t.URL)
	if err != nil {
		return nil, err
	}
	p := &stockAMQPProducer{conn: conn, channel: ch, out: out, to: t.destinations(i)}
	p.message.Body = newBody(t.load.Size)
	if t.Durable {
		p.message.DeliveryMode = amqp091.Persistent
	}
	p.waiting.init(t.load.InFlight)
	if err := ch.Confirm(false); err != nil {
		p.close()
		return nil, err
	}
	p.confirms = ch.NotifyPublish(make(chan amqp091.Confirmation, t.load.InFlight))
	p.ended = ch.NotifyClose(make(chan *amqp091.Error, 1))
	return p, nil
}

func (p *stockAMQPProducer) close() { p.once.Do(func() { _ = p.conn.Close() }) } // that it ended is told elsewhere

func (p *stockAMQPProducer) run() error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer p.out.stop()
		for c := range p.confirms {
			p.confirm(c)
		}
	}()
	err := p.publish()
	if err != nil {
		p.close()
	}
	<-done
	if lost := <-p.ended; err == nil && lost != nil {
		err = lost
	}
	return err
}

func (p *stockAMQPProducer) publish() error {
	var times [1]int64
	for next := 0; p.out.take(times[:]) > 0; next++ {
		d := p.to[next%len(p.to)]
		p.waiting.add(times[:])
		binary.BigEndian.PutUint64(p.message.Body, uint64(times[0]))
		if err := p.channel.PublishWithContext(context.Background(), d.exchange, d.key, false, false, p.message); err != nil {
			return fmt.Errorf("publish: %w", err)
		}
	}
	return nil
}

func (p *stockAMQPProducer) confirm(c amqp091.Confirmation) {
	times, err := p.waiting.take(c.DeliveryTag, false, nil)
	switch {
	case err != nil:
		panic(err) // that library counts as we do
	case c.Ack:
		p.out.confirmed(time.Now().UnixNano(), times)
	default:
		p.out.refuse(len(times))
	}
}

// stockAMQPConsumer drives amqp091-go.
type stockAMQPConsumer struct {
	conn       *amqp091.Connection
	deliveries []<-chan amqp091.Delivery
	ended      chan *amqp091.Error
	in         *recorder
	ackEvery   int
	once       sync.Once
}

func (t *amqpTarget) stockConsumer(_ context.Context, i int, in *recorder) (worker, error) {
	conn, ch, err := dialStock(t.URL)
	if err != nil {
		return nil, err
	}
	c := &stockAMQPConsumer{conn: conn, in: in, ackEvery: t.AckEvery}
	if err := ch.Qos(t.Prefetch, 0, false); err != nil {
		c.close()
		return nil, err
	}
	for _, q := range share(i, t.load.Consumers, t.load.Queues) {
		ds, err := ch.Consume(t.queue(q), "", t.AckEvery == 0, false, false, false, nil)
		if err != nil {
			c.close()
			return nil, err
		}
		c.deliveries = append(c.deliveries, ds)
	}
	c.ended = ch.NotifyClose(make(chan *amqp091.Error, 1))
	return c, nil
}

func (c *stockAMQPConsumer) close() { c.once.Do(func() { _ = c.conn.Close() }) } // that it ended is told elsewhere

func (c *stockAMQPConsumer) run() error {
	var wg sync.WaitGroup
	failures := make(chan error, len(c.deliveries))
	for _, ds := range c.deliveries {
		wg.Go(func() {
			if err := c.consume(ds); err != nil {
				failures <- err
			}
		})
	}
	wg.Wait()
	if lost := <-c.ended; lost != nil {
		return lost
	}
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

func (c *stockAMQPConsumer) consume(ds <-chan amqp091.Delivery) error {
	unacked := 0
	for d := range ds {
		if len(d.Body) < minSize {
			return fmt.Errorf("a message of %d bytes is not one of ours", len(d.Body))
		}
		c.in.add(time.Now().UnixNano(), []int64{int64(binary.BigEndian.Uint64(d.Body))})
		if c.ackEvery == 0 {
			continue
		}
		// With several queues on a channel an ack of all before would be for the others' too.
		if unacked++; len(c.deliveries) > 1 || unacked >= c.ackEvery || len(ds) == 0 {
			if err := d.Ack(len(c.deliveries) == 1 && unacked > 1); err != nil {
				return fmt.Errorf("ack: %w", err)
			}
			unacked = 0
		}
	}
	return nil
}
