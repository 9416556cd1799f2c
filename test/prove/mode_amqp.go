package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"waybill/test/check"
	"waybill/test/stock"
)

// Sizes and paces of the AMQP load.
const (
	amqpPublishers = 2 // each begins on another node
	amqpWindow     = 32
	amqpPace       = 4 * time.Millisecond // between two messages of a publisher
	amqpPrefetch   = 20
	transaction    = 5               // messages in each
	lastConfirms   = 5 * time.Second // how long the last confirms are waited for
	lateReturns    = 100             // times 50 ms: how long what is missing may take to come back
)

// amqpMode is a queue with publishers, and perhaps a consumer.
type amqpMode struct {
	r       *rig
	name    string
	durable bool
	blind   bool // no confirms
	tx      bool
	consume bool
	autoAck bool

	checker  check.Queue
	times    timeline
	told     stock.Refusals
	sent     atomic.Int64
	nacked   atomic.Int64
	mu       sync.Mutex
	txs      []check.Value            // the first value of each transaction
	got      map[check.Value]struct{} // what was received of transactions
	received atomic.Int64
}

func (m *amqpMode) acks() *timeline {
	if m.blind {
		return nil
	}
	return &m.times
}

func (m *amqpMode) refusals() *stock.Refusals { return &m.told }

// dialAMQP connects to one of the nodes, which is chosen by turn.
func (r *rig) dialAMQP(turn int) (*amqp.Connection, *amqp.Channel, error) {
	addrs := r.cluster.AMQP()
	return stock.AMQP(addrs[turn%len(addrs)], r.links.dial)
}

func (m *amqpMode) declare(ch *amqp.Channel) error {
	_, err := ch.QueueDeclare(m.name, m.durable, false, false, false, nil)
	return err
}

func (m *amqpMode) prepare(context.Context) error {
	m.got = map[check.Value]struct{}{}
	conn, ch, err := m.r.dialAMQP(0)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the declaration was answered
	return m.declare(ch)
}

func (m *amqpMode) run(ctx context.Context) {
	var clients sync.WaitGroup
	for k := range amqpPublishers {
		v := m.r.producer()
		clients.Go(func() {
			m.again(ctx, "publisher", k, func(ch *amqp.Channel, conn *amqp.Connection) error {
				if m.tx {
					return m.transact(ctx, ch, &v)
				}
				return m.publish(ctx, ch, &v)
			})
		})
	}
	if m.consume {
		clients.Go(func() {
			m.again(ctx, "consumer", 1, func(ch *amqp.Channel, _ *amqp.Connection) error { return m.consumeFrom(ctx, ch) })
		})
	}
	clients.Wait()
}

// again connects, works, and connects again, to the next node, until ctx ends.
func (m *amqpMode) again(ctx context.Context, who string, turn int, work func(*amqp.Channel, *amqp.Connection) error) {
	for ctx.Err() == nil {
		conn, ch, err := m.r.dialAMQP(turn)
		if err == nil && !m.durable {
			err = m.declare(ch) // it may have gone with its node
		}
		if err == nil {
			stop := m.listen(conn)
			err = work(ch, conn)
			stop()
		}
		m.told.Error(err)
		if conn != nil {
			stock.CloseAMQP(conn)
		}
		if err != nil && ctx.Err() == nil {
			m.r.note("%s: %s: %v", m.name, who, err)
			pause(ctx, 20*time.Millisecond)
		}
		turn++
	}
}

// listen notes when the node blocks the connection, until stop is called.
func (m *amqpMode) listen(conn *amqp.Connection) (stop func()) {
	blocked, done := conn.NotifyBlocked(make(chan amqp.Blocking, 8)), make(chan struct{})
	go func() {
		for {
			select {
			case b, ok := <-blocked:
				if !ok {
					return
				}
				if b.Active {
					m.told.Add(stock.Blocked)
				}
			case <-done:
				return
			}
		}
	}()
	return func() { close(done) }
}

