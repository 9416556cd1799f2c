package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"

	amqp "github.com/rabbitmq/amqp091-go"

	"waybill/test/check"
	clustertest "waybill/test/cluster"
	"waybill/test/stock"
)

// holder is a consumer that keeps what it got.
type holder struct {
	conn       *amqp.Connection
	deliveries <-chan amqp.Delivery
	has        map[string]amqp.Delivery // by body
}

// hold takes n messages and acks none.
func (q *queue) hold(ctx context.Context, n int, through []*clustertest.Node) error {
	if through == nil {
		through = q.w.cluster.Nodes
	}
	conn, ch, err := connect(ctx, through[0], stock.Connect)
	if err != nil {
		return err
	}
	q.w.t.Cleanup(func() { stock.CloseAMQP(conn) })
	if err := ch.Qos(n, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(q.name, "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	q.held = &holder{conn, deliveries, map[string]amqp.Delivery{}}
	for len(q.held.has) < n {
		d, err := q.held.next(ctx)
		if err != nil {
			return fmt.Errorf("it holds %d messages: %w", len(q.held.has), err)
		}
		q.receive(&d)
		q.held.has[string(d.Body)] = d
	}
	return nil
}

func (h *holder) next(ctx context.Context) (amqp.Delivery, error) {
	select {
	case d, ok := <-h.deliveries:
		if !ok {
			return d, errEnded
		}
		return d, nil
	case <-ctx.Done():
		return amqp.Delivery{}, ctx.Err()
	}
}

// again acks what the holder has, and waits until it has got n of its messages once more: those acks
// come too late for another leader than the one that has delivered.
func (q *queue) again(ctx context.Context, n int) error {
	if q.held == nil {
		return fmt.Errorf("%w has no consumer that holds messages of %s", errWorld, q.name)
	}
	for _, d := range q.held.has {
		if err := d.Ack(false); err != nil {
			return err
		}
	}
	for got := 0; got < n; {
		d, err := q.held.next(ctx)
		if err != nil {
			return fmt.Errorf("%d of its messages have come again: %w", got, err)
		}
		q.receive(&d)
		if _, ok := q.held.has[string(d.Body)]; ok {
			if !d.Redelivered {
				return errors.New("a message comes again and is not marked as redelivered")
			}
			got++
		}
		if err := d.Ack(false); err != nil {
			return err
		}
	}
	stock.CloseAMQP(q.held.conn)
	q.held = nil
	return nil
}

// transaction publishes n messages and ends so. A commit that is not acknowledged is followed by another transaction:
// who commits right after a leader's death may be told that it is unknown what became of the first.
func (q *queue) transaction(ctx context.Context, n int, end string, next check.Value, through []*clustertest.Node) error {
	if through == nil {
		through = q.w.cluster.Nodes
	}
	if end != "commit" {
		return q.transact(ctx, n, end, &next, through)
	}
	return await(ctx, func() error { return q.transact(ctx, n, end, &next, through) })
}

func (q *queue) transact(ctx context.Context, n int, end string, next *check.Value, through []*clustertest.Node) error {
	var link net.Conn
	conn, ch, err := connect(ctx, through[0], func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		link, err = stock.Connect(ctx, network, addr)
		return link, err
	})
	if err != nil {
		return err
	}
	defer stock.CloseAMQP(conn)
	if err := ch.Tx(); err != nil {
		return err
	}
	first := *next
	for range n {
		if err := q.send(ctx, ch, next); err != nil {
			return err
		}
	}
	tell := q.checker.Refused
	switch end {
	case "commit":
		err, tell = ch.TxCommit(), q.checker.Acked
	case "rollback":
		err = ch.TxRollback()
	case "cut":
		// The answer says that the node has taken what was sent before.
		if _, err = ch.QueueDeclarePassive(q.name, true, false, false, false, nil); err == nil {
			err = errors.Join(link.(*net.TCPConn).SetLinger(0), link.Close()) // a reset
		}
	default:
		err = fmt.Errorf("%q is neither commit, rollback nor cut", end)
	}
	for v := first; err == nil && v != *next; v.Counter++ {
		tell(v)
	}
	return err
}
