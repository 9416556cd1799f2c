package queue

import (
	"time"

	"waybill/internal/record"
)

// head is the ready message that was read last.
type head struct {
	off  record.Offset
	size int // of its stored form; 0 when nothing was read
}

// expiry is what is known of the TTL of the ready message at off.
type expiry struct {
	known bool
	off   record.Offset
	ends  int64 // ms since the Unix epoch
	has   bool  // it has a TTL
}

// Run delivers what can be delivered, and then drops what has expired or is too
// much. now is the time in ms since the Unix epoch. Messages from offset fresh
// on were applied just now: they are delivered even when their TTL is zero.
func (l *Leader) Run(now int64, fresh record.Offset) {
	l.head = head{}
	l.deliver(now, fresh)
	l.expire(now)
	if l.shorten() {
		l.expire(now) // there is a new head
	}
	l.scratch.Message = record.Message{} // do not pin an entry
}

// Expires is when Run should be called again because the TTL of the message at
// the head ends, ms since the Unix epoch.
func (l *Leader) Expires() (ms int64, ok bool) {
	return l.expiry.ends, l.expiry.known && l.expiry.has
}

// read reads the message at the head of the ready ones into l.scratch.
func (l *Leader) read(off record.Offset) (size int) {
	if l.head.size == 0 || l.head.off != off {
		l.head = head{off, l.source.Read(off, &l.scratch.Message)}
	}
	return l.head.size
}

func (l *Leader) deliver(now int64, fresh record.Offset) {
	for {
		off, ok := l.ready.First()
		if !ok {
			l.answerEmpty()
			return
		}
		s := l.consumers.turn()
		if s == nil && len(l.pulls) == 0 {
			return
		}
		size := l.read(off)
		if size == 0 {
			return
		}
		if ends, ok := l.ends(); ok && now >= ends && !(off >= fresh && l.ttlZero(ends)) {
			l.drop(off, Expired)
			continue
		}
		if off >= l.machine.delivered {
			return // Urgent asks for an entry that raises it
		}
		if len(l.pulls) > 0 {
			l.pulled(off)
			continue
		}
		if !s.Consumer.Take(size) {
			l.consumers.park(s)
			continue
		}
		l.hand(s, off)
		l.consumers.served(s)
		s.Consumer.Deliver(&l.scratch)
	}
}

// hand moves the ready message in scratch to s.
func (l *Leader) hand(s *Sub, off record.Offset) {
	bytes := len(l.scratch.Message.Body)
	l.ready.Remove(off, off+1)
	l.readyBytes -= int64(bytes)
	l.scratch.Offset = off
	l.scratch.Redelivered = off < l.mark || l.again.Count() > 0 && l.again.Contains(off)
	l.counters.Delivered++
	if l.scratch.Redelivered {
		l.counters.Redelivered++
	}
	if s.NoAck {
		l.settle(off, bytes, Accepted)
		return
	}
	s.unacked.add(off, bytes)
	l.unacked++
}

// pulled answers the oldest pull with the ready message in scratch.
func (l *Leader) pulled(off record.Offset) {
	s := l.nextPull()
	l.hand(s, off)
	s.Puller.Pulled(&l.scratch, l.ready.Count(), nil)
}

func (l *Leader) answerEmpty() {
	for len(l.pulls) > 0 {
		l.nextPull().Puller.Pulled(nil, 0, nil)
	}
}

func (l *Leader) nextPull() *Sub {
	s := l.pulls[0]
	l.pulls[0] = nil
	if l.pulls = l.pulls[1:]; len(l.pulls) == 0 {
		l.pulls = nil
	}
	return s
}

// ends is when the TTL of the message in scratch ends, ms since the Unix epoch:
// the smaller one of the queue's and its own.
func (l *Leader) ends() (ms int64, ok bool) {
	m := &l.scratch.Message
	ms, ok = m.Expires()
	if ttl := l.config.MessageTTL; ttl >= 0 {
		if q := m.Time + int64(ttl/time.Millisecond); !ok || q < ms {
			return q, true
		}
	}
	return ms, ok
}

func (l *Leader) ttlZero(ends int64) bool { return ends == l.scratch.Message.Time }

// expire drops the expired messages at the head and finds out when the next
// one expires.
func (l *Leader) expire(now int64) {
	for {
		off, ok := l.ready.First()
		if !ok || l.config.MessageTTL < 0 && off >= l.machine.expiring {
			l.expiry.known = false
			return
		}
		if e := l.expiry; e.known && e.off == off && (!e.has || now < e.ends) {
			return
		}
		l.expiry.known = false
		if l.read(off) == 0 {
			return // it is being fetched
		}
		ends, ok := l.ends()
		if !ok || now < ends {
			l.expiry = expiry{known: true, off: off, ends: ends, has: ok}
			return
		}
		l.drop(off, Expired)
	}
}

// shorten drops messages at the head as long as the queue is too long, and
// reports whether there were any.
func (l *Leader) shorten() (dropped bool) {
	c := &l.config
	if c.Overflow != DropHead {
		return false
	}
	for c.MaxLength >= 0 && l.ready.Count() > c.MaxLength || c.MaxBytes >= 0 && l.readyBytes > c.MaxBytes {
		off, ok := l.ready.First()
		if !ok || l.read(off) == 0 {
			return dropped
		}
		l.drop(off, Overflow)
		dropped = true
	}
	return dropped
}

// drop discards the ready message in scratch.
func (l *Leader) drop(off record.Offset, why Reason) {
	bytes := len(l.scratch.Message.Body)
	l.ready.Remove(off, off+1)
	l.readyBytes -= int64(bytes)
	l.discard(off, bytes, why)
}
