package scenario

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"waybill/test/check"
	clustertest "waybill/test/cluster"
	"waybill/test/stock"
)

// Sizes of the AMQP clients.
const (
	window   = 100 // messages published and not confirmed
	prefetch = 100
	bodySize = 200
	burst    = 20 // of a load
	pace     = 40 * time.Millisecond
)

// queue is a durable queue, used with amqp091-go.
type queue struct {
	w    *world
	name string

	checker check.Queue
	mu      sync.Mutex
	seen    map[check.Value]bool
	repeats int
	held    *holder
}

func (q *queue) words() []string       { return []string{"queue", "'" + q.name + "'"} }
func (q *queue) report() *check.Report { return q.checker.Report() }

func (q *queue) twice() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.repeats
}

// over connects to one node after the other until work succeeds or ctx ends.
func (q *queue) over(ctx context.Context, nodes []*clustertest.Node, work func(*amqp.Channel) error) error {
	if nodes == nil {
		nodes = q.w.cluster.Nodes
	}
	turn := 0
	return await(ctx, func() error {
		n := nodes[turn%len(nodes)]
		turn++
		conn, ch, err := stock.AMQP(n.Broker.AMQP, stock.Connect)
		if err == nil {
			err = work(ch)
			stock.CloseAMQP(conn) // what was acked before is processed then
		}
		if err != nil {
			return fmt.Errorf("through node %d: %w", n.ID, err)
		}
		return nil
	})
}

// connect connects to one node, which may be slow, until ctx ends. What is done over that connection is done once.
func connect(ctx context.Context, n *clustertest.Node, dial stock.Dial) (conn *amqp.Connection, ch *amqp.Channel, err error) {
	err = await(ctx, func() (err error) {
		conn, ch, err = stock.LastingAMQP(n.Broker.AMQP, dial)
		return err
	})
	return conn, ch, err
}

func (q *queue) declare(ctx context.Context) error {
	return q.over(ctx, nil, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(q.name, true, false, false, false, nil)
		return err
	})
}

// publisher is a channel with confirms.
type publisher struct {
	q        *queue
	ch       *amqp.Channel
	confirms <-chan amqp.Confirmation
	closed   <-chan *amqp.Error
}

func (q *queue) publisher(ch *amqp.Channel) (*publisher, error) {
	confirms, closed := ch.NotifyPublish(make(chan amqp.Confirmation, window)), ch.NotifyClose(make(chan *amqp.Error, 1))
	return &publisher{q, ch, confirms, closed}, ch.Confirm(false)
}

// answers is what became of messages.
type answers struct{ acked, nacked int }

// offer publishes n messages, beginning with *next, and waits for their confirms.
func (p *publisher) offer(ctx context.Context, next *check.Value, n int) (a answers, err error) {
	first, firstTag := *next, p.ch.GetNextPublishSeqNo()
	for sent := 0; a.acked+a.nacked < n; {
		if sent < n && sent-a.acked-a.nacked < window {
			if err := p.q.send(ctx, p.ch, next); err != nil {
				return a, err
			}
			sent++
			continue
		}
		select {
		case c, ok := <-p.confirms:
			switch {
			case !ok:
				return a, closeError(<-p.closed)
			case c.Ack:
				a.acked++
				p.q.checker.Acked(check.Value{Producer: first.Producer, Counter: first.Counter + uint32(c.DeliveryTag-firstTag)})
			default:
				a.nacked++ // it may be there or not
			}
		case <-ctx.Done():
			return a, fmt.Errorf("of %d messages %d are confirmed, %d nacked: %w", n, a.acked, a.nacked, ctx.Err())
		}
	}
	return a, nil
}

// send publishes *next, and counts it up.
func (q *queue) send(ctx context.Context, ch *amqp.Channel, next *check.Value) error {
	v := *next
	next.Counter++
	q.checker.Attempt(v)
	return ch.PublishWithContext(ctx, "", q.name, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: v.Payload(bodySize)})
}

