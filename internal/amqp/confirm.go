package amqp

// confirms keeps, for a channel in confirm mode, what is known of each
// publication, and decides which basic.ack and basic.nack tell it with the
// fewest frames. Queues answer out of order; a tag is told exactly once, and
// "multiple" is used only where every tag up to it is known, and never across
// a nack, also one that was told before: amqp091-go brings confirms into order
// before it gives them out, and lets an ack of many make an ack of a nack that
// still waits for those before it.
//
//	base            base+known
//	 │ known, to be    │ first that is
//	 │ told            │ not known
//	 ▼                 ▼
//	[ack ack nack ack  open told ack open open]
//	                            └ late: known but not told
//
// It takes one byte for each tag from base on. Guarded by channel.mu.
type confirms struct {
	all   []confirmState
	head  int      // where base is in all
	base  uint64   // the lowest tag that is remembered
	known int      // length of the prefix without open tags
	late  []uint64 // tags beyond the prefix that became known since the last tell
}

type confirmState uint8

const (
	confirmOpen confirmState = iota
	confirmAck
	confirmNack
	confirmToldAck // beyond the prefix only, as is the next one
	confirmToldNack
)

// add takes up the next tag.
func (c *confirms) add() uint64 {
	if c.base == 0 {
		c.base = 1
	}
	c.all = append(c.all, confirmOpen)
	return c.base + uint64(c.outstanding()) - 1
}

// outstanding is the number of tags that are remembered.
func (c *confirms) outstanding() int { return len(c.all) - c.head }

// resolve records what became of the tag.
func (c *confirms) resolve(tag uint64, ok bool) {
	states, i := c.states(), int(tag-c.base)
	states[i] = confirmNack
	if ok {
		states[i] = confirmAck
	}
	if i != c.known {
		c.late = append(c.late, tag)
		return
	}
	for c.known < len(states) && states[c.known] != confirmOpen {
		c.known++
	}
}

// tell calls ack for everything that became known since the last call, in the
// order in which it has to be sent.
func (c *confirms) tell(ack func(tag uint64, multiple, nack bool)) {
	run := 0 // acks that are not told yet, all of them at or before i
	last := uint64(0)
	flush := func() {
		if run > 0 {
			ack(last, run > 1, false)
		}
		run = 0
	}
	for i, state := range c.states()[:c.known] {
		switch tag := c.base + uint64(i); state {
		case confirmAck:
			run++
			last = tag
		case confirmNack:
			flush()
			ack(tag, false, true)
		case confirmToldNack:
			flush()
		}
	}
	flush()
	c.drop()
	states := c.states()
	for _, tag := range c.late {
		if tag < c.base {
			continue // was told with the prefix
		}
		state := &states[tag-c.base]
		nack := *state == confirmNack
		ack(tag, false, nack)
		*state = confirmToldAck
		if nack {
			*state = confirmToldNack
		}
	}
	c.late = c.late[:0]
}

// drop forgets the prefix. What is left moves to the front of the array when it
// is the smaller part, so that moving costs a constant per tag.
func (c *confirms) drop() {
	c.base += uint64(c.known)
	c.head += c.known
	c.known = 0
	if left := c.all[c.head:]; len(left) <= c.head {
		c.all = c.all[:copy(c.all, left)]
		c.head = 0
	}
}

// states are the tags from base on.
func (c *confirms) states() []confirmState { return c.all[c.head:] }
