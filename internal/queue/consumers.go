package queue

import (
	"cmp"
	"errors"
	"slices"

	"waybill/internal/record"
)

var (
	// ErrExclusive: another consumer has the queue for itself, or this one
	// wants it for itself and is not alone.
	ErrExclusive = errors.New("queue: in exclusive use")
	// ErrSingleActive: a queue with a single active consumer cannot be pulled from.
	ErrSingleActive = errors.New("queue: has a single active consumer")
)

// Delivery is one message on its way out. The message's bytes are shared: read
// only, and valid for as long as they are referenced.
type Delivery struct {
	Offset      record.Offset
	Redelivered bool
	Message     record.Message
}

// Consumer is where the messages of a consuming [Sub] go.
type Consumer interface {
	// Take asks for room for a message of size bytes in its stored form. After false
	// the Sub is not asked again until Leader.Resume.
	Take(size int) bool
	// Deliver hands over a message for which Take answered true; d is valid
	// during the call.
	Deliver(d *Delivery)
}

// Puller is where the messages of a pulling [Sub] go.
type Puller interface {
	// Pulled answers the oldest Leader.Pull that is not answered: d is nil when
	// no message was ready; remaining counts those that still are.
	Pulled(d *Delivery, remaining int64, err error)
}

// Sub is a subscription: a consumer, or one that pulls, with the messages that it
// was delivered and has not settled. Its owner sets the exported
// fields before Subscribe or Pull; the rest belongs to the Leader.
type Sub struct {
	Consumer  Consumer // nil for one that pulls
	Puller    Puller   // nil for one that consumes
	NoAck     bool     // a delivered message counts as settled
	Exclusive bool
	Priority  int // higher ones are served first

	unacked    unacked
	consuming  bool   // in Leader.consumers
	pulling    bool   // has pulled
	level      *level // nil unless it is in its level's ring
	prev, next *Sub
}

// Unacked is the number of messages that it holds.
func (s *Sub) Unacked() int { return s.unacked.count }

// level is the ring of the consumers of one priority that have room, as far as
// known; the one at first is next.
type level struct {
	priority int
	first    *Sub
}

func (v *level) pushBack(s *Sub) {
	s.level = v
	if v.first == nil {
		v.first, s.prev, s.next = s, s, s
		return
	}
	s.prev, s.next = v.first.prev, v.first
	s.prev.next, s.next.prev = s, s
}

func (v *level) remove(s *Sub) {
	s.level = nil
	if s.next == s {
		v.first = nil
	} else {
		s.prev.next, s.next.prev = s.next, s.prev
		if v.first == s {
			v.first = s.next
		}
	}
	s.prev, s.next = nil, nil
}

// consumers are the consumers of a queue and whose turn it is.
type consumers struct {
	all          []*Sub // in the order in which they came
	levels       []*level
	singleActive bool
	active       *Sub // the one that is served when singleActive
}

func (c *consumers) add(s *Sub) error {
	if len(c.all) > 0 && (s.Exclusive || c.exclusive()) {
		return ErrExclusive
	}
	s.consuming = true
	c.all = append(c.all, s)
	if c.singleActive && c.active == nil {
		c.active = s
	}
	c.resume(s)
	return nil
}

// exclusive reports whether a consumer has the queue for itself.
func (c *consumers) exclusive() bool { return len(c.all) == 1 && c.all[0].Exclusive }

func (c *consumers) remove(s *Sub) {
	if !s.consuming {
		return
	}
	s.consuming = false
	c.park(s)
	c.all = slices.DeleteFunc(c.all, func(o *Sub) bool { return o == s })
	if !slices.ContainsFunc(c.all, func(o *Sub) bool { return o.Priority == s.Priority }) {
		c.levels = slices.DeleteFunc(c.levels, func(v *level) bool { return v.priority == s.Priority })
	}
	if c.active != s {
		return
	}
	c.active = nil
	for _, o := range c.all {
		if c.active == nil || o.Priority > c.active.Priority {
			c.active = o
		}
	}
	if c.active != nil {
		c.resume(c.active)
	}
}

// turn is the consumer to be served next, nil when none has room.
func (c *consumers) turn() *Sub {
	for _, v := range c.levels {
		if v.first != nil {
			return v.first
		}
	}
	return nil
}

// served ends the turn of s.
func (c *consumers) served(s *Sub) {
	if s.level != nil {
		s.level.first = s.next
	}
}

// park takes s out of its ring until resume.
func (c *consumers) park(s *Sub) {
	if s.level != nil {
		s.level.remove(s)
	}
}

// resume puts s back, behind the others of its priority.
func (c *consumers) resume(s *Sub) {
	if !s.consuming || s.level != nil || c.singleActive && c.active != s {
		return
	}
	at, found := slices.BinarySearchFunc(c.levels, s.Priority, func(v *level, priority int) int {
		return cmp.Compare(priority, v.priority) // highest first
	})
	if !found {
		c.levels = slices.Insert(c.levels, at, &level{priority: s.Priority})
	}
	c.levels[at].pushBack(s)
}