func (q *queue) publish(ctx context.Context, n int, next check.Value, through []*clustertest.Node) error {
	acked := 0
	return q.over(ctx, through, func(ch *amqp.Channel) error {
		p, err := q.publisher(ch)
		if err != nil {
			return err
		}
		a, err := p.offer(ctx, &next, n-acked)
		if acked += a.acked; err == nil && acked < n {
			err = fmt.Errorf("%d of %d messages are confirmed", acked, n)
		}
		return err
	})
}

func (q *queue) refused(ctx context.Context, n int, next check.Value, through []*clustertest.Node) (stock.Count, error) {
	if through == nil {
		through = q.w.cluster.Nodes
	}
	conn, ch, err := connect(ctx, through[0], stock.Connect)
	if err != nil {
		return nil, err
	}
	defer stock.CloseAMQP(conn)
	p, err := q.publisher(ch)
	if err != nil {
		return nil, err
	}
	a, err := p.offer(ctx, &next, n)
	found := stock.Count{}
	if a.nacked > 0 {
		found[stock.Nack] = a.nacked
	}
	if a.acked > 0 {
		found[acknowledged] = a.acked
	}
	if name := stock.NameOf(err); name != "" {
		found[name]++
		err = nil
	}
	return found, err
}

func (q *queue) load(next check.Value) func(context.Context) {
	nodes := q.w.cluster.Nodes
	return func(ctx context.Context) {
		_ = q.over(ctx, nodes, func(ch *amqp.Channel) error { // it ends with ctx
			p, err := q.publisher(ch)
			for err == nil && ctx.Err() == nil {
				_, err = p.offer(ctx, &next, burst)
				pause(ctx, pace)
			}
			return err
		})
	}
}

// pause lets time pass at the pace of a load.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// receive notes a delivery, and reports whether nobody had got it before.
func (q *queue) receive(d *amqp.Delivery) (fresh bool) {
	v, err := check.ParsePayload(d.Body)
	if err != nil {
		q.checker.Malformed(err)
		return false
	}
	q.checker.Received(v, d.Redelivered)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.seen[v] {
		q.repeats++
		return false
	}
	if q.seen == nil {
		q.seen = map[check.Value]bool{}
	}
	q.seen[v] = true
	return true
}

func (q *queue) consume(ctx context.Context, n int, through []*clustertest.Node) error {
	taken := 0
	return q.over(ctx, through, func(ch *amqp.Channel) error {
		if err := ch.Qos(min(n-taken, prefetch), 0, false); err != nil {
			return err
		}
		deliveries, err := ch.Consume(q.name, "", false, false, false, false, nil)
		for err == nil && taken < n {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return errEnded
				}
				if q.receive(&d) {
					taken++
				}
				err = d.Ack(false)
			case <-ctx.Done():
				return fmt.Errorf("%d of %d messages were there: %w", taken, n, ctx.Err())
			}
		}
		return err
	})
}

var errEnded = errors.New("the consumer was ended")

// drain empties the queue. What a consumer had that just left may come late.
func (q *queue) drain(ctx context.Context) error {
	return q.over(ctx, nil, func(ch *amqp.Channel) error {
		if err := ch.Qos(prefetch, 0, false); err != nil {
			return err
		}
		deliveries, err := ch.Consume(q.name, "", false, false, false, false, nil)
		if err != nil {
			return err
		}
		for quiet := 0; ; {
			select {
			case d, ok := <-deliveries:
				if !ok {
					return errEnded
				}
				quiet = 0
				q.receive(&d)
				if err := d.Ack(false); err != nil {
					return err
				}
			case <-time.After(50 * time.Millisecond): // nothing comes: is it empty?
				state, err := ch.QueueDeclarePassive(q.name, true, false, false, false, nil)
				if err != nil {
					return err
				}
				quiet++
				if state.Messages == 0 && (q.checker.Missing() == 0 && quiet >= 3 || quiet >= 60) {
					return nil
				}
			case <-ctx.Done():
				return fmt.Errorf("the queue cannot be emptied, %d messages are missing: %w", q.checker.Missing(), ctx.Err())
			}
		}
	})
}

// closeError keeps a nil *amqp.Error, of a channel closed in peace, from becoming an error.
func closeError(err *amqp.Error) error {
	if err == nil {
		return errors.New("the channel was closed")
	}
	return err
}
