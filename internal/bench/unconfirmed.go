package bench

import (
	"fmt"
	"sync"
)

// unconfirmed holds the times of messages that wait for their confirm, by
// delivery tag. Confirms may come in any order.
type unconfirmed struct {
	mu   sync.Mutex // protects what follows
	ring []int64    // time of tag at tag modulo length, a power of two; or confirmedAlready
	low  uint64     // everything below is confirmed
	next uint64     // tag of the next message
}

const confirmedAlready = -1

func (u *unconfirmed) init(window int) {
	size := 16
	for size < 2*window {
		size *= 2
	}
	u.ring, u.low, u.next = make([]int64, size), 1, 1
}

func (u *unconfirmed) slot(tag uint64) *int64 { return &u.ring[tag&uint64(len(u.ring)-1)] }

// add appends messages that are about to be sent.
func (u *unconfirmed) add(times []int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for int(u.next-u.low)+len(times) > len(u.ring) { // one confirm that is late holds many slots
		u.grow()
	}
	for _, t := range times {
		*u.slot(u.next) = t
		u.next++
	}
}

func (u *unconfirmed) grow() {
	old := u.ring
	u.ring = make([]int64, 2*len(old))
	for tag := u.low; tag != u.next; tag++ {
		*u.slot(tag) = old[tag&uint64(len(old)-1)]
	}
}

// take appends the times of the messages that a confirm is for to times.
func (u *unconfirmed) take(tag uint64, multiple bool, times []int64) ([]int64, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if tag >= u.next {
		return times, fmt.Errorf("a confirm of message %d, but only %d were sent", tag, u.next-1)
	}
	from := tag
	if multiple {
		from = u.low
	}
	for at := from; at >= u.low && at <= tag; at++ {
		if t := u.slot(at); *t != confirmedAlready {
			times = append(times, *t)
			*t = confirmedAlready
		}
	}
	for u.low != u.next && *u.slot(u.low) == confirmedAlready {
		u.low++
	}
	return times, nil
}
