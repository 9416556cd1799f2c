package amqp

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

// FuzzConnection feeds a connection random bytes, in two halves, after the
// handshake. Whatever they are, the server answers with a close or waits for
// more, and a bystander's connection goes on.
func FuzzConnection(f *testing.F) {
	method := func(ms ...spec.Method) (b []byte) {
		for _, m := range ms {
			b = appendMethod(b, 1, m)
		}
		return b
	}
	declare := method(&spec.QueueDeclare{Queue: "fuzz", Exclusive: true, Arguments: record.Table{"x-max-length": int32(3)}})
	f.Add(declare, content(1, "fuzz", "\x00\x00", "body"))
	f.Add(declare, method(&spec.BasicConsume{Queue: "fuzz", ConsumerTag: "c"}, &spec.BasicAck{DeliveryTag: 1}))
	f.Add(method(&spec.ConfirmSelect{}), content(1, "nowhere", "\x10\x00\x02", "persistent"))
	f.Add(method(&spec.TxSelect{}), append(content(1, "fuzz", "\x00\x00", ""), method(&spec.TxCommit{})...))
	f.Add(method(&spec.BasicQos{PrefetchCount: 1, Global: true}), method(&spec.BasicRecover{Requeue: true}))
	f.Add(method(&spec.ChannelClose{}), method(&spec.ChannelOpen{}))
	f.Add(method(&spec.ExchangeDeclare{Exchange: "x", Type: "topic", AutoDelete: true}), method(&spec.QueueBind{Exchange: "x", RoutingKey: "#.#"}))
	f.Add(heartbeat, []byte("AMQP"))
	n := startNode(f, func(c *Config) { c.MaxMessage = 1 << 20 })
	bystander := n.raw(f).open()
	must(f, bystander.nc.SetDeadline(time.Time{}))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		c := n.raw(t)
		c.t = t
		c.open()
		go func() {
			_, _ = c.nc.Write(first)
			_, _ = c.nc.Write(second)
			_ = c.nc.(*net.TCPConn).CloseWrite()
		}()
		for {
			m, err := c.next()
			if err != nil {
				var broken *readError
				if !errors.Is(err, io.EOF) && !errors.As(err, &broken) && !errors.Is(err, net.ErrClosed) {
					var op *net.OpError
					if !errors.As(err, &op) {
						t.Fatalf("the server sent what cannot be read: %v", err)
					}
				}
				break
			}
			if closed, ok := m.(*spec.ConnectionClose); ok && closed.ReplyCode == spec.InternalError {
				t.Fatalf("internal error: %s", closed.ReplyText)
			}
		}
		c.nc.Close()
		bystander.t = t
		bystander.send(1, &spec.BasicQos{})
		bystander.expect(&spec.BasicQosOK{})
	})
}
