package broker

import (
	"errors"
	"fmt"
	"time"

	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/storage"
)

const (
	hotRead  = 256 << 10 // bytes taken from memory at a time
	coldRead = 1 << 20   // bytes read from disk at a time
	// readAhead bounds what a queue holds of what was read from disk.
	readAhead = 4 << 20
	// maxStrays is how many entries in a row are read aside of the stretch.
	maxStrays = 8
	// sourceIdle is how long what was read is kept without being used.
	sourceIdle = time.Second
)

// source reads a queue's messages for its leader. Deliveries mostly go along
// the log: the stretch cursor follows them, reading ahead where the log is on disk.
// A message that was requeued lies behind it and is read by the aside
// cursor, so that the stretch is kept.
type source struct {
	queue   *Queue
	stretch cursor
	aside   cursor
	stuck   error         // why the message at stuckAt cannot be read, nil while nothing is known
	stuckAt record.Offset // neither it nor what lies behind it is delivered
	refused bool          // a message was asked for that is not delivered, since run began
	strays  int           // entries that aside has loaded since stretch was read
	used    bool          // since tend was called last
	idleAt  time.Time
}

// cursor is a window on the log with a place in it. It belongs to the shard;
// only fetch runs elsewhere.
type cursor struct {
	source *source
	ahead  int // bytes to read ahead from disk

	window   fifo[window]
	bytes    int           // in window
	off      record.Offset // of the message that rest begins with
	rest     []byte        // of the first window's messages
	cold     bool          // the window came from disk
	fetching *piece        // being read from disk
}

// window is one entry.
type window struct {
	header   record.Header
	messages []byte
}

// piece is a read from disk on its way, and the event that brings its result.
type piece struct {
	cursor   *cursor
	from, to record.Offset
	wanted   bool // the entry that holds from must be there; else it is read ahead
	data     [][]byte
	err      error
}

func (s *source) init(q *Queue) {
	s.queue = q
	s.stretch = cursor{source: s, ahead: readAhead}
	s.aside = cursor{source: s}
}

// reset forgets everything.
func (s *source) reset() {
	s.stretch.reset()
	s.aside.reset()
	s.stuck, s.refused = nil, false
	s.idleAt = time.Time{}
}

// Read implements queue.Source.
func (s *source) Read(off record.Offset, m *record.Message) (size int) {
	if s.isStuck(off) {
		s.refused = true
		return 0
	}
	s.used = true
	if s.strays < maxStrays && s.stretch.window.len() > 0 && off < s.stretch.window.at(0).header.Base {
		if !s.aside.seek(off) {
			s.strays++
		}
		return s.aside.read(off, m)
	}
	if s.strays >= maxStrays {
		s.stretch.reset() // so much was requeued that the stretch lies there now
	}
	s.strays = 0
	return s.stretch.read(off, m)
}

// applied shows an entry that was applied just now: a consumer that keeps up
// reads it from here.
func (s *source) applied(h record.Header, data []byte) {
	c := &s.stretch
	if n := c.window.len(); n > 0 {
		if c.cold || c.bytes >= coldRead || c.window.at(n-1).header.End() != h.Base {
			return
		}
	} else if c.fetching != nil || s.queue.leader.Ready() != int64(h.Count) {
		return // there is a backlog before it
	}
	c.push(data)
}

// tend drops what nobody reads.
func (s *source) tend(now time.Time) {
	if s.queue.leader.Ready() == 0 {
		s.stretch.reset()
		s.aside.reset()
	}
	switch {
	case s.stretch.bytes+s.aside.bytes == 0:
		s.idleAt = time.Time{}
	case s.used && !now.Before(s.idleAt) || s.idleAt.IsZero():
		s.idleAt = now.Add(sourceIdle)
		s.used = false
	case !now.Before(s.idleAt):
		s.stretch.reset()
		s.aside.reset()
		s.idleAt = time.Time{}
	}
}

// arrived takes the result of a read from disk.
func (s *source) arrived(p *piece) {
	c := p.cursor
	if c.fetching != p || s.queue.leader == nil {
		return // the cursor went elsewhere
	}
	c.fetching = nil
	if p.err != nil {
		s.fail(p.from, p.err)
		return
	}
	c.cold = true
	for _, data := range p.data {
		c.push(data)
	}
	if p.wanted && (c.window.len() == 0 || c.window.at(0).header.Base > p.from) {
		s.fail(p.from, errNotThere)
	}
}

var errNotThere = errors.New("the log does not hold it")

