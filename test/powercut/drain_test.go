//go:build linux

package powercut_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"waybill/test/check"
)

const drainCommit = 500 // acks in a transaction

// drain empties all queues.
func (l *amqpLoad) drain(ctx context.Context) error {
	conn, ch, err := l.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := errors.Join(ch.Qos(2*drainCommit, 0, false), ch.Tx()); err != nil {
		return err
	}
	for _, q := range l.queues {
		d := drainer{q: q, ch: ch}
		if err := d.run(ctx); err != nil {
			return fmt.Errorf("queue %s: %w", q.name, err)
		}
	}
	return nil
}

// drainer empties a queue. It acks in transactions, and so knows which acks
// are durable: what they were for must not come again.
type drainer struct {
	q      *queueUnderTest
	ch     *amqp.Channel
	values []check.Value // of the open transaction
}

func (d *drainer) run(ctx context.Context) error {
	deliveries, err := d.ch.Consume(d.q.name, "drain", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for empty := false; !empty; {
		select {
		case m, ok := <-deliveries:
			if !ok {
				return errors.New("the broker canceled the consumer")
			}
			err = d.take(&m)
		case <-time.After(10 * time.Millisecond): // nothing comes: is it empty?
			if err = d.commit(); err == nil {
				var state amqp.Queue
				state, err = d.ch.QueueDeclarePassive(d.q.name, true, false, false, false, nil)
				empty = state.Messages == 0 && len(deliveries) == 0
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
	if err := d.ch.Cancel("drain", false); err != nil {
		return err
	}
	for m := range deliveries { // what was under way
		if err := d.take(&m); err != nil {
			return err
		}
	}
	for {
		m, ok, err := d.ch.Get(d.q.name, false)
		if err == nil && !ok {
			return d.commit()
		}
		if err == nil {
			err = d.take(&m)
		}
		if err != nil {
			return err
		}
	}
}

func (d *drainer) take(m *amqp.Delivery) error {
	if v, ok := d.q.receive(m); ok {
		d.values = append(d.values, v)
	}
	if err := m.Ack(false); err != nil {
		return err
	}
	if len(d.values) < drainCommit {
		return nil
	}
	return d.commit()
}

func (d *drainer) commit() error {
	if len(d.values) == 0 {
		return nil
	}
	if err := d.ch.TxCommit(); err != nil {
		return err
	}
	for _, v := range d.values {
		d.q.checker.Settled(v)
	}
	d.values = d.values[:0]
	return nil
}
