package amqp

import (
	"net"
	"sync"
	"time"
)

// output is what waits to be written to one connection. Everyone appends whole
// frames; the connection's writer goroutine takes all that has gathered and
// writes it with few calls, so frames coalesce by themselves while a write is
// under way.
//
// Memory is bounded: consumers reserve room before they deliver, the reader
// goroutine waits for room before it handles the next frame, and confirms are
// not encoded before the writer is ready for them.
type output struct {
	conn    net.Conn
	limit   int           // bytes that may be queued or reserved
	timeout time.Duration // for one write of at most writeChunk bytes
	wake    chan struct{} // capacity 1: there is something to write
	roomy   chan struct{} // capacity 1: there is room again
	stopped chan struct{} // closed when the writer has returned

	mu       sync.Mutex // guards the rest; taken after channel.mu
	buf      []byte     // frames to write
	spare    []byte     // the buffer that the writer is done with
	peak     int        // what the writer took at once lately; decides which buffers are kept
	writing  int        // bytes in the writer's hands
	reserved int        // by deliveries on their way
	starved  []*consumer
	dirty    []*channel // have confirms to tell
	closed   bool       // write what is there and stop
	failed   bool       // the writer is gone: drop everything
}

// writeChunk is the size of one write. The time for it is bounded, so a peer
// that reads slowly but steadily is no failure.
const writeChunk = 128 << 10

// keepBuffer is the largest buffer that is kept for the next frames although
// the last ones needed much less: a burst does not cost memory for ever.
const keepBuffer = 128 << 10

// peakDecay is in how many batches a burst is forgotten. Deliveries and confirms take
// turns in the output, so a small batch says little about the next one; a buffer that
// is made anew for every large one is copied several times while it grows.
const peakDecay = 64

func newOutput(conn net.Conn, limit int, timeout time.Duration) *output {
	return &output{
		conn: conn, limit: limit, timeout: timeout,
		wake: make(chan struct{}, 1), roomy: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (o *output) used() int { return len(o.buf) + o.writing + o.reserved }

// append calls encode with the buffer, to which it appends whole frames.
func (o *output) append(encode func([]byte) []byte) {
	o.lock()
	o.buf = encode(o.buf)
	o.unlock()
}

// lock and unlock bracket an append to buf on the hot paths, where a closure
// would be an allocation.
func (o *output) lock() { o.mu.Lock() }

func (o *output) unlock() {
	if o.failed {
		o.buf = nil
	}
	o.mu.Unlock()
	signal(o.wake)
}

// reserve takes n bytes for a delivery of c. When there is no room it answers
// false, and c is resumed once there is. One message of any size may exceed
// the limit when less than half of it is used, so that large ones get their turn.
func (o *output) reserve(c *consumer, n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if used := o.used(); used > o.limit/2 && used+n > o.limit && !o.failed {
		if !c.starved {
			c.starved = true
			o.starved = append(o.starved, c)
		}
		return false
	}
	o.reserved += n
	return true
}

// room returns how many bytes a delivery of c may take now. When it is hardly
// any it answers 0, and c is resumed once there is more.
func (o *output) room(c *consumer) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := o.limit - o.used()
	if n >= o.limit/4 || o.failed {
		return max(n, 1)
	}
	if !c.starved {
		c.starved = true
		o.starved = append(o.starved, c)
	}
	return 0
}

// release gives back what reserve took.
func (o *output) release(n int) {
	o.mu.Lock()
	o.reserved -= n
	fed := o.feed()
	o.mu.Unlock()
	resume(fed)
}

// feed returns the consumers to resume because there is room again.
func (o *output) feed() []*consumer {
	if o.used() > o.limit/2 {
		return nil
	}
	signal(o.roomy)
	fed := o.starved
	o.starved = nil
	for _, c := range fed {
		c.starved = false
	}
	return fed
}

func resume(cs []*consumer) {
	for _, c := range cs {
		c.sub.Resume()
	}
}

// full reports whether the limit is reached: the reader is to wait.
func (o *output) full() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.used() > o.limit && !o.failed
}

// waitRoom returns when the output is not full, or the writer is gone.
func (o *output) waitRoom() {
	for o.full() {
		select {
		case <-o.roomy:
		case <-o.stopped:
			return
		}
	}
}

// markDirty has the writer tell the channel's confirms.
func (o *output) markDirty(ch *channel) {
	o.mu.Lock()
	o.dirty = append(o.dirty, ch)
	o.mu.Unlock()
	signal(o.wake)
}

// close has the writer stop after it has written everything, and waits for it.
func (o *output) close() {
	o.mu.Lock()
	o.closed = true
	o.mu.Unlock()
	signal(o.wake)
	<-o.stopped
}

// run is the writer goroutine. It returns nil after close, or the error of the write that
// failed.
func (o *output) run(heartbeats <-chan time.Duration) error {
	defer close(o.stopped)
	ticker := time.NewTicker(time.Hour)
	ticker.Stop()
	defer ticker.Stop()
	idle := false // nothing was written since the last tick
	for {
		n, done, err := o.flush()
		if err != nil || done {
			return err
		}
		idle = idle && n == 0
		select {
		case <-o.wake:
		case every := <-heartbeats:
			ticker.Reset(every)
		case <-ticker.C:
			if idle {
				o.trim()
				o.append(func(b []byte) []byte { return append(b, heartbeat...) })
			}
			idle = true
		}
	}
}

// flush writes until nothing is left, and returns how many bytes it wrote.
func (o *output) flush() (total int, done bool, err error) {
	for {
		o.tellConfirms()
		o.mu.Lock()
		batch := o.buf
		if len(batch) == 0 {
			done = o.closed && len(o.dirty) == 0
			o.mu.Unlock()
			return total, done, nil
		}
		o.buf, o.spare = o.spare[:0], nil
		o.writing = len(batch)
		o.mu.Unlock()
		if err := o.write(batch); err != nil {
			o.fail()
			return total, false, err
		}
		total += len(batch)
		o.mu.Lock()
		o.keep(batch)
		o.mu.Unlock()
	}
}

// keep keeps the buffer of a written batch for later ones, unless it is much
// larger than they are. Under mu.
func (o *output) keep(batch []byte) {
	o.peak = max(len(batch), o.peak-o.peak/peakDecay)
	if cap(batch) <= max(keepBuffer, 4*o.peak) {
		o.spare = batch[:0]
	}
}

// trim lets the buffers of an idle connection go.
func (o *output) trim() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.spare, o.peak = nil, 0
	if len(o.buf) == 0 {
		o.buf = nil
	}
}

func (o *output) write(batch []byte) error {
	for len(batch) > 0 {
		n := min(len(batch), writeChunk)
		if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
			return err
		}
		if _, err := o.conn.Write(batch[:n]); err != nil {
			return err
		}
		batch = batch[n:]
		o.mu.Lock()
		o.writing -= n
		fed := o.feed()
		o.mu.Unlock()
		resume(fed)
	}
	return nil
}

// tellConfirms encodes what the dirty channels have to tell.
func (o *output) tellConfirms() {
	o.mu.Lock()
	dirty := o.dirty
	o.dirty = nil
	o.mu.Unlock()
	for _, ch := range dirty {
		ch.mu.Lock()
		ch.tellConfirms()
		ch.mu.Unlock()
	}
}

// fail drops everything, now and in future: nobody waits for a peer that is gone.
func (o *output) fail() {
	o.mu.Lock()
	o.failed = true
	o.buf, o.spare, o.writing = nil, nil, 0
	fed := o.starved
	o.starved = nil
	o.mu.Unlock()
	resume(fed)
}
