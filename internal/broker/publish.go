package broker

import (
	"bytes"
	"sync/atomic"

	"waybill/internal/record"
)

// Publication is one message on its way in.
type Publication struct {
	Exchange   string
	RoutingKey string
	ExtraKeys  []string            // of the headers CC and BCC
	Headers    func() record.Table // the message's headers table, decoded on demand
	Stored     []byte              // the message, encoded with record.Message.Append; owned by the broker from now on, unless it is lent
	Lender     Lender              // whom Stored is lent by; nil: nobody
}

// Lender has the memory of a message that it lends to the broker. The message is not changed
// before Publish returns and, if Lend has answered true, before GiveBack is called.
type Lender interface {
	// Lend is called by Publish. When it answers false the broker makes a copy.
	Lend() bool
	// GiveBack ends what Lend began. It is called once, from any goroutine, and must not block.
	GiveBack()
}

// Publisher hears what became of its publications. Published is called once for
// each Publish that was routed, from a shard; it must not block. A nil error
// means that every queue that the message was routed to has it, durably where
// the queue is durable; otherwise at least one of them has not (nack).
type Publisher interface {
	Published(tag uint64, err error)
}

// Publish routes p to queues. It returns how many queues the message is routed
// to; with 0 the Publisher hears nothing more. The error is the client's
// mistake (NotFound: no such exchange). to may be nil.
//
// Publish blocks while the node holds too many bytes that are not durable yet, and
// while it is short of disk: that is the back-pressure on a publishing
// connection.
func (s *Session) Publish(p *Publication, to Publisher, tag uint64) (queues int, err error) {
	s.b.alarm.wait()
	return s.publish(p, to, tag, func(q *Queue, c command) {
		s.b.budget.acquire(int64(len(c.stored)))
		q.post(c)
	})
}

// publish routes p and hands it over for each queue.
func (s *Session) publish(p *Publication, to Publisher, tag uint64, hand func(*Queue, command)) (queues int, err error) {
	x, ok := s.vhost.exchanges.get(p.Exchange)
	if !ok {
		return 0, s.vhost.noExchange(p.Exchange)
	}
	if x.spec.Internal {
		return 0, errorf(AccessRefused, "cannot publish to internal exchange '%s' in vhost '%s'", p.Exchange, s.vhost.name)
	}
	r := s.routers.Get().(*router)
	defer s.routers.Put(r)
	list := r.route(x, p)
	switch len(list) {
	case 0:
		s.b.metrics.unroutable.Inc()
	case 1:
		c := command{kind: cmdPublish, stored: p.Stored, to: to, tag: tag}
		c.borrow(p.Lender)
		hand(list[0], c)
	default:
		// The storage knows a message that is in several queues by where it lies, so that
		// must not be used for another one.
		stored := p.Stored
		if p.Lender != nil {
			stored = bytes.Clone(stored)
		}
		if to != nil {
			f := &fanout{to: to, tag: tag}
			f.open.Store(int32(len(list)))
			to = f
		}
		for _, q := range list {
			hand(q, command{kind: cmdPublish, stored: stored, to: to, tag: tag, shared: len(stored) >= worthSharing})
		}
	}
	return len(list), nil
}

// worthSharing is the size from which a message in several queues is written once.
// To refer to it takes some twenty bytes.
const worthSharing = 256

// fanout waits for all queues of one publication; the first error counts.
type fanout struct {
	to   Publisher
	tag  uint64
	open atomic.Int32
	err  atomic.Pointer[error]
}

// Published implements Publisher, for one queue.
func (f *fanout) Published(_ uint64, err error) {
	if err != nil {
		f.err.CompareAndSwap(nil, &err)
	}
	if f.open.Add(-1) > 0 {
		return
	}
	if first := f.err.Load(); first != nil {
		f.to.Published(f.tag, *first)
		return
	}
	f.to.Published(f.tag, nil)
}
