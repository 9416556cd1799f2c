//go:build linux

package powercut_test

import (
	"context"
	"math/rand/v2"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"waybill/test/check"
)

const (
	fanout        = "powercut.fanout"
	publishWindow = 64 // unconfirmed messages of a publisher
	transaction   = 5  // messages in each transaction
	prefetch      = 100
)

// queueUnderTest is a durable queue and what is known of its messages.
type queueUnderTest struct {
	name    string
	checker check.Queue
}

// publisher publishes with confirms, or in transactions, over one channel at a
// time.
type publisher struct {
	exchange, key string
	tx            bool
	queues        []*queueUnderTest // where its messages go
	next          check.Value
}

// amqpLoad is two queues with a publisher each, two that a fanout exchange
// feeds, one with transactions, and a consumer on each of them now and then.
type amqpLoad struct {
	r          *rig
	queues     []*queueUnderTest
	publishers []*publisher
	conn       *amqp.Connection // of this cycle
}

func newAMQPLoad(r *rig) *amqpLoad {
	l := &amqpLoad{r: r}
	for _, name := range []string{"direct-0", "direct-1", "fanout-0", "fanout-1", "tx"} {
		l.queues = append(l.queues, &queueUnderTest{name: name})
	}
	q := l.queues
	l.publishers = []*publisher{
		{key: q[0].name, queues: q[0:1], next: check.Value{Producer: 1}},
		{key: q[1].name, queues: q[1:2], next: check.Value{Producer: 2}},
		{exchange: fanout, queues: q[2:4], next: check.Value{Producer: 3}},
		{key: q[4].name, queues: q[4:5], next: check.Value{Producer: 4}, tx: true},
	}
	conn, ch, err := l.dial()
	if err == nil {
		defer conn.Close()
		err = ch.ExchangeDeclare(fanout, "fanout", true, false, false, false, nil)
	}
	for i := 0; err == nil && i < len(q); i++ {
		if _, err = ch.QueueDeclare(q[i].name, true, false, false, false, nil); err == nil && (i == 2 || i == 3) {
			err = ch.QueueBind(q[i].name, "", fanout, false, nil)
		}
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (l *amqpLoad) dial() (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+l.r.broker.AMQP, amqp.Config{Dial: amqp.DefaultDial(patience)})
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		conn.Close()
	}
	return conn, ch, err
}

// start starts the clients of a cycle; they end when the connection does.
func (l *amqpLoad) start(_ context.Context, clients *sync.WaitGroup) error {
	conn, _, err := l.dial()
	if err != nil {
		return err
	}
	l.conn = conn
	for _, p := range l.publishers {
		rng := rand.New(rand.NewPCG(l.r.rng.Uint64(), 1))
		if p.tx {
			clients.Go(func() { l.transact(conn, p, rng) })
		} else {
			clients.Go(func() { l.publish(conn, p, rng) })
		}
	}
	for _, q := range l.queues {
		if l.r.rng.IntN(2) == 0 {
			continue // a backlog grows
		}
		rng := rand.New(rand.NewPCG(l.r.rng.Uint64(), 2))
		clients.Go(func() { l.consume(conn, q, rng) })
	}
	return nil
}

// hangUp ends the clients of the cycle.
func (l *amqpLoad) hangUp() { l.conn.Close() } // an error means that it is closed already

func (l *amqpLoad) publish(conn *amqp.Connection, p *publisher, rng *rand.Rand) {
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if l.r.failed("publisher", err) {
		return
	}
	first := p.next
	window := make(chan struct{}, publishWindow)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, publishWindow))
	var confirmed sync.WaitGroup
	confirmed.Go(func() {
		for c := range confirms {
			v := check.Value{Producer: first.Producer, Counter: first.Counter + uint32(c.DeliveryTag-1)}
			if !c.Ack && l.r.power.Load() {
				l.r.problem("%v was nacked", v)
			}
			for _, q := range p.queues {
				if c.Ack {
					q.checker.Acked(v)
				}
			}
			<-window
		}
	})
	defer confirmed.Wait()
	for {
		select {
		case window <- struct{}{}:
		case err := <-closed:
			l.r.failed("publisher", closeError(err))
			return
		}
		if l.r.failed("publish", p.send(ch, rng)) {
			return
		}
	}
}

// send publishes the next message.
func (p *publisher) send(ch *amqp.Channel, rng *rand.Rand) error {
	v := p.next
	p.next.Counter++
	for _, q := range p.queues {
		q.checker.Attempt(v)
	}
	return ch.Publish(p.exchange, p.key, false, false, amqp.Publishing{
		DeliveryMode: uint8(1 + rng.IntN(2)), // a durable queue keeps transient ones too
		Body:         v.Payload(rng.IntN(1000)),
	})
}

// transact publishes one transaction after the other.
func (l *amqpLoad) transact(conn *amqp.Connection, p *publisher, rng *rand.Rand) {
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Tx()
	}
	for err == nil {
		first := p.next
		for n := 0; err == nil && n < transaction; n++ {
			err = p.send(ch, rng)
		}
		if err == nil {
			err = ch.TxCommit()
		}
		for v := first; err == nil && v != p.next; v.Counter++ {
			p.queues[0].checker.Acked(v)
		}
	}
	l.r.failed("transaction", err)
}

// closeError keeps a nil *amqp.Error, of a channel closed in peace, from
// becoming an error.
func closeError(err *amqp.Error) error {
	if err == nil {
		return nil
	}
	return err
}

// consume acks most of what it gets. What it does not ack counts as never
// received: it must come again.
func (l *amqpLoad) consume(conn *amqp.Connection, q *queueUnderTest, rng *rand.Rand) {
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Qos(prefetch, 0, false)
	}
	if l.r.failed("consumer", err) {
		return
	}
	deliveries, err := ch.Consume(q.name, "", false, false, false, false, nil)
	if l.r.failed("consumer", err) {
		return
	}
	for d := range deliveries {
		if rng.IntN(20) == 0 {
			continue
		}
		q.receive(&d)
		if l.r.failed("ack", d.Ack(false)) {
			return
		}
	}
}

// receive tells the checker of a delivery; ok is false when it is no value.
func (q *queueUnderTest) receive(d *amqp.Delivery) (v check.Value, ok bool) {
	v, err := check.ParsePayload(d.Body)
	if err != nil {
		q.checker.Malformed(err)
		return v, false
	}
	q.checker.Received(v, d.Redelivered)
	return v, true
}
