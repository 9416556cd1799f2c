package prove

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"waybill/test/stock"
)

// declarePace is between two declarations of a kind.
const declarePace = 200 * time.Millisecond

// Names of what is declared begin so.
const (
	declaredName = "declared-"
	createdName  = "created-"
)

// declareMode declares queues and topics, one after the other. What was answered must be there.
type declareMode struct {
	r      *rig
	times  timeline
	told   stock.Refusals
	mu     sync.Mutex
	queues []string
	topics []string
	lost   []string
}

func (d *declareMode) acks() *timeline               { return &d.times }
func (d *declareMode) refusals() *stock.Refusals     { return &d.told }
func (d *declareMode) prepare(context.Context) error { return nil }

func (d *declareMode) run(ctx context.Context) {
	var clients sync.WaitGroup
	clients.Go(func() { d.declareQueues(ctx) })
	clients.Go(func() { d.createTopics(ctx) })
	clients.Wait()
}

func (d *declareMode) answered(to *[]string, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	*to = append(*to, name)
	d.times.ack()
}

func (d *declareMode) declareQueues(ctx context.Context) {
	for turn, n := 0, 0; ctx.Err() == nil; turn++ {
		conn, ch, err := d.r.dialAMQP(turn)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) })
			for err == nil && ctx.Err() == nil {
				n++
				name := fmt.Sprint(declaredName, n)
				if _, err = ch.QueueDeclare(name, true, false, false, false, nil); err == nil {
					d.answered(&d.queues, name)
				}
				pause(ctx, declarePace)
			}
			stop()
			_ = conn.CloseDeadline(time.Now().Add(time.Second)) // it may be broken already
		}
		d.told.Error(err)
		if ctx.Err() == nil {
			d.r.note("declare: queue: %v", err)
			pause(ctx, 20*time.Millisecond)
		}
	}
}

func (d *declareMode) createTopics(ctx context.Context) {
	cl, err := d.r.kafkaClient()
	if err != nil {
		d.r.note("declare: %v", err)
		return
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	admin.SetTimeoutMillis(3000) // then the broker says so, before the client gives up
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprint(createdName, n)
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		resp, err := admin.CreateTopic(limited, 1, -1, nil, name)
		cancel()
		if err == nil {
			err = resp.Err
		}
		if err == nil {
			d.answered(&d.topics, name)
		} else if ctx.Err() == nil {
			d.r.note("declare: topic: %v", err)
			if !errors.Is(err, kerr.TopicAlreadyExists) { // the answer to the first attempt was lost
				d.told.Error(err)
			}
		}
		pause(ctx, declarePace)
	}
}

// drain looks for everything that was declared.
func (d *declareMode) drain(ctx context.Context) error {
	if err := d.drainQueues(ctx); err != nil {
		return err
	}
	cl, err := d.r.kafkaClient()
	if err != nil {
		return err
	}
	defer cl.Close()
	existing, err := kadm.NewClient(cl).ListTopics(ctx)
	if err != nil {
		return err
	}
	for _, name := range d.topics {
		if !existing.Has(name) {
			d.lost = append(d.lost, "topic "+name)
		}
	}
	return nil
}

func (d *declareMode) drainQueues(ctx context.Context) error {
	left, last := d.queues, error(nil)
	for turn := 0; len(left) > 0 && ctx.Err() == nil; turn++ {
		conn, ch, err := d.r.dialAMQP(turn)
		if err == nil {
			_, err = ch.QueueDeclarePassive(left[0], true, false, false, false, nil)
			for err == nil && len(left) > 1 {
				left = left[1:]
				_, err = ch.QueueDeclarePassive(left[0], true, false, false, false, nil)
			}
			_ = conn.Close() // nothing is open
		}
		switch closed := (*amqp.Error)(nil); {
		case err == nil:
			left = nil
		case errors.As(err, &closed) && closed.Code == amqp.NotFound:
			d.lost = append(d.lost, "queue "+left[0])
			left = left[1:]
		default:
			last = err
			pause(ctx, 50*time.Millisecond)
		}
	}
	if len(left) > 0 {
		return fmt.Errorf("queue %s: %w", left[0], last)
	}
	return nil
}

func (d *declareMode) outcome() outcome {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := outcome{Acked: len(d.queues) + len(d.topics), Lost: len(d.lost)}
	for _, name := range d.lost {
		o.Wrong = append(o.Wrong, name+" is gone, whose declaration was answered")
	}
	return o
}
