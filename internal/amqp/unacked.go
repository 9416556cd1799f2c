package amqp

import (
	"slices"

	"waybill/internal/record"
)

// delivery is a message that a channel has delivered and that is not settled.
type delivery struct {
	tag    uint64
	from   *consumer
	offset record.Offset
}

// unacked holds a channel's unsettled deliveries in the order of their tags.
// Settling the oldest is the common case and costs a constant; settling in the
// middle leaves a hole (from is nil), and holes are closed when they are the
// majority, so memory follows the number of unsettled deliveries and not their
// age. Guarded by channel.mu.
type unacked struct {
	all   []delivery
	head  int // all[:head] is free
	holes int // in all[head:]
}

// len is the number of unsettled deliveries.
func (u *unacked) len() int { return len(u.all) - u.head - u.holes }

// push adds a delivery; its tag is higher than all before.
func (u *unacked) push(d delivery) {
	if len(u.all) == cap(u.all) && u.head > len(u.all)/2 {
		u.all = u.all[:copy(u.all, u.all[u.head:])]
		u.head = 0
	}
	u.all = append(u.all, d)
}

// take removes the delivery of the tag, and with multiple all before it, and appends them
// to out. Tag 0 with multiple means all. ok is false, and nothing is removed, when the
// tag is not unsettled.
func (u *unacked) take(tag uint64, multiple bool, out []delivery) (_ []delivery, ok bool) {
	if multiple && tag == 0 {
		return u.takeUntil(len(u.all), out), true
	}
	i, found := u.find(tag)
	if !found {
		return out, false
	}
	if multiple {
		return u.takeUntil(i+1, out), true
	}
	out = append(out, u.all[i])
	u.all[i].from = nil
	u.holes++
	u.tidy()
	return out, true
}

func (u *unacked) find(tag uint64) (int, bool) {
	live := u.all[u.head:]
	if len(live) > 0 && live[0].tag == tag {
		return u.head, live[0].from != nil
	}
	i, found := slices.BinarySearchFunc(live, tag, func(d delivery, tag uint64) int {
		switch {
		case d.tag < tag:
			return -1
		case d.tag > tag:
			return 1
		}
		return 0
	})
	return u.head + i, found && live[i].from != nil
}

func (u *unacked) takeUntil(end int, out []delivery) []delivery {
	for i := u.head; i < end; i++ {
		if u.all[i].from == nil {
			u.holes--
			continue
		}
		out = append(out, u.all[i])
		u.all[i].from = nil
	}
	u.head = end
	u.tidy()
	return out
}

// tidy frees holes at the head, and closes all of them once they are the
// majority.
func (u *unacked) tidy() {
	for u.head < len(u.all) && u.all[u.head].from == nil {
		u.head++
		u.holes--
	}
	switch {
	case u.head == len(u.all):
		u.all, u.head, u.holes = u.all[:0], 0, 0
		if cap(u.all) > keepUnacked {
			u.all = nil
		}
	case u.holes > 64 && u.holes > u.len():
		live := u.all[:0]
		for _, d := range u.all[u.head:] {
			if d.from != nil {
				live = append(live, d)
			}
		}
		clear(u.all[len(live):])
		u.all, u.head, u.holes = live, 0, 0
	}
}

// keepUnacked is the number of deliveries for which an empty list keeps room.
const keepUnacked = 4096

// forget marks the deliveries of a consumer as stale: they will come again with other
// tags.
func (u *unacked) forget(c *consumer) {
	for i := u.head; i < len(u.all); i++ {
		if u.all[i].from == c {
			u.all[i].offset = staleOffset
		}
	}
}

// putBack returns deliveries that were taken, as a rollback does.
func (u *unacked) putBack(ds []delivery) {
	live := slices.DeleteFunc(slices.Clone(u.all[u.head:]), func(d delivery) bool { return d.from == nil })
	u.all = append(live, ds...)
	u.head, u.holes = 0, 0
	slices.SortFunc(u.all, func(a, b delivery) int {
		if a.tag < b.tag {
			return -1
		}
		return 1
	})
}
