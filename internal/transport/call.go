package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"sync"
	"time"
)

// Frames of a connection for calls. Both ways: kind 1, id of the call 8. Then
//
//	request  milliseconds that the caller waits 4, length of the service's name 1, name, request
//	cancel   nothing: the caller waits no longer
//	answer   the answer
//	failure  its text
const (
	callRequest byte = iota + 1
	callCancel
	callAnswer
	callFailure
)

const (
	callHeader = 1 + 8
	// sendTimeout is how long a request, or an answer, may take to leave.
	sendTimeout = 10 * time.Second
	// patience is how long a call without a deadline is served.
	patience = time.Minute
	// lag is how much later than its caller a server gives up by itself: the caller
	// shall see its own context end, and not hear of the server's.
	lag = 100 * time.Millisecond
)

// Call sends a request to a service of a peer and waits for the answer. What the
// other node answers as an error is a *RemoteError; else ErrUnreachable says that it
// got nothing, and ErrLost, or the context's error, that it may have.
func (t *Transport) Call(ctx context.Context, node uint64, service string, request []byte) ([]byte, error) {
	p := t.peer(node)
	if p == nil {
		return nil, fmt.Errorf("node %d: %w: it is no member that this node knows of", node, ErrUnreachable)
	}
	p.metrics.calls.Inc()
	if err := p.reachable(); err != nil {
		return nil, err
	}
	c, err := p.caller.get(ctx)
	if err != nil {
		return nil, err
	}
	return c.call(ctx, service, request)
}

// CallAddr calls whoever is at an address, on a connection for this call
// alone, and tells who that is; before a node is in a cluster this is all it can.
func (t *Transport) CallAddr(ctx context.Context, addr, service string, request []byte) (Identity, []byte, error) {
	c, err := t.connect(ctx, addr, 0, kindCalls, "")
	if err != nil {
		return Identity{}, nil, err
	}
	calls := newCallConn(c)
	if !t.spawn(calls.listen) {
		return c.peer, nil, calls.end(ErrClosed)
	}
	answer, err := calls.call(ctx, service, request)
	_ = calls.end(net.ErrClosed) // nobody waits any more
	return c.peer, answer, err
}

// caller keeps the connection for this node's calls to a peer.
type caller struct {
	p       *peer
	dialing chan struct{} // holds one token; who has it may dial

	mu   sync.Mutex // guards conn
	conn *callConn
}

func (c *caller) init(p *peer) { c.p, c.dialing = p, make(chan struct{}, 1) }

// alive returns the connection, unless it has ended.
func (c *caller) alive() *callConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil && c.conn.ended() {
		c.conn = nil
	}
	return c.conn
}

func (c *caller) get(ctx context.Context) (*callConn, error) {
	if conn := c.alive(); conn != nil {
		return conn, nil
	}
	select {
	case c.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, unreachable(c.p.node, c.p.address(), ctx.Err())
	}
	defer func() { <-c.dialing }()
	if conn := c.alive(); conn != nil {
		return conn, nil
	}
	raw, err := c.p.t.connect(ctx, c.p.address(), c.p.node, kindCalls, "")
	if err != nil {
		return nil, err
	}
	conn := newCallConn(raw)
	c.mu.Lock()
	c.conn = conn
	c.mu.Unlock()
	if !c.p.t.spawn(conn.listen) {
		return nil, conn.end(ErrClosed)
	}
	return conn, nil
}

// callConn is a connection with calls under way.
type callConn struct {
	conn    *conn
	writing sync.Mutex // held while a frame is written

	mu      sync.Mutex // guards the rest
	last    uint64     // id of the last call
	waiting map[uint64]chan callResult
	err     error // why it has ended
}

type callResult struct {
	answer []byte
	err    error
}

func newCallConn(c *conn) *callConn {
	return &callConn{conn: c, waiting: map[uint64]chan callResult{}}
}

func (c *callConn) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err != nil
}

