package broker

import (
	"fmt"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// vhost is the registry of one virtual host: the exchanges and queues by name.
type vhost struct {
	b         *Broker
	name      string
	exchanges cowMap[*exchange]
	queues    cowMap[*Queue]
}

// vhost returns the registry of a virtual host that the catalog names.
func (b *Broker) vhost(name string) *vhost {
	v, ok := b.vhosts.get(name)
	if !ok {
		v = &vhost{b: b, name: name}
		b.vhosts.set(name, v)
	}
	return v
}

// follow makes the registry follow one change of the catalog.
func (v *vhost) follow(c catalog.Change) {
	switch {
	case c.Exchange != nil && c.Gone:
		v.exchanges.delete(c.Exchange.Name)
	case c.Exchange != nil:
		v.exchanges.set(c.Exchange.Name, newExchange(v, *c.Exchange))
	case c.Queue != nil && c.Gone:
		if q, ok := v.queues.get(c.Queue.Name); ok {
			v.queues.delete(c.Queue.Name)
			v.b.byLog.Delete(q.spec.Log)
			q.remove()
		}
	case c.Queue != nil:
		q := newQueue(v, *c.Queue, decodeArgs(c.Queue.Args))
		v.queues.set(c.Queue.Name, q)
		v.b.byLog.Store(c.Queue.Log, q)
	case c.Binding != nil:
		v.followBinding(c.Binding, c.Gone)
	}
}

func (v *vhost) followBinding(b *catalog.Binding, gone bool) {
	x, ok := v.exchanges.get(b.Source)
	if !ok {
		panic(fmt.Sprintf("broker: binding %s has no source", b.ID()))
	}
	var to target
	if b.ToExchange {
		to.exchange, _ = v.exchanges.get(b.Destination)
	} else {
		to.queue, _ = v.queues.get(b.Destination)
	}
	if !gone && to == (target{}) {
		panic(fmt.Sprintf("broker: binding %s has no destination", b.ID()))
	}
	x.follow(b, gone, to)
}

// decodeArgs reads arguments as the catalog holds them.
func decodeArgs(b []byte) record.Table {
	if len(b) == 0 {
		return nil
	}
	t, _, err := record.ParseTable(b)
	if err != nil {
		panic(fmt.Sprintf("broker: arguments in the catalog: %v", err)) // checked when they were declared
	}
	return t
}

// noExchange and noQueue are worded as RabbitMQ does; clients look for that.
func (v *vhost) noExchange(name string) *Error {
	return errorf(NotFound, "no exchange '%s' in vhost '%s'", name, v.name)
}

func (v *vhost) noQueue(name string) *Error {
	return errorf(NotFound, "no queue '%s' in vhost '%s'", name, v.name)
}
