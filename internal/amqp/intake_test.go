package amqp

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
)

// begun encodes a publication of a body of size bytes of which only so many are
// sent.
func begun(channel uint16, key string, size, sent int) []byte {
	b := appendMethod(nil, channel, &spec.BasicPublish{RoutingKey: []byte(key)})
	b, at := beginFrame(b, spec.FrameHeader, channel)
	b = binary.BigEndian.AppendUint32(b, basicClass<<16)
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = endFrame(append(b, 0, 0), at)
	return append(b, bodyFrames(channel, sent)...)
}

// bodyFrames encodes so many bytes of a body.
func bodyFrames(channel uint16, size int) (b []byte) {
	for size > 0 {
		n := min(size, 131072-frameOverhead)
		var at int
		b, at = beginFrame(b, spec.FrameBody, channel)
		b = endFrame(append(b, make([]byte, n)...), at)
		size -= n
	}
	return b
}

// TestBegunMessages: a connection may receive a few messages side by side. One
// that begins more loses a channel, and nothing else.
func TestBegunMessages(t *testing.T) {
	const size = 1 << 20
	node := startNode(t, func(c *Config) { c.MaxMessage = size })
	queue := durable(t, node.channel(t))
	c := node.raw(t).open()
	for ch := uint16(2); ch <= openMessages+1; ch++ {
		c.send(ch, &spec.ChannelOpen{})
		c.expect(&spec.ChannelOpenOK{})
	}
	for ch := uint16(1); ch <= openMessages; ch++ {
		c.write(begun(ch, queue, size, size-1))
	}
	c.write(begun(openMessages+1, queue, size, 131072-frameOverhead))
	var closed spec.ChannelClose
	c.expect(&closed)
	if closed.ReplyCode != spec.PreconditionFailed || !strings.Contains(closed.ReplyText, "begun") {
		t.Errorf("%d %q", closed.ReplyCode, closed.ReplyText)
	}
	c.send(openMessages+1, &spec.ChannelCloseOK{}, &spec.ChannelOpen{})
	c.expect(&spec.ChannelOpenOK{})
	c.write(content(openMessages+1, queue, "\x00\x00", "small")) // complete at once: never in the way
	for ch := uint16(1); ch <= openMessages; ch++ {
		c.write(bodyFrames(ch, 1))
	}
	c.send(1, &spec.QueueDeclare{Queue: queue, Passive: true})
	var ok spec.QueueDeclareOK
	c.expect(&ok)
	if ok.MessageCount != openMessages+1 {
		t.Errorf("%d messages in the queue, want %d", ok.MessageCount, openMessages+1)
	}
	eventually(t, "all is given back", func() bool { return node.cfg.Intake.Used() == 0 })
}

// TestTransactionsOfAConnection: the limit holds for all channels together, and
// what ended is given back.
func TestTransactionsOfAConnection(t *testing.T) {
	n := startNode(t, func(c *Config) { c.MaxTransaction = 1 << 20 })
	conn := n.dial(t)
	open := func() *amqp091.Channel {
		ch, err := conn.Channel()
		must(t, err)
		return ch
	}
	plain := open()
	queue := durable(t, plain)
	a, b := open(), open()
	must(t, a.Tx())
	must(t, b.Tx())
	body := amqp091.Publishing{Body: make([]byte, 600<<10)}
	publish(t, a, queue, body)
	ended := b.NotifyClose(make(chan *amqp091.Error, 1))
	publish(t, b, queue, body)
	if e := receive(t, ended); e.Code != spec.PreconditionFailed || !strings.Contains(e.Reason, "commit more often") {
		t.Fatalf("%v", e)
	}
	for _, end := range []func() error{a.TxCommit, a.TxRollback, a.TxCommit} {
		must(t, end())
		publish(t, a, queue, body)
	}
	must(t, a.Close())
	eventually(t, "all is given back", func() bool { return n.cfg.Intake.Used() == 0 })
	q, err := plain.QueueDeclarePassive(queue, true, false, false, false, nil)
	must(t, err)
	if q.Messages != 2 {
		t.Fatalf("%d messages, want the 2 committed ones", q.Messages)
	}
}

// TestIntakeIsShared: clients that begin messages and do not finish them use up
// the memory for such. They are cut off when others need it, and nobody else is.
func TestIntakeIsShared(t *testing.T) {
	const limit = 4 << 20
	n := startNode(t, func(c *Config) { c.Intake = broker.NewIntake(limit, time.Second) })
	queue := durable(t, n.channel(t))
	const size = 1 << 20
	var hostile []*rawClient
	for range 6 {
		c := n.raw(t).open()
		hostile = append(hostile, c)
		go func() { _, _ = c.nc.Write(begun(1, queue, 16<<20, size)) }()
	}
	eventually(t, "the memory is used up", func() bool { return n.cfg.Intake.Used() > limit/2 })
	good := n.channel(t)
	must(t, good.Confirm(false))
	for i := range 3 {
		confirmed, err := good.PublishWithDeferredConfirm("", queue, false, false, amqp091.Publishing{Body: fmt.Append(make([]byte, size), i)})
		must(t, err)
		if !confirmed.Wait() {
			t.Fatal("nacked")
		}
	}
	for _, c := range hostile {
		_ = c.nc.Close()
	}
	eventually(t, "all is given back", func() bool { return n.cfg.Intake.Used() == 0 })
}
