package amqp

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// publish publishes to a queue.
func publish(t testing.TB, ch *amqp091.Channel, queue string, m amqp091.Publishing) {
	t.Helper()
	must(t, ch.PublishWithContext(context.Background(), "", queue, false, false, m))
}

func consume(t testing.TB, ch *amqp091.Channel, queue string) <-chan amqp091.Delivery {
	t.Helper()
	ds, err := ch.Consume(queue, "", false, false, false, false, nil)
	must(t, err)
	return ds
}

func TestConfirmedMessagesArriveInOrder(t *testing.T) {
	n := startNode(t, nil)
	ch := n.channel(t)
	queue := durable(t, ch)
	must(t, ch.Confirm(false))
	const total = 5000
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation, total))
	go func() {
		for i := range total {
			if err := ch.PublishWithContext(context.Background(), "", queue, false, false, amqp091.Publishing{
				DeliveryMode: 2, Body: fmt.Appendf(nil, "%d", i),
			}); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for i := range total {
		if c := receive(t, confirms); !c.Ack || c.DeliveryTag != uint64(i+1) {
			t.Fatalf("confirmation %+v, want ack of %d", c, i+1)
		}
	}
	ds := consume(t, n.channel(t), queue)
	for i := range total {
		d := receive(t, ds)
		if string(d.Body) != fmt.Sprint(i) || d.DeliveryTag != uint64(i+1) || d.Redelivered {
			t.Fatalf("delivery %d: %q, tag %d, redelivered %v", i, d.Body, d.DeliveryTag, d.Redelivered)
		}
		must(t, d.Ack(i%2 == 0))
	}
	eventually(t, "the queue is empty", func() bool {
		q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		must(t, err)
		return q.Messages == 0
	})
}

func TestGetSeesWhatWasPublished(t *testing.T) {
	ch := startNode(t, nil).channel(t)
	queue := durable(t, ch)
	for i := range 20 {
		publish(t, ch, queue, amqp091.Publishing{Body: []byte("m")})
		d, ok, err := ch.Get(queue, false)
		must(t, err)
		if !ok || d.Redelivered {
			t.Fatalf("message %d: found %v, redelivered %v", i, ok, d.Redelivered)
		}
		must(t, d.Nack(false, true))
		d, ok, err = ch.Get(queue, false)
		must(t, err)
		if !ok || !d.Redelivered {
			t.Fatalf("message %d requeued: found %v, redelivered %v", i, ok, d.Redelivered)
		}
		must(t, d.Ack(false))
		if _, ok, err = ch.Get(queue, true); ok || err != nil {
			t.Fatalf("after the ack: found %v, error %v", ok, err)
		}
	}
}

func TestMandatoryIsReturnedBeforeTheAck(t *testing.T) {
	ch := startNode(t, nil).channel(t)
	must(t, ch.Confirm(false))
	events := make(chan string, 4)
	returns := ch.NotifyReturn(make(chan amqp091.Return))
	confirms := ch.NotifyPublish(make(chan amqp091.Confirmation))
	go func() { // both unbuffered: the client's order is kept
		for range 2 {
			select {
			case r := <-returns:
				events <- fmt.Sprintf("return %d %s %q", r.ReplyCode, r.ReplyText, r.Body)
			case c := <-confirms:
				events <- fmt.Sprintf("ack %d %v", c.DeliveryTag, c.Ack)
			}
		}
	}()
	must(t, ch.PublishWithContext(context.Background(), "", "nowhere", true, false, amqp091.Publishing{Body: []byte("back")}))
	if e := receive(t, events); e != `return 312 NO_ROUTE "back"` {
		t.Errorf("first %s", e)
	}
	if e := receive(t, events); e != "ack 1 true" {
		t.Errorf("then %s", e)
	}
}

func TestTransactions(t *testing.T) {
	n := startNode(t, nil)
	ch, other := n.channel(t), n.channel(t)
	queue := durable(t, ch)
	must(t, ch.Tx())
	publish(t, ch, queue, amqp091.Publishing{Body: []byte("rolled back")})
	must(t, ch.TxRollback())
	publish(t, ch, queue, amqp091.Publishing{Body: []byte("committed")})
	if _, ok, err := other.Get(queue, true); ok || err != nil {
		t.Fatalf("before commit: found %v, error %v", ok, err)
	}
	must(t, ch.TxCommit())
	d, ok, err := ch.Get(queue, false)
	must(t, err)
	if !ok || string(d.Body) != "committed" {
		t.Fatalf("after commit: %v %q", ok, d.Body)
	}
	must(t, d.Ack(false))
	must(t, ch.TxRollback())
	must(t, d.Ack(false)) // known again
	must(t, ch.TxCommit())
	must(t, ch.Close())
	if d, ok, err := other.Get(queue, true); ok || err != nil {
		t.Fatalf("after the committed ack: %q, error %v", d.Body, err)
	}
}

func TestPrefetch(t *testing.T) {
	for _, global := range []bool{false, true} {
		t.Run(fmt.Sprintf("global=%v", global), func(t *testing.T) {
			n := startNode(t, nil)
			ch := n.channel(t)
			queue := durable(t, ch)
			for i := range 20 {
				publish(t, ch, queue, amqp091.Publishing{Body: fmt.Append(nil, i)})
			}
			eventually(t, "all are ready", func() bool {
				q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
				must(t, err)
				return q.Messages == 20
			})
			must(t, ch.Qos(3, 0, global))
			a, b := consume(t, ch, queue), consume(t, ch, queue)
			window := 6
			if global {
				window = 3
			}
			got, last := 0, uint64(0)
			for i := range 20 / window * window {
				var d amqp091.Delivery
				select {
				case d = <-a:
				case d = <-b:
				case <-time.After(patience):
					t.Fatal("nothing came")
				}
				last = max(last, d.DeliveryTag)
				if got++; got == window {
					// Nothing may come beyond the window: the rest waits in the queue.
					q, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
					must(t, err)
					if want := 20 - i - 1; q.Messages != want {
						t.Fatalf("%d messages are ready after %d deliveries, want %d", q.Messages, i+1, want)
					}
					must(t, ch.Ack(last, true))
					got = 0
				}
			}
		})
	}
}

func TestUnsettledComesBack(t *testing.T) {
	n := startNode(t, nil)
	ch := n.channel(t)
	queue := durable(t, ch)
	for i := range 3 {
		publish(t, ch, queue, amqp091.Publishing{Body: fmt.Append(nil, i)})
	}
	conn := n.dial(t)
	dying, err := conn.Channel()
	must(t, err)
	ds := consume(t, dying, queue)
	for range 3 {
		receive(t, ds)
	}
	must(t, conn.Close())
	ds = consume(t, ch, queue)
	for i := range 3 {
		if d := receive(t, ds); string(d.Body) != fmt.Sprint(i) || !d.Redelivered {
			t.Errorf("got %q, redelivered %v", d.Body, d.Redelivered)
		}
	}
	must(t, ch.Recover(true)) //nolint:staticcheck // deprecated in the client, but old applications call it
	for i := range 3 {
		if d := receive(t, ds); string(d.Body) != fmt.Sprint(i) || !d.Redelivered || d.DeliveryTag != uint64(i+4) {
			t.Errorf("after recover: %q, redelivered %v, tag %d", d.Body, d.Redelivered, d.DeliveryTag)
		}
	}
}

func TestConsumerIsToldThatItsQueueIsGone(t *testing.T) {
	n := startNode(t, nil)
	ch := n.channel(t)
	queue := durable(t, ch)
	publish(t, ch, queue, amqp091.Publishing{})
	ds := consume(t, ch, queue)
	d := receive(t, ds)
	canceled := ch.NotifyCancel(make(chan string, 1))
	_, err := n.channel(t).QueueDelete(queue, false, false, false)
	must(t, err)
	receive(t, canceled)
	must(t, d.Ack(false)) // still a known tag
	if _, err := ch.QueueDeclare("", false, true, true, false, nil); err != nil {
		t.Errorf("the channel does not work any more: %v", err)
	}
}

func TestCarbonCopies(t *testing.T) {
	ch := startNode(t, nil).channel(t)
	for _, q := range []string{"to", "cc", "bcc"} {
		_, err := ch.QueueDeclare(q, false, true, false, false, nil)
		must(t, err)
	}
	publish(t, ch, "to", amqp091.Publishing{
		ContentType: "text/plain", AppId: "app",
		Headers: amqp091.Table{"CC": []any{"cc", "to"}, "BCC": []any{"bcc"}, "kept": int32(1)},
	})
	for _, q := range []string{"to", "cc", "bcc"} {
		d, ok, err := ch.Get(q, true)
		must(t, err)
		if !ok || d.Headers["BCC"] != nil || d.Headers["kept"] != int32(1) || d.AppId != "app" || d.ContentType != "text/plain" {
			t.Errorf("%s: found %v, %+v", q, ok, d)
		}
		if _, ok, _ := ch.Get(q, true); ok {
			t.Errorf("%s got it twice", q)
		}
	}
}

func TestLargeMessages(t *testing.T) {
	ch := startNode(t, nil).channel(t)
	queue := durable(t, ch)
	ds := consume(t, ch, queue)
	for _, size := range []int{0, 1, 131064, 131065, 3 << 20, 16 << 20} {
		body := strings.Repeat("x", size)
		publish(t, ch, queue, amqp091.Publishing{Body: []byte(body)})
		d := receive(t, ds)
		if string(d.Body) != body {
			t.Errorf("%d bytes became %d", size, len(d.Body))
		}
		must(t, d.Ack(false))
	}
}

func TestBlocked(t *testing.T) {
	n := startNode(t, nil)
	conn := n.dial(t)
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 2))
	ch, err := conn.Channel()
	must(t, err)
	queue := durable(t, ch)
	must(t, ch.Confirm(false))
	n.broker.SetAlarm("no disk space")
	confirmed := make(chan error, 1)
	go func() {
		c, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, amqp091.Publishing{})
		if err == nil && !c.Wait() {
			err = fmt.Errorf("nack")
		}
		confirmed <- err
	}()
	if b := receive(t, blocked); !b.Active || b.Reason != "no disk space" {
		t.Errorf("got %+v", b)
	}
	n.broker.SetAlarm("")
	if b := receive(t, blocked); b.Active {
		t.Errorf("got %+v", b)
	}
	must(t, receive(t, confirmed))
}

