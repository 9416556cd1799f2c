package sim

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"time"
)

// wire is a process's broker.Cluster: calls and connections, as package transport has
// them. What is sent arrives, in order and once, or the connection is lost, as with TCP;
// a bad network only delays it, and a cut one holds it until it is whole again or the
// peer is taken to be down (World.heartbeats).
type wire struct{ p *process }

// errReset is what an end of a connection sees when the other one is gone.
var errReset = errors.New("sim: connection reset")

// resend is how long TCP waits before it tries again.
const resend = 200 * time.Millisecond

// asked is a call on its way.
type asked struct {
	from, to *node
	life     int // of to, when it got there
	once     sync.Once
	done     chan reply
}

type reply struct {
	data []byte
	err  error
}

func (c *asked) answer(data []byte, err error) { c.once.Do(func() { c.done <- reply{data, err} }) }

// Call implements broker.Cluster.
func (x wire) Call(ctx context.Context, to uint64, service string, request []byte) ([]byte, error) {
	n, w := x.p.n, x.p.n.w
	if to == 0 || to > uint64(len(w.nodes)) {
		return nil, errUnreachable
	}
	c := &asked{from: n, to: w.nodes[to-1], done: make(chan reply, 1)}
	w.post(func() { x.p.ask(ctx, c, service, request) })
	select {
	case r := <-c.done:
		return r.data, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-x.p.ctx.Done():
		return nil, errUnreachable
	}
}

func (p *process) ask(ctx context.Context, c *asked, service string, request []byte) {
	n, w := p.n, p.n.w
	switch {
	case n.proc != p:
		c.answer(nil, errUnreachable)
		return
	case !n.sees[c.to.id]:
		c.answer(nil, errUnreachable)
		return
	}
	n.calls = append(n.calls, c)
	w.travel(c.from, c.to, func() bool { return ctx.Err() != nil || n.proc != p }, func() {
		to := c.to.proc
		if to == nil || to.broker == nil {
			w.travel(c.to, c.from, func() bool { return n.proc != p }, func() { c.over(nil, errUnreachable) })
			return
		}
		c.life = c.to.life
		go func() {
			data, err := to.serve(ctx, uint64(n.id), service, request)
			w.post(func() {
				w.travel(c.to, c.from, func() bool { return n.proc != p || c.to.life != c.life }, func() { c.over(data, err) })
			})
		}()
	})
}