// publish publishes at a measured pace, within the window.
func (m *amqpMode) publish(ctx context.Context, ch *amqp.Channel, next *check.Value) error {
	first := *next
	window := make(chan struct{}, amqpWindow)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	var confirmed sync.WaitGroup
	if !m.blind {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		confirms := ch.NotifyPublish(make(chan amqp.Confirmation, amqpWindow))
		confirmed.Go(func() {
			for c := range confirms {
				v := check.Value{Producer: first.Producer, Counter: first.Counter + uint32(c.DeliveryTag-1)}
				if c.Ack {
					m.checker.Acked(v)
					m.times.ack()
				} else {
					m.nacked.Add(1) // it may be there or not
					m.told.Add(stock.Nack)
				}
				<-window
			}
		})
	}
	pace := time.NewTicker(m.r.pace(amqpPace))
	defer pace.Stop()
	for {
		select {
		case <-pace.C:
		case <-ctx.Done():
			m.awaitConfirms(window, closed)
			return nil
		case err := <-closed:
			confirmed.Wait()
			return closeError(err)
		}
		if !m.blind {
			select {
			case window <- struct{}{}:
			case <-ctx.Done():
				m.awaitConfirms(window, closed)
				return nil
			case err := <-closed:
				confirmed.Wait()
				return closeError(err)
			}
		}
		if err := m.send(ch, next); err != nil {
			return err
		}
	}
}

