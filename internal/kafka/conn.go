package kafka

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"waybill/internal/broker"
)

const (
	// maxPipeline is how many requests of a connection may wait for their
	// answers; then it is not read.
	maxPipeline = 256
	// maxWeight bounds what those requests may cost together, see request.weight.
	maxWeight    = 64 << 20
	firstRequest = 10 * time.Second
	stall        = 30 * time.Second
)

// conn is one client connection.
type conn struct {
	s      *Server
	nc     net.Conn
	log    *slog.Logger
	ctx    context.Context // ends when the connection closes or drains
	cancel context.CancelFunc

	share   *broker.Share // of the intake
	reading atomic.Bool   // the reader waits for the peer
	keeps   bool          // the log keeps the frame of the last Produce; the reader's alone

	mu       sync.Mutex // protects what follows
	cond     sync.Cond  // the head of the pipeline is answered, there is room, or an end
	pipeline []*request // not answered yet, in the order of arrival
	weight   int        // of the pipeline
	draining bool       // nothing more is read; the writer ends with the pipeline
	closed   bool       // both ends stop at once
}

func newConn(s *Server, nc net.Conn) *conn {
	c := &conn{s: s, nc: nc, log: s.log.With("peer", nc.RemoteAddr().String())}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.cond.L = &c.mu
	c.share = s.cfg.Intake.Share(c.expel)
	context.AfterFunc(c.ctx, c.share.Close)
	return c
}

// serve runs the connection until it ends, and waits for its goroutines.
func (c *conn) serve() {
	done := make(chan struct{})
	go func() {
		c.write()
		close(done)
	}()
	err := c.read()
	if err != nil && !c.isDraining() {
		c.logEnd(err)
		c.close()
	}
	<-done
	c.close()
}

// read takes requests off the socket and starts them.
func (c *conn) read() error {
	in := &socket{c: c}
	br := bufio.NewReaderSize(in, 64<<10)
	c.allow(c.s.cfg.firstRequest)
	last := 0
	for {
		held, free := 0, &c.s.frames
		if c.keeps {
			free = nil
		}
		frame, err := readFrame(br, c.s.cfg.MaxRequestBytes, last, free, func(n int) error {
			if !c.share.Grow(int64(n)) {
				return net.ErrClosed
			}
			held += n
			return nil
		})
		if err != nil {
			return err
		}
		in.greeted = true
		last = len(frame)
		if br.Buffered() == 0 {
			c.allow(c.s.cfg.IdleTimeout)
		}
		r, err := c.s.decode(c, frame)
		if err != nil {
			return err
		}
		r.held = held
		if r.key == keyProduce {
			r.frame = frame
		}
		if !c.push(r) {
			return nil
		}
		r.start()
		if r.key == keyProduce {
			// What was not refused is within the broker's own budget now.
			c.share.Shrink(int64(held))
		}
	}
}

// push adds a request to the pipeline once there is room; false: it ended.
func (c *conn) push(r *request) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.hasRoom(r) && !c.closed && !c.draining {
		c.cond.Wait()
	}
	if c.closed || c.draining {
		return false
	}
	c.pipeline = append(c.pipeline, r)
	c.weight += r.weight()
	return true
}

// hasRoom reports whether the pipeline may take one more request. Under mu.
func (c *conn) hasRoom(r *request) bool {
	n := len(c.pipeline)
	return n == 0 || n < maxPipeline && c.weight+r.weight() <= maxWeight
}

// answered tells the writer that r has its response.
func (c *conn) answered(r *request) {
	c.mu.Lock()
	r.done = true
	closed := c.closed
	if !closed && c.pipeline[0] == r {
		c.cond.Broadcast()
	}
	c.mu.Unlock()
	if closed { // the writer has gone
		r.finish()
	}
}

// next waits for answered requests at the head of the pipeline and moves them
// to rs. It returns none when the connection is to end.
func (c *conn) next(rs []*request) []*request {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.closed {
		n := 0
		for n < len(c.pipeline) && c.pipeline[n].done {
			n++
		}
		if n > 0 {
			rs = append(rs, c.pipeline[:n]...)
			for _, r := range rs {
				c.weight -= r.weight()
			}
			rest := copy(c.pipeline, c.pipeline[n:])
			clear(c.pipeline[rest:])
			c.pipeline = c.pipeline[:rest]
			c.cond.Broadcast() // there is room
			return rs
		}
		if c.draining && len(c.pipeline) == 0 {
			return nil
		}
		c.cond.Wait()
	}
	return nil
}

// write sends responses until the connection ends.
func (c *conn) write() {
	defer c.close()
	var rs []*request
	var out output
	for {
		rs = c.next(rs[:0])
		if len(rs) == 0 {
			return
		}
		for _, r := range rs {
			r.encode(&out)
		}
		n, err := out.writeTo(c.nc, c.s.cfg.stall)
		c.s.metrics.bytesOut.Add(float64(n))
		for _, r := range rs {
			r.finish()
		}
		clear(rs)
		if err != nil {
			c.logEnd(err)
			return
		}
	}
}

// drain makes the connection answer what it has received, and end.
func (c *conn) drain() {
	c.mu.Lock()
	c.draining = true
	_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // fails only when it is closed already
	c.cond.Broadcast()
	c.mu.Unlock()
	c.cancel()
}

// close ends the connection at once. It may be called many times.
func (c *conn) close() {
	c.mu.Lock()
	var answered []*request // before closed, so nobody else finishes them
	for _, r := range c.pipeline {
		if r.done {
			answered = append(answered, r)
		}
	}
	c.closed, c.pipeline = true, nil
	c.cond.Broadcast()
	c.mu.Unlock()
	c.cancel()
	_ = c.nc.Close() // what it could tell is told by the reader and the writer
	for _, r := range answered {
		r.finish()
	}
}

// expel ends the connection because it keeps others waiting for memory, unless
// it waits itself, for the broker.
func (c *conn) expel() {
	if c.reading.Load() {
		c.log.Warn("kafka: closing the connection: it does not finish its request, and the memory for those that are not complete is used up")
		c.close()
	}
}

func (c *conn) isDraining() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining
}

// logEnd says why a connection ends, unless the peer just hung up.
func (c *conn) logEnd(err error) {
	var bad *requestError
	switch {
	case errors.As(err, &bad):
		c.s.metrics.malformed.Inc()
		c.log.Warn("kafka: closing the connection: bad request", "err", err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.log.Info("kafka: closing the connection: the peer was silent for too long")
	case errors.Is(err, io.EOF), errors.Is(err, net.ErrClosed), isReset(err):
	default:
		c.log.Info("kafka: connection lost", "err", err)
	}
}

// socket reads from the connection. Each piece of a frame gives the peer some
// more time, save those of the first request.
type socket struct {
	c       *conn
	greeted bool // the first request is complete
}

func (r *socket) Read(p []byte) (int, error) {
	r.c.reading.Store(true)
	n, err := r.c.nc.Read(p)
	r.c.reading.Store(false)
	r.c.s.metrics.bytesIn.Add(float64(n))
	if n > 0 && r.greeted {
		r.c.allow(r.c.s.cfg.stall)
	}
	return n, err
}

// allow sets the time in which the next bytes have to arrive.
func (c *conn) allow(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.draining { // drain has moved the deadline to the past
		_ = c.nc.SetReadDeadline(time.Now().Add(d)) // fails only when closed: so will Read
	}
}