func (c *callConn) call(ctx context.Context, service string, request []byte) ([]byte, error) {
	if len(request) > maxFrame/2 || len(service) > math.MaxUint8 {
		return nil, fmt.Errorf("a request of %d bytes to %.100q is too large", len(request), service)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id, done, err := c.begin()
	if err != nil {
		return nil, err
	}
	limit := patience
	if at, ok := ctx.Deadline(); ok {
		limit = max(time.Until(at), time.Millisecond)
	}
	head := binary.BigEndian.AppendUint32(nil, uint32(min((limit+lag).Milliseconds(), math.MaxUint32)))
	head = append(head, byte(len(service)))
	head = append(head, service...)
	if err := c.send(callRequest, id, head, request); err != nil {
		return nil, c.end(err)
	}
	select {
	case r := <-done:
		if at, ok := ctx.Deadline(); ok && r.err != nil && !time.Now().Before(at) {
			<-ctx.Done() // its timer is late, and the server's was not
			return nil, ctx.Err()
		}
		return r.answer, r.err
	case <-ctx.Done():
		c.mu.Lock()
		delete(c.waiting, id)
		c.mu.Unlock()
		if err := c.send(callCancel, id); err != nil {
			_ = c.end(err) // the context's error is the one to tell
		}
		return nil, ctx.Err()
	}
}

func (c *callConn) begin() (uint64, chan callResult, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, nil, fmt.Errorf("node %d: %w: %w", c.conn.peer.Node, ErrUnreachable, c.err)
	}
	c.last++
	done := make(chan callResult, 1)
	c.waiting[c.last] = done
	return c.last, done, nil
}

// send writes one frame.
func (c *callConn) send(kind byte, id uint64, parts ...[]byte) error {
	n := callHeader
	for _, p := range parts {
		n += len(p)
	}
	head := binary.BigEndian.AppendUint32(make([]byte, 0, 64), uint32(n))
	head = append(head, kind)
	head = binary.BigEndian.AppendUint64(head, id)
	bufs := net.Buffers{head}
	for _, p := range parts {
		if len(p) > copyLimit || len(bufs) > 1 {
			bufs = append(bufs, p)
		} else {
			bufs[0] = append(bufs[0], p...)
		}
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return err
	}
	_, err := bufs.WriteTo(c.conn.Conn)
	return err
}

// end gives up the connection and all calls that wait on it.
func (c *callConn) end(err error) error {
	c.conn.cut()
	_ = c.conn.Close() // it is cut already
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	lost := fmt.Errorf("node %d: %w: %w", c.conn.peer.Node, ErrLost, c.err)
	for id, done := range c.waiting {
		done <- callResult{err: lost}
		delete(c.waiting, id)
	}
	return lost
}

// listen hands out answers until the connection ends.
func (c *callConn) listen() {
	r := bufio.NewReaderSize(c.conn.Conn, 16<<10)
	for {
		kind, id, body, err := readCall(r)
		if err == nil && kind != callAnswer && kind != callFailure {
			err = fmt.Errorf("an answer of unknown kind %d", kind)
		}
		if err != nil {
			_ = c.end(err) // those who wait are told
			return
		}
		c.mu.Lock()
		done := c.waiting[id]
		delete(c.waiting, id)
		c.mu.Unlock()
		switch {
		case done == nil: // its caller waits no longer
		case kind == callFailure:
			done <- callResult{err: &RemoteError{Node: c.conn.peer.Node, Text: string(body)}}
		default:
			done <- callResult{answer: body}
		}
	}
}

func readCall(r *bufio.Reader) (kind byte, id uint64, body []byte, err error) {
	frame, err := readFrame(r)
	if err != nil {
		return 0, 0, nil, err
	}
	if len(frame) < callHeader {
		return 0, 0, nil, errors.New("a frame that is too short for a call")
	}
	return frame[0], binary.BigEndian.Uint64(frame[1:]), frame[callHeader:], nil
}
