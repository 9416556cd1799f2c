package queue

import (
	"slices"

	"waybill/internal/record"
)

// unacked is what a subscription holds, in the order of offsets. Consumers
// mostly take ascending offsets and settle the oldest first, so it is a queue:
// both ends are cheap, anything else is a binary search.
type unacked struct {
	items []held // from head on; the first and the last one are not gone
	head  int
	count int // items that are not gone
}

// held is one delivered message.
type held struct {
	off   record.Offset
	bytes uint32 // of its body
	gone  bool   // settled, and still here as a placeholder
}

// add adds a message that is not in it.
func (u *unacked) add(off record.Offset, bytes int) {
	u.count++
	it := held{off: off, bytes: uint32(bytes)}
	if len(u.items) == u.head || u.items[len(u.items)-1].off < off {
		u.makeRoom()
		u.items = append(u.items, it)
		return
	}
	// A message that was requeued comes after later ones.
	at, found := u.search(off)
	if found {
		u.items[at] = it
		return
	}
	u.items = slices.Insert(u.items, at, it)
}

// take removes a message; ok is false when it is not in it.
func (u *unacked) take(off record.Offset) (bytes int, ok bool) {
	at := u.head
	if at == len(u.items) || u.items[at].off != off {
		if at, ok = u.search(off); !ok || u.items[at].gone {
			return 0, false
		}
	}
	bytes = int(u.items[at].bytes)
	u.items[at].gone = true
	u.count--
	u.trim()
	return bytes, true
}

// drain empties it, calling f for each message in order.
func (u *unacked) drain(f func(off record.Offset, bytes int)) {
	items := u.items[u.head:]
	*u = unacked{}
	for _, it := range items {
		if !it.gone {
			f(it.off, int(it.bytes))
		}
	}
}

// search returns where off is, or where it belongs.
func (u *unacked) search(off record.Offset) (at int, found bool) {
	at, found = slices.BinarySearchFunc(u.items[u.head:], off, func(it held, off record.Offset) int {
		return int(min(max(it.off-off, -1), 1))
	})
	return at + u.head, found
}

// trim drops placeholders at both ends, and all of them when they are the most.
func (u *unacked) trim() {
	for u.head < len(u.items) && u.items[u.head].gone {
		u.head++
	}
	for len(u.items) > u.head && u.items[len(u.items)-1].gone {
		u.items = u.items[:len(u.items)-1]
	}
	switch n := len(u.items) - u.head; {
	case n == 0:
		u.items, u.head = u.items[:0], 0
	case n > 64 && u.count < n/2:
		kept := slices.DeleteFunc(u.items[u.head:], func(it held) bool { return it.gone })
		u.items = u.items[:copy(u.items, kept)]
		u.head = 0
	}
}

// makeRoom moves the items down over what was settled, rather than let append
// grow the array.
func (u *unacked) makeRoom() {
	if len(u.items) == cap(u.items) && u.head >= len(u.items)/2 && u.head > 0 {
		u.items = u.items[:copy(u.items, u.items[u.head:])]
		u.head = 0
	}
}
