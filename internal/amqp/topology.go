package amqp

import (
	"strings"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
)

// The methods of the classes exchange and queue.

// clean strips line breaks off a name, as RabbitMQ does.
func clean(name string) string {
	if !strings.ContainsAny(name, "\r\n") {
		return name
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(name)
}

// queueName is the name that a client means: an empty one stands for the queue
// that was declared last on the channel.
func (ch *channel) queueName(name string) (string, error) {
	if name = clean(name); name != "" {
		return name, nil
	}
	if ch.lastQueue == "" {
		return "", exceptionf(spec.NotFound, "no previously declared queue")
	}
	return ch.lastQueue, nil
}

// reply answers a synchronous method unless the client does not wait for it.
func (ch *channel) reply(noWait bool, m spec.Method) error {
	if !noWait {
		ch.send(m)
	}
	return nil
}

func (ch *channel) exchangeDeclare(m *spec.ExchangeDeclare) error {
	name := clean(m.Exchange)
	if m.Passive {
		if err := ch.conn.session.CheckExchange(name); err != nil {
			return err
		}
		return ch.reply(m.NoWait, &spec.ExchangeDeclareOK{})
	}
	err := ch.conn.session.DeclareExchange(ch.conn.ctx, broker.ExchangeSpec{
		Name: name, Type: m.Type, Durable: m.Durable, AutoDelete: m.AutoDelete,
		Internal: m.Internal, Args: m.Arguments,
	})
	if err != nil {
		return err
	}
	return ch.reply(m.NoWait, &spec.ExchangeDeclareOK{})
}

func (ch *channel) exchangeDelete(m *spec.ExchangeDelete) error {
	if err := ch.conn.session.DeleteExchange(ch.conn.ctx, clean(m.Exchange), m.IfUnused); err != nil {
		return err
	}
	return ch.reply(m.NoWait, &spec.ExchangeDeleteOK{})
}

func (ch *channel) exchangeBind(m *spec.ExchangeBind) error {
	err := ch.conn.session.Bind(ch.conn.ctx, broker.Binding{
		Source: clean(m.Source), Destination: clean(m.Destination), ToExchange: true,
		Key: m.RoutingKey, Args: m.Arguments,
	})
	if err != nil {
		return err
	}
	return ch.reply(m.NoWait, &spec.ExchangeBindOK{})
}

func (ch *channel) exchangeUnbind(m *spec.ExchangeUnbind) error {
	err := ch.conn.session.Unbind(ch.conn.ctx, broker.Binding{
		Source: clean(m.Source), Destination: clean(m.Destination), ToExchange: true,
		Key: m.RoutingKey, Args: m.Arguments,
	})
	if err != nil {
		return err
	}
	return ch.reply(m.NoWait, &spec.ExchangeUnbindOK{})
}

func (ch *channel) queueDeclare(m *spec.QueueDeclare) error {
	if ok, err := ch.declareReplies(m); ok {
		return err
	}
	ch.conn.pending.wait(ch.conn.ctx)
	var status broker.QueueStatus
	var err error
	if m.Passive {
		var name string
		if name, err = ch.queueName(m.Queue); err != nil {
			return err
		}
		status, err = ch.conn.session.CheckQueue(ch.conn.ctx, name)
	} else {
		status, err = ch.conn.session.DeclareQueue(ch.conn.ctx, broker.QueueSpec{
			Name: clean(m.Queue), Durable: m.Durable, Exclusive: m.Exclusive,
			AutoDelete: m.AutoDelete, Args: m.Arguments,
		})
	}
	if err != nil {
		return err
	}
	ch.lastQueue = status.Name
	return ch.reply(m.NoWait, &spec.QueueDeclareOK{
		Queue:         status.Name,
		MessageCount:  uint32(status.Ready),
		ConsumerCount: uint32(status.Consumers),
	})
}

// queueBinding is the binding that queue.bind and queue.unbind mean. An empty
// key with an empty queue name stands for the queue's name.
func (ch *channel) queueBinding(queue string, b broker.Binding) (broker.Binding, error) {
	name, err := ch.queueName(queue)
	if err != nil {
		return b, err
	}
	b.Destination = name
	if queue == "" && b.Key == "" {
		b.Key = name
	}
	return b, nil
}

func (ch *channel) queueBind(m *spec.QueueBind) error {
	b, err := ch.queueBinding(m.Queue, broker.Binding{Source: clean(m.Exchange), Key: m.RoutingKey, Args: m.Arguments})
	if err != nil {
		return err
	}
	if err := ch.conn.session.Bind(ch.conn.ctx, b); err != nil {
		return err
	}
	return ch.reply(m.NoWait, &spec.QueueBindOK{})
}

func (ch *channel) queueUnbind(m *spec.QueueUnbind) error {
	b, err := ch.queueBinding(m.Queue, broker.Binding{Source: clean(m.Exchange), Key: m.RoutingKey, Args: m.Arguments})
	if err != nil {
		return err
	}
	if err := ch.conn.session.Unbind(ch.conn.ctx, b); err != nil {
		return err
	}
	return ch.reply(false, &spec.QueueUnbindOK{})
}

func (ch *channel) queuePurge(m *spec.QueuePurge) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	ch.conn.pending.wait(ch.conn.ctx)
	n, err := ch.conn.session.PurgeQueue(ch.conn.ctx, name)
	if err != nil {
		return err
	}
	return ch.reply(m.NoWait, &spec.QueuePurgeOK{MessageCount: uint32(n)})
}

func (ch *channel) queueDelete(m *spec.QueueDelete) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	ch.conn.pending.wait(ch.conn.ctx)
	n, err := ch.conn.session.DeleteQueue(ch.conn.ctx, name, m.IfUnused, m.IfEmpty)
	if err != nil {
		return err
	}
	return ch.reply(m.NoWait, &spec.QueueDeleteOK{MessageCount: uint32(n)})
}
