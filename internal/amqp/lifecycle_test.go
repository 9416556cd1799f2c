package amqp

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"waybill/internal/amqp/spec"
)

// TestNothingStaysPending: what a connection waits for before it looks at a
// queue is always answered, also when the queue has gone meanwhile.
func TestNothingStaysPending(t *testing.T) {
	n := startNode(t, nil)
	for _, c := range []struct {
		name   string
		settle func(*amqp091.Channel) error
	}{
		{"nack", func(ch *amqp091.Channel) error { return ch.Nack(0, true, true) }},
		{"discard", func(ch *amqp091.Channel) error { return ch.Nack(0, true, false) }},
		{"ack", func(ch *amqp091.Channel) error { return ch.Ack(0, true) }},
		{"channel close", (*amqp091.Channel).Close},
		{"ack in a transaction", func(ch *amqp091.Channel) error {
			if err := ch.Tx(); err != nil {
				return err
			}
			if err := ch.Nack(0, true, true); err != nil {
				return err
			}
			return ch.TxCommit()
		}},
	} {
		for _, cancel := range []bool{false, true} {
			for _, gone := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, canceled %v, queue gone %v", c.name, cancel, gone), func(t *testing.T) {
					conn := n.dial(t)
					ch, err := conn.Channel()
					must(t, err)
					_, err = ch.QueueDeclare("q", true, false, false, false, nil)
					must(t, err)
					for range 3 {
						publish(t, ch, "q", amqp091.Publishing{})
					}
					ds, err := ch.Consume("q", "tag", false, false, false, false, nil)
					must(t, err)
					for range 3 {
						receive(t, ds)
					}
					if cancel {
						must(t, ch.Cancel("tag", false))
					}
					if gone {
						_, err := n.channel(t).QueueDelete("q", false, false, false)
						must(t, err)
					}
					must(t, c.settle(ch))
					other, err := conn.Channel()
					must(t, err)
					_, err = other.QueueDeclare("", false, false, true, false, nil) // waits for what is pending
					must(t, err)
					if p := n.pendingOfAll(); p != 0 {
						t.Errorf("%d answers are missing", p)
					}
					must(t, conn.Close())
					_, err = n.channel(t).QueueDelete("q", false, false, false)
					must(t, err)
				})
			}
		}
	}
}

// pendingOfAll sums up what the connections wait for.
func (n *node) pendingOfAll() (sum int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		sum += c.pending.n.Load()
	}
	return sum
}

func TestClosedByAnAdministrator(t *testing.T) {
	n := startNode(t, nil)
	conn := n.dial(t)
	closed := conn.NotifyClose(make(chan *amqp091.Error, 1))
	eventually(t, "the connection is listed", func() bool { return len(n.Connections()) == 1 })
	c := n.Connections()[0]
	if c.User != "guest" || c.VHost != "/" || c.Peer != conn.LocalAddr().String() || c.Client["product"] == nil {
		t.Errorf("listed as %+v", c)
	}
	if !n.CloseConnection(c.ID, "maintenance") {
		t.Fatal("not found")
	}
	if e := receive(t, closed); e.Code != spec.ConnectionForced || e.Reason != "CONNECTION_FORCED - maintenance" {
		t.Errorf("closed with %v", e)
	}
	if n.CloseConnection(c.ID+1, "") {
		t.Error("closed a connection that there is not")
	}
}

// TestExclusiveQueueGoesWithItsConnection: it is gone once close-ok is there.
func TestExclusiveQueueGoesWithItsConnection(t *testing.T) {
	n := startNode(t, nil)
	for range 5 {
		conn, err := amqp091.Dial(n.url())
		must(t, err)
		ch, err := conn.Channel()
		must(t, err)
		_, err = ch.QueueDeclare("mine", false, false, true, false, nil)
		must(t, err)
		must(t, conn.Close())
	}
}

// TestDeclaredSizesCostNothing: publications that announce large bodies on
// every channel do not make memory grow before the bodies come.
func TestDeclaredSizesCostNothing(t *testing.T) {
	n := startNode(t, nil)
	c := n.raw(t).open()
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	const channels = 1000
	var b []byte
	for id := uint16(2); id < channels+2; id++ {
		b = appendMethod(b, id, &spec.ChannelOpen{})
		b = appendMethod(b, id, &spec.BasicPublish{RoutingKey: []byte("q")})
		b = append(b, frameOf(spec.FrameHeader, id, "\x00\x3c\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00")...)
		b = append(b, frameOf(spec.FrameBody, id, "the beginning")...)
	}
	c.write(b)
	for range channels {
		c.expect(&spec.ChannelOpenOK{})
	}
	c.send(1, &spec.BasicQos{})
	c.expect(&spec.BasicQosOK{})
	if grown := int64(heap() - before); grown > channels*64<<10 {
		t.Errorf("%d bytes for %d channels", grown, channels)
	}
}

// BenchmarkPublishConfirm measures one message of 1 KiB through a durable queue
// in memory, with 1,000 in flight, client included.
func BenchmarkPublishConfirm(b *testing.B) {
	n := startNode(b, nil)
	ch := n.channel(b)
	queue := durable(b, ch)
	must(b, ch.Confirm(false))
	body := make([]byte, 1024)
	window := make(chan *amqp091.DeferredConfirmation, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for c := range window {
			c.Wait()
		}
	}()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		c, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, false, false, amqp091.Publishing{Body: body})
		must(b, err)
		window <- c
	}
	close(window)
	<-done
}
