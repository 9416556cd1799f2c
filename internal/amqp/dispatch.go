package amqp

import (
	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
)

// handle runs one method of this channel.
func (ch *channel) handle(id spec.ID, args []byte) error {
	switch id {
	// The hot ones first; they decode into values on the stack.
	case spec.BasicPublishID:
		return ch.publish(args)
	case spec.BasicAckID:
		var m spec.BasicAck
		if err := m.Decode(args); err != nil {
			return err
		}
		return ch.settle(m.DeliveryTag, m.Multiple, broker.Accept)
	case spec.BasicNackID:
		var m spec.BasicNack
		if err := m.Decode(args); err != nil {
			return err
		}
		return ch.settle(m.DeliveryTag, m.Multiple, refusal(m.Requeue))
	case spec.BasicRejectID:
		var m spec.BasicReject
		if err := m.Decode(args); err != nil {
			return err
		}
		return ch.settle(m.DeliveryTag, false, refusal(m.Requeue))
	}
	m := spec.New(id)
	if m == nil {
		return exceptionf(spec.NotImplemented, "unknown method %d of class %d", id.Method(), id.Class())
	}
	if err := m.Decode(args); err != nil {
		return err
	}
	ch.conn.flushSettled()
	return ch.dispatch(m)
}

func refusal(requeue bool) broker.Outcome {
	if requeue {
		return broker.Requeue
	}
	return broker.Discard
}

// dispatch runs a method that is not on the hot path.
func (ch *channel) dispatch(m spec.Method) error {
	switch m := m.(type) {
	case *spec.ChannelOpen:
		return exceptionf(spec.ChannelError, "second 'channel.open' on channel %d", ch.id)
	case *spec.ChannelFlow:
		return ch.flow(m)
	case *spec.AccessRequest:
		ch.send(&spec.AccessRequestOK{Ticket: 1})
		return nil
	case *spec.ExchangeDeclare:
		return ch.exchangeDeclare(m)
	case *spec.ExchangeDelete:
		return ch.exchangeDelete(m)
	case *spec.ExchangeBind:
		return ch.exchangeBind(m)
	case *spec.ExchangeUnbind:
		return ch.exchangeUnbind(m)
	case *spec.QueueDeclare:
		return ch.queueDeclare(m)
	case *spec.QueueBind:
		return ch.queueBind(m)
	case *spec.QueueUnbind:
		return ch.queueUnbind(m)
	case *spec.QueuePurge:
		return ch.queuePurge(m)
	case *spec.QueueDelete:
		return ch.queueDelete(m)
	case *spec.BasicQos:
		return ch.qos(m)
	case *spec.BasicConsume:
		return ch.consume(m)
	case *spec.BasicCancel:
		return ch.cancel(m)
	case *spec.BasicCancelOK:
		return nil // to a basic.cancel of ours; clients may send it
	case *spec.BasicGet:
		return ch.get(m)
	case *spec.BasicRecover:
		return ch.recover(m.Requeue, true)
	case *spec.BasicRecoverAsync:
		return ch.recover(m.Requeue, false)
	case *spec.ConfirmSelect:
		return ch.confirmSelect(m)
	case *spec.TxSelect:
		return ch.txSelect()
	case *spec.TxCommit:
		return ch.txCommit()
	case *spec.TxRollback:
		return ch.txRollback()
	}
	return exceptionf(spec.CommandInvalid, "unexpected method '%s' from a client", m.ID())
}

// flow answers channel.flow; a client cannot stop deliveries with it.
func (ch *channel) flow(m *spec.ChannelFlow) error {
	if !m.Active {
		return exceptionf(spec.NotImplemented, "active=false; use basic.qos to limit deliveries")
	}
	ch.send(&spec.ChannelFlowOK{Active: true})
	return nil
}

func (ch *channel) confirmSelect(m *spec.ConfirmSelect) error {
	if ch.tx != nil {
		return exceptionf(spec.PreconditionFailed, "cannot switch from tx to confirm mode")
	}
	ch.confirm = true
	if !m.NoWait {
		ch.send(&spec.ConfirmSelectOK{})
	}
	return nil
}
