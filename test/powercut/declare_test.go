//go:build linux

package powercut_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	declarePace = 5 * time.Millisecond // between two declarations
	usedAgain   = 2                    // how many of those declared last are used after the cut
)

// declarations are the queues and topics whose declaration was answered
// before the cut, and those whose deletion was.
type declarations struct {
	mu      sync.Mutex
	queues  []string
	topics  []string
	deleted []string // topics and queues of the last cycle

	checked, lost int
}

// declare declares queues and topics until the power is cut.
func (r *rig) declare(ctx context.Context, clients *sync.WaitGroup) error {
	d := r.declared
	conn, ch, err := r.amqp.dial()
	if err != nil {
		return err
	}
	clients.Go(func() {
		defer conn.Close()
		paced(ctx, func(n int) bool {
			name := fmt.Sprintf("queue-%d-%d", r.cycles, n)
			if _, err := ch.QueueDeclare(name, true, false, false, false, nil); r.failed("declare", err) {
				return false
			}
			d.add(&d.queues, name)
			return true
		})
	})
	clients.Go(func() {
		<-ctx.Done()
		conn.Close() // ends a declaration that waits for a dead broker
	})
	clients.Go(func() {
		cl := r.kafka.client()
		defer cl.Close()
		admin := kadm.NewClient(cl)
		paced(ctx, func(n int) bool {
			name := fmt.Sprintf("topic-%d-%d", r.cycles, n)
			resp, err := admin.CreateTopic(ctx, 1, 1, nil, name)
			if err == nil {
				err = resp.Err
			}
			if ctx.Err() != nil || r.failed("create topic", err) {
				return false
			}
			d.add(&d.topics, name)
			return true
		})
	})
	return nil
}

func (d *declarations) add(to *[]string, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*to = append(*to, name)
}

// paced calls do, at a measured pace, until it returns false or ctx ends.
func paced(ctx context.Context, do func(n int) bool) {
	tick := time.NewTicker(declarePace)
	defer tick.Stop()
	for n := 0; do(n); n++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// checkDeclared looks for everything whose declaration was answered, uses the
// newest of them, and deletes them all; what was deleted before must be gone.
func (r *rig) checkDeclared(ctx context.Context) error {
	conn, ch, err := r.amqp.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	cl := r.kafka.client()
	defer cl.Close()
	admin := kadm.NewClient(cl)
	existing, err := admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	d := r.declared
	if err := r.checkDeleted(conn, existing); err != nil {
		return err
	}
	d.checked += len(d.queues) + len(d.topics)
	for i, name := range d.queues {
		if ch, err = r.checkQueue(conn, ch, name, len(d.queues)-i <= usedAgain); err != nil {
			return fmt.Errorf("queue %s: %w", name, err)
		}
	}
	for i, name := range d.topics {
		if !existing.Has(name) {
			r.problem("topic %s is gone, whose creation was answered", name)
			d.lost++
		} else if len(d.topics)-i <= usedAgain {
			if err := useTopic(ctx, cl, name); err != nil {
				r.problem("topic %s cannot be used: %v", name, err)
			}
		}
	}
	return r.deleteDeclared(ctx, ch, admin)
}

// checkQueue returns a channel that is open, a new one when the broker closed the old.
func (r *rig) checkQueue(conn *amqp.Connection, ch *amqp.Channel, name string, use bool) (*amqp.Channel, error) {
	_, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	if amqpErr := (*amqp.Error)(nil); errors.As(err, &amqpErr) && amqpErr.Code == amqp.NotFound {
		r.problem("queue %s is gone, whose declaration was answered", name)
		r.declared.lost++
		return conn.Channel()
	}
	if err != nil || !use {
		return ch, err
	}
	if err := useQueue(ch, name); err != nil {
		r.problem("queue %s cannot be used: %v", name, err)
		return conn.Channel()
	}
	return ch, nil
}

// useQueue publishes a message and gets it.
func useQueue(ch *amqp.Channel, name string) error {
	if err := ch.Confirm(false); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	confirm, err := ch.PublishWithDeferredConfirm("", name, true, false, amqp.Publishing{Body: []byte(name)})
	if err != nil {
		return err
	}
	if ok, err := confirm.WaitContext(ctx); err != nil || !ok {
		return fmt.Errorf("confirmed: %v, %w", ok, err)
	}
	d, ok, err := ch.Get(name, true)
	if err == nil && (!ok || string(d.Body) != name) {
		err = fmt.Errorf("got %q (%v) of it", d.Body, ok)
	}
	return err
}

func useTopic(ctx context.Context, cl *kgo.Client, name string) error {
	rec, err := cl.ProduceSync(ctx, &kgo.Record{Topic: name, Value: []byte(name)}).First()
	if err == nil && rec.Offset != 0 {
		err = fmt.Errorf("the first record has offset %d", rec.Offset)
	}
	return err
}

// checkDeleted looks whether what was deleted in the last cycle is still gone.
func (r *rig) checkDeleted(conn *amqp.Connection, existing kadm.TopicDetails) error {
	queues := 0
	for _, name := range r.declared.deleted {
		if existing.Has(name) {
			r.problem("topic %s is back, whose deletion was answered", name)
		}
		if queues++; queues > usedAgain {
			continue // a missing queue costs a channel
		}
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		if _, err := ch.QueueDeclarePassive(name, true, false, false, false, nil); err == nil {
			r.problem("queue %s is back, whose deletion was answered", name)
		}
	}
	r.declared.deleted = r.declared.deleted[:0]
	return nil
}

func (r *rig) deleteDeclared(ctx context.Context, ch *amqp.Channel, admin *kadm.Client) error {
	d := r.declared
	for _, name := range d.queues {
		if _, err := ch.QueueDelete(name, false, false, false); err != nil {
			return err
		}
		d.deleted = append(d.deleted, name)
	}
	if len(d.topics) > 0 {
		resps, err := admin.DeleteTopics(ctx, d.topics...)
		if err != nil {
			return err
		}
		for _, resp := range resps {
			if resp.Err != nil && !errors.Is(resp.Err, kerr.UnknownTopicOrPartition) {
				return fmt.Errorf("delete topic %s: %w", resp.Topic, resp.Err)
			}
			d.deleted = append(d.deleted, resp.Topic)
		}
	}
	d.queues, d.topics = d.queues[:0], d.topics[:0]
	return nil
}