func TestShutdownWhileBlocked(t *testing.T) {
	n := startNode(t, nil)
	conn := n.dial(t)
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 2))
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	ch, err := conn.Channel()
	must(t, err)
	queue := durable(t, ch)
	n.broker.SetAlarm("no disk space")
	defer n.broker.SetAlarm("")
	publish(t, ch, queue, amqp091.Publishing{})
	receive(t, blocked)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, n.Shutdown(ctx))
	if e := receive(t, closed); e.Code != 320 {
		t.Errorf("closed with %v", e)
	}
}

func TestShutdownConfirmsFirst(t *testing.T) {
	n := startNode(t, nil)
	conn := n.dial(t)
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	ch, err := conn.Channel()
	must(t, err)
	queue := durable(t, ch)
	must(t, ch.Confirm(false))
	var confirms []*amqp091.DeferredConfirmation
	for range 100 {
		c, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, amqp091.Publishing{})
		must(t, err)
		confirms = append(confirms, c)
	}
	eventually(t, "the connection is listed", func() bool { return len(n.Connections()) == 1 })
	// The last publication has been read once the answer to this is there.
	_, err = ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	must(t, n.Shutdown(ctx))
	if e := receive(t, closed); e.Code != 320 {
		t.Errorf("closed with %v", e)
	}
	for i, c := range confirms {
		if !c.Wait() {
			t.Errorf("message %d was not confirmed", i)
		}
	}
}

func TestSlowReaderIsBoundedAndCutOff(t *testing.T) {
	n := startNode(t, func(c *Config) {
		c.WriteTimeout = time.Second
		c.OutputLimit = 256 << 10
	})
	ch := n.channel(t)
	queue := durable(t, ch)
	must(t, ch.Confirm(false))
	body := make([]byte, 100<<10)
	for range 300 {
		c, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, amqp091.Publishing{Body: body})
		must(t, err)
		c.Wait()
	}
	slow := n.raw(t).open()
	conn := n.conn(t, 2)
	slow.write(consumeFrame(queue))
	eventually(t, "the slow reader is cut off", func() bool {
		conn.out.mu.Lock()
		used := conn.out.used()
		conn.out.mu.Unlock()
		if used > 256<<10+len(body) {
			t.Fatalf("%d bytes are queued", used)
		}
		return len(n.Connections()) == 1
	})
	d, ok, err := ch.Get(queue, true)
	must(t, err)
	if !ok || !d.Redelivered {
		t.Errorf("found %v, redelivered %v", ok, d.Redelivered)
	}
}