// awaitConfirms waits until the window is empty, within a bound.
func (m *amqpMode) awaitConfirms(window chan struct{}, closed chan *amqp.Error) {
	late := time.After(lastConfirms)
	for len(window) > 0 {
		select {
		case <-late:
			m.r.note("%s: %d messages were neither confirmed nor nacked within %v", m.name, len(window), lastConfirms)
			return
		case <-closed: //nolint:errcheck // why it was closed does not matter
			return
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// send publishes the next message.
func (m *amqpMode) send(ch *amqp.Channel, next *check.Value) error {
	v := *next
	next.Counter++
	m.checker.Attempt(v)
	m.sent.Add(1)
	return ch.Publish("", m.name, false, false, amqp.Publishing{
		DeliveryMode: uint8(1 + rand.IntN(2)), // a durable queue keeps transient ones too
		Body:         m.body(v),
	})
}

// body makes the body of a message. What is consumed soon stays small: no WAL file is kept for it.
func (m *amqpMode) body(v check.Value) []byte {
	if m.consume {
		return v.Payload(rand.IntN(smallBody))
	}
	return m.r.body(v)
}

// transact publishes one transaction after the other.
func (m *amqpMode) transact(ctx context.Context, ch *amqp.Channel, next *check.Value) error {
	err := ch.Tx()
	for err == nil && ctx.Err() == nil {
		first := *next
		m.mu.Lock()
		m.txs = append(m.txs, first)
		m.mu.Unlock()
		for n := 0; err == nil && n < transaction; n++ {
			err = m.send(ch, next)
		}
		next.Counter = first.Counter + transaction
		if err == nil {
			err = ch.TxCommit()
		}
		if err == nil {
			for v := first; v != *next; v.Counter++ {
				m.checker.Acked(v)
			}
			m.times.ack()
		}
		pause(ctx, m.r.pace(amqpPace))
	}
	return err
}

// consumeFrom takes and acks most of what comes. What it does not ack counts as never
// received: it must come again.
func (m *amqpMode) consumeFrom(ctx context.Context, ch *amqp.Channel) error {
	if err := ch.Qos(amqpPrefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(m.name, "", m.autoAck, false, false, false, nil)
	if err != nil {
		return err
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, ok := <-deliveries:
			if !ok {
				return errors.New("the consumer was ended")
			}
			if !m.autoAck && rand.IntN(20) == 0 {
				continue
			}
			m.receive(&d)
			if !m.autoAck {
				if err := d.Ack(false); err != nil {
					return err
				}
			}
		}
	}
}

// receive tells the checker of a delivery.
func (m *amqpMode) receive(d *amqp.Delivery) {
	v, err := check.ParsePayload(d.Body)
	if err != nil {
		m.checker.Malformed(err)
		return
	}
	m.received.Add(1)
	m.checker.Received(v, d.Redelivered)
	if m.tx {
		m.mu.Lock()
		m.got[v] = struct{}{}
		m.mu.Unlock()
	}
}

// drain empties the queue.
func (m *amqpMode) drain(ctx context.Context) error {
	var last error
	for turn := 0; ctx.Err() == nil; turn++ {
		conn, ch, err := m.r.dialAMQP(turn)
		if err == nil {
			if !m.durable {
				err = m.declare(ch)
			}
			if err == nil {
				err = m.drainOver(ctx, ch)
			}
			_ = conn.Close() // what was acked before is gone from the queue
		}
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		pause(ctx, 100*time.Millisecond)
	}
	m.r.noteQueue(context.WithoutCancel(ctx), m.name)
	return fmt.Errorf("the queue cannot be emptied, %d messages are missing: %w", m.checker.Missing(), errors.Join(ctx.Err(), last))
}

// noteQueue notes what each node says about a queue, when something is left in it.
func (r *rig) noteQueue(ctx context.Context, name string) {
	for _, n := range r.cluster.Nodes {
		limited, cancel := context.WithTimeout(ctx, time.Second)
		q, err := n.Queue(limited, name)
		cancel()
		if err != nil || q.Ready+q.Unacked > 0 {
			r.note("%s: node %d says %+v (%v)", name, n.ID, q, err)
		}
	}
}

func (m *amqpMode) drainOver(ctx context.Context, ch *amqp.Channel) error {
	if err := ch.Qos(500, 0, false); err != nil {
		return err
	}
	deliveries, err := ch.Consume(m.name, "drain", false, false, false, false, nil)
	if err != nil {
		return err
	}
	for quiet := 0; ; {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return errors.New("the consumer was ended")
			}
			quiet = 0
			m.receive(&d)
			if err := d.Ack(false); err != nil {
				return err
			}
		case <-time.After(50 * time.Millisecond): // nothing comes: is it empty?
			state, err := ch.QueueDeclarePassive(m.name, m.durable, false, false, false, nil)
			if err != nil {
				return err
			}
			// The count is of what is ready: what a consumer had that just left may still come back.
			quiet++
			if state.Messages == 0 && (quiet >= 3 && m.checker.Missing() == 0 || quiet >= lateReturns) {
				m.r.noteQueue(ctx, m.name)
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *amqpMode) outcome() outcome {
	rep := m.checker.Report()
	o := outcome{
		Acked: rep.Acked, Lost: rep.Count(check.Lost), Duplicated: rep.Duplicates, Nacked: int(m.nacked.Load()),
	}
	if m.blind { // nothing was acknowledged: what is missing of what was sent
		o.Acked = 0
		o.Lost = rep.Attempted - rep.Received
	}
	if err := rep.Err(check.Lost, check.Duplicated); err != nil {
		o.Wrong = append(o.Wrong, err.Error())
	}
	for _, first := range m.txs {
		n := 0
		for v := first; v.Counter < first.Counter+transaction; v.Counter++ {
			if _, ok := m.got[v]; ok {
				n++
			}
		}
		if n != 0 && n != transaction {
			o.Wrong = append(o.Wrong, fmt.Sprintf("of the transaction that begins with %v, %d of %d messages are there", first, n, transaction))
		}
	}
	return o
}

// closeError keeps a nil *amqp.Error, of a channel closed in peace, from
// becoming an error.
func closeError(err *amqp.Error) error {
	if err == nil {
		return errors.New("the channel was closed")
	}
	return err
}