// serve answers a call, for as long as its caller waits and a little longer.
func (p *process) serve(caller context.Context, from uint64, service string, request []byte) ([]byte, error) {
	ctx := p.ctx
	limit := time.Minute
	if at, ok := caller.Deadline(); ok {
		limit = max(time.Until(at), time.Millisecond) + 100*time.Millisecond
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return p.broker.ServeCall(ctx, from, service, slices.Clone(request))
}

func (c *asked) over(data []byte, err error) {
	c.answer(data, err)
	c.from.calls = slices.DeleteFunc(c.from.calls, func(o *asked) bool { return o == c })
}

// travel has arrive called when what is sent from a gets to b, if that is before lost
// holds. It is never called when it is lost.
func (w *World) travel(a, b *node, lost func() bool, arrive func()) {
	delay := 50*time.Microsecond + w.upTo(time.Millisecond)
	if w.rng.IntN(100) < w.net.bad {
		delay += w.upTo(400 * time.Millisecond)
	}
	w.after(delay, func() {
		switch {
		case lost():
		case w.net.cut[[2]int{a.id, b.id}] || a.paused || b.paused:
			w.after(resend, func() { w.travel(a, b, lost, arrive) })
		default:
			arrive()
		}
	})
}

// Dial implements broker.Cluster.
func (x wire) Dial(ctx context.Context, to uint64, service string) (net.Conn, error) {
	n, w := x.p.n, x.p.n.w
	if to == 0 || to > uint64(len(w.nodes)) {
		return nil, errUnreachable
	}
	type dialed struct {
		e   *end
		err error
	}
	done := make(chan dialed, 1)
	other := w.nodes[to-1]
	w.post(func() {
		gone := func() bool { return ctx.Err() != nil || n.proc != x.p }
		w.travel(n, other, gone, func() {
			server := other.proc
			w.travel(other, n, gone, func() {
				switch {
				case server == nil || server.broker == nil || other.proc != server || !n.sees[other.id]:
					done <- dialed{err: errUnreachable}
				default:
					here, there := w.connect(n, other)
					go server.broker.ServeStream(uint64(n.id), service, there)
					done <- dialed{e: here}
				}
			})
		})
	})
	select {
	case d := <-done:
		if d.err != nil {
			return nil, d.err
		}
		return d.e, nil
	case <-ctx.Done():
		go func() { // it may come up all the same
			select {
			case d := <-done:
				if d.e != nil {
					_ = d.e.Close()
				}
			case <-x.p.ctx.Done():
			}
		}()
		return nil, ctx.Err()
	case <-x.p.ctx.Done():
		return nil, errUnreachable
	}
}

// hangUp ends what node n has with one that it takes to be down.
func (n *node) hangUp(peer *node) {
	for _, e := range slices.Clone(n.ends) {
		if e.far == peer {
			e.fail(errReset)
			e.finish()
		}
	}
	for _, c := range slices.Clone(n.calls) {
		if c.to == peer {
			c.over(nil, errUnreachable)
		}
	}
}

// end is one end of a connection.
type end struct {
	w        *World
	own, far *node
	proc     *process // of own
	peer     *end

	// Of the World's goroutine.
	line   [][]byte // sent, and not arrived; nil: the end of it
	moving bool

	mu        sync.Mutex // guards the rest
	in        []byte
	err       error // of reads when in is empty
	closed    bool
	flying    int // bytes that were sent and have not arrived
	readable  chan struct{}
	room      chan struct{}
	readUntil time.Time
	writeTo   time.Time
}

// socketBuffer is how much is sent before a write waits.
const socketBuffer = 256 << 10

func (w *World) connect(a, b *node) (*end, *end) {
	x := &end{w: w, own: a, far: b, proc: a.proc, readable: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	y := &end{w: w, own: b, far: a, proc: b.proc, readable: make(chan struct{}, 1), room: make(chan struct{}, 1), peer: x}
	x.peer = y
	a.ends, b.ends = append(a.ends, x), append(b.ends, y)
	return x, y
}

func wakeUp(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// await waits for c, or for a deadline.
func await(c chan struct{}, until time.Time) error {
	if until.IsZero() {
		<-c
		return nil
	}
	timer := time.NewTimer(time.Until(until))
	defer timer.Stop()
	select {
	case <-c:
		return nil
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

// Read implements net.Conn.
func (e *end) Read(b []byte) (int, error) {
	for {
		e.mu.Lock()
		n := copy(b, e.in)
		e.in = e.in[n:]
		err, until := e.err, e.readUntil
		e.mu.Unlock()
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
		if err := await(e.readable, until); err != nil {
			return 0, err
		}
	}
}

// Write implements net.Conn.
func (e *end) Write(b []byte) (int, error) {
	for {
		e.mu.Lock()
		closed, full, until := e.closed, e.flying > 0 && e.flying+len(b) > socketBuffer, e.writeTo
		if !closed && !full {
			e.flying += len(b)
		}
		e.mu.Unlock()
		switch {
		case closed:
			return 0, net.ErrClosed
		case !full:
			chunk := slices.Clone(b)
			e.w.post(func() { e.send(chunk) })
			return len(b), nil
		}
		if err := await(e.room, until); err != nil {
			return 0, err
		}
	}
}

// fail ends the connection on this side.
func (e *end) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	if e.err == nil {
		e.err = err
	}
	wakeUp(e.readable)
	wakeUp(e.room)
}

// Close implements net.Conn.
func (e *end) Close() error {
	e.mu.Lock()
	again := e.closed
	e.mu.Unlock()
	e.fail(net.ErrClosed)
	if !again {
		e.w.post(e.finish)
	}
	return nil
}

// finish tells the other end.
func (e *end) finish() {
	e.own.ends = slices.DeleteFunc(e.own.ends, func(o *end) bool { return o == e })
	e.send(nil)
}

func (e *end) send(chunk []byte) {
	e.line = append(e.line, chunk)
	if !e.moving {
		e.moving = true
		e.move()
	}
}

// move brings the first chunk of the line to the other end.
func (e *end) move() {
	w := e.w
	nobody := func() bool { return e.own.proc != e.proc && e.far.proc != e.peer.proc }
	w.travel(e.own, e.far, nobody, func() {
		switch {
		case e.own.proc != e.proc: // its host does not know the connection any more
			e.peer.reset()
		case e.far.proc != e.peer.proc:
			w.travel(e.far, e.own, nobody, e.reset)
		default:
			e.arrived()
		}
	})
}

// reset: the other end is not there.
func (e *end) reset() {
	e.fail(errReset)
	e.own.ends = slices.DeleteFunc(e.own.ends, func(o *end) bool { return o == e })
}

// arrived hands the first chunk of the line over.
func (e *end) arrived() {
	chunk := e.line[0]
	e.line = e.line[1:]
	if chunk == nil {
		e.peer.fail(io.EOF)
		e.peer.own.ends = slices.DeleteFunc(e.peer.own.ends, func(o *end) bool { return o == e.peer })
		return
	}
	e.peer.mu.Lock()
	e.peer.in = append(e.peer.in, chunk...)
	e.peer.mu.Unlock()
	wakeUp(e.peer.readable)
	e.mu.Lock()
	e.flying -= len(chunk)
	e.mu.Unlock()
	wakeUp(e.room)
	if e.moving = len(e.line) > 0; e.moving {
		e.move()
	}
}

// SetDeadline implements net.Conn, as do the next ones.
func (e *end) SetDeadline(t time.Time) error {
	_ = e.SetReadDeadline(t)
	return e.SetWriteDeadline(t)
}

// SetReadDeadline is for reads that begin afterwards.
func (e *end) SetReadDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.readUntil = t
	return nil
}

// SetWriteDeadline is for writes that begin afterwards.
func (e *end) SetWriteDeadline(t time.Time) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.writeTo = t
	return nil
}

type place struct{ n *node }

func (place) Network() string  { return "sim" }
func (a place) String() string { return a.n.String() }

// LocalAddr implements net.Conn.
func (e *end) LocalAddr() net.Addr { return place{e.own} }

// RemoteAddr implements net.Conn.
func (e *end) RemoteAddr() net.Addr { return place{e.far} }