// isStuck reports whether off is at, or behind, a message that cannot be read.
func (s *source) isStuck(off record.Offset) bool { return s.stuck != nil && off >= s.stuckAt }

// fail stops the deliveries before off: the queue holds a message that cannot be
// read, and its consumers must not be given a gap. Reading ahead finds it before
// what lies in front of it is delivered.
func (s *source) fail(off record.Offset, err error) {
	if errors.Is(err, storage.ErrClosed) || s.isStuck(off) {
		return
	}
	q := s.queue
	s.stuckAt = off
	s.stuck = fmt.Errorf("the message at offset %d cannot be read: %w", off, err)
	q.vhost.b.metrics.queues.stuck.Inc()
	q.vhost.b.log.Error("a queue holds a message that cannot be read: deliveries stop before it, publishing goes on; nothing was deleted",
		"queue", q.spec.Name, "vhost", q.vhost.name, "log", q.spec.Log, "offset", off, "error", err)
}

func (c *cursor) reset() {
	c.window.reset()
	c.bytes, c.rest, c.cold, c.fetching = 0, nil, false, nil
}

// push adds an entry to the end of the window.
func (c *cursor) push(data []byte) {
	h, payload, err := record.ParseHeader(data)
	var messages []byte
	if err == nil {
		messages, err = queue.Messages(payload)
	}
	if err != nil {
		c.source.fail(h.Base, err)
		return
	}
	c.window.push(window{h, messages})
	c.bytes += len(messages)
	if c.window.len() == 1 {
		c.off, c.rest = h.Base, messages
	}
}

// read reads the message at off, and begins to fetch it when it is on disk.
func (c *cursor) read(off record.Offset, m *record.Message) (size int) {
	if !c.seek(off) {
		if c.fetching != nil || !c.load(off) || !c.seek(off) {
			return 0
		}
	}
	rest, err := m.Parse(c.rest)
	if err != nil {
		c.source.fail(off, err)
		return 0
	}
	c.prefetch()
	return len(c.rest) - len(rest)
}

// seek moves to the message at off if the window has it.
func (c *cursor) seek(off record.Offset) bool {
	for c.window.len() > 0 && c.window.at(0).header.End() <= off {
		c.bytes -= len(c.window.pop().messages)
		if c.window.len() > 0 {
			c.off, c.rest = c.window.at(0).header.Base, c.window.at(0).messages
		}
	}
	if c.window.len() == 0 {
		return false
	}
	first := c.window.at(0)
	if off < first.header.Base {
		c.reset() // the aside cursor goes anywhere
		return false
	}
	if off < c.off {
		c.off, c.rest = first.header.Base, first.messages
	}
	for ; c.off < off; c.off++ {
		n, err := record.MessageLen(c.rest)
		if err != nil {
			c.source.fail(off, err)
			return false
		}
		c.rest = c.rest[n:]
	}
	return true
}

// load fills the empty window from memory, or begins a fetch. It reports
// whether the window begins with the entry that holds off.
func (c *cursor) load(off record.Offset) bool {
	q := c.source.queue
	size := hotRead
	if c.ahead == 0 {
		size = 1
	}
	data, err := q.group.readFrom(off, q.machine.Next(), size, false)
	switch {
	case errors.Is(err, storage.ErrCold):
		c.fetch(off, true)
		return false
	case err != nil:
		c.source.fail(off, err)
		return false
	}
	c.cold = false
	for _, d := range data {
		c.push(d)
	}
	if c.window.len() == 0 || c.window.at(0).header.Base > off {
		c.source.fail(off, errNotThere)
		return false
	}
	return true
}

// prefetch keeps a reader busy ahead of a cursor on disk.
func (c *cursor) prefetch() {
	if !c.cold || c.fetching != nil || c.ahead == 0 || c.bytes > c.ahead-coldRead {
		return
	}
	end := c.window.at(c.window.len() - 1).header.End()
	if s := c.source; end < s.queue.machine.Next() && !s.isStuck(end) {
		c.fetch(end, false)
	}
}

// fetch reads from disk, on a goroutine of its own, and posts the result.
func (c *cursor) fetch(off record.Offset, wanted bool) {
	q := c.source.queue
	size := coldRead
	if c.ahead == 0 {
		size = 1
	}
	p := &piece{cursor: c, from: off, to: q.machine.Next(), wanted: wanted}
	c.fetching = p
	group := q.group
	go func() {
		p.data, p.err = group.readFrom(p.from, p.to, size, true)
		group.Post(p)
	}()
}
