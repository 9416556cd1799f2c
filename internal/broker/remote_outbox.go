package broker

import (
	"encoding/binary"
	"io"
	"net"
	"sync"
	"time"
)

// How the ends of a connection between nodes see that the other one is gone,
// beyond what the transport tells.
const (
	pingEvery   = 2 * time.Second
	peerTimeout = 8 * time.Second // nothing was heard, or a write made no progress
)

// outbox is what waits to be written to another node. Everyone appends whole
// frames; one goroutine writes all that has gathered with one call, so frames
// coalesce by themselves while a write is under way. Its size is bounded by those who
// append: by the window for publishes, and by [outbox.roomy] for deliveries.
type outbox struct {
	wake chan struct{} // capacity 1: there is something to write

	mu      sync.Mutex // guards the rest; a leaf
	buf     []byte
	spare   []byte // the buffer that the writer is done with
	writing int    // bytes in the writer's hands
	closed  bool   // drop everything
	starved []*guestSub

	// The answer that buf ends with, to be extended: guest and code, the number of the
	// next publish. nil when it ends with another frame.
	tail     *guest
	tailCode errorCode
	tailNext uint64
}

func newOutbox() *outbox { return &outbox{wake: make(chan struct{}, 1)} }

// begin locks the outbox and starts a frame; end finishes it. Between them the
// caller appends to buf.
func (o *outbox) begin(kind frameKind, stream uint64) (at int) {
	o.mu.Lock()
	o.tail = nil
	at = len(o.buf)
	o.buf = append(o.buf, 0, 0, 0, 0, byte(kind))
	o.buf = binary.AppendUvarint(o.buf, stream)
	return at
}

func (o *outbox) end(at int) {
	binary.LittleEndian.PutUint32(o.buf[at:], uint32(len(o.buf)-at-4))
	o.unlock()
}

func (o *outbox) unlock() {
	if o.closed {
		o.buf = o.buf[:0]
		o.tail = nil
	}
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// put appends a frame whose body is made of numbers.
func (o *outbox) put(kind frameKind, stream uint64, numbers ...uint64) {
	at := o.begin(kind, stream)
	for _, n := range numbers {
		o.buf = binary.AppendUvarint(o.buf, n)
	}
	o.end(at)
}

// answer tells what became of a publish; those of a guest in a row take one frame.
func (o *outbox) answer(g *guest, number uint64, code errorCode) {
	o.mu.Lock()
	if o.tail == g && o.tailCode == code && o.tailNext == number {
		n := len(o.buf) - 4
		binary.LittleEndian.PutUint32(o.buf[n:], binary.LittleEndian.Uint32(o.buf[n:])+1)
		o.tailNext++
		o.mu.Unlock()
		return // whoever has begun the frame has woken the writer
	}
	o.mu.Unlock()
	at := o.begin(frameAnswered, g.id)
	o.buf = append(o.buf, byte(code))
	o.buf = binary.AppendUvarint(o.buf, number)
	o.buf = binary.LittleEndian.AppendUint32(o.buf, 1)
	o.tail, o.tailCode, o.tailNext = g, code, number+1
	o.end(at)
}

// outboxLimit is the size beyond which nothing more is delivered into an outbox.
const outboxLimit = 4 << 20

// roomy reports whether s may deliver; when not, s is resumed later.
func (o *outbox) roomy(s *guestSub) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.buf)+o.writing < outboxLimit || o.closed {
		return true
	}
	if !s.starved {
		s.starved = true
		o.starved = append(o.starved, s)
	}
	return false
}

// full reports whether there is so much that what may be lost is dropped.
func (o *outbox) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.buf)+o.writing >= outboxLimit
}

// feed returns the subscriptions to resume because there is room again.
func (o *outbox) feed() []*guestSub {
	if len(o.buf)+o.writing > outboxLimit/2 {
		return nil
	}
	fed := o.starved
	o.starved = nil
	for _, s := range fed {
		s.starved = false
	}
	return fed
}

// run writes until stop is closed or a write fails.
func (o *outbox) run(conn net.Conn, stop <-chan struct{}) error {
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	for {
		select {
		case <-o.wake:
		case <-ping.C:
			o.put(framePing, 0)
		case <-stop:
			return net.ErrClosed
		}
		if err := o.flush(conn); err != nil {
			return err
		}
	}
}

// flush writes until nothing is left.
func (o *outbox) flush(conn net.Conn) error {
	for {
		o.mu.Lock()
		batch := o.buf
		o.buf, o.spare, o.tail = o.spare[:0], nil, nil
		o.writing = len(batch)
		o.mu.Unlock()
		if len(batch) == 0 {
			return nil
		}
		for rest := batch; len(rest) > 0; {
			n := min(len(rest), writeChunk)
			if err := conn.SetWriteDeadline(time.Now().Add(peerTimeout)); err != nil {
				return err
			}
			if _, err := conn.Write(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		o.mu.Lock()
		o.writing = 0
		if cap(batch) <= max(keepOutbox, 4*len(batch)) {
			o.spare = batch[:0]
		}
		fed := o.feed()
		o.mu.Unlock()
		for _, s := range fed {
			s.sub.Resume()
		}
	}
}

const (
	writeChunk = 256 << 10
	keepOutbox = 256 << 10 // the largest buffer that is kept for the next frames although the last ones needed much less
)

// close drops what is there and what comes.
func (o *outbox) close() {
	o.mu.Lock()
	o.closed = true
	o.buf, o.spare, o.tail = nil, nil, nil
	fed := o.starved
	o.starved = nil
	o.mu.Unlock()
	for _, s := range fed {
		s.sub.Resume() // it is about to be closed
	}
}

// patient is a connection whose reads end when nothing is heard for too long.
type patient struct{ net.Conn }

func (c patient) Read(b []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(peerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(b)
}

var _ io.Reader = patient{}
