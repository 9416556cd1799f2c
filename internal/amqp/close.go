package amqp

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"waybill/internal/amqp/spec"
)

// How long the end of a connection may take.
const (
	closeTimeout   = 5 * time.Second  // for the client's close-ok
	sessionTimeout = 30 * time.Second // for the deletion of exclusive queues
	lingerTimeout  = time.Second      // for the client to read our last bytes
)

// stopWith ends the connection from the server's side. It may be called from
// any goroutine.
func (c *conn) stopWith(code uint16, text string) {
	if c.stop.CompareAndSwap(nil, &exception{code: code, text: text}) {
		c.stopOnce.Do(func() { close(c.stopping) })
		c.intake.share.Close() // wakes the reader that waits for room
		// Wakes the reader that reads. An error means that it is awake.
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// finish ends the connection for the reason why, after which the reader stops.
func (c *conn) finish(why error) {
	var x *exception
	switch stop := c.stop.Load(); {
	case errors.Is(why, errClosed):
	case stop != nil:
		x = stop
		c.flushSettled()
		c.pending.wait(c.ctx) // so that its confirms are sent
	default:
		x = c.explain(why)
	}
	c.release()
	switch {
	case errors.Is(why, errClosed):
		c.send(&spec.ConnectionCloseOK{})
	case x != nil:
		c.send(&spec.ConnectionClose{
			ReplyCode: x.code, ReplyText: x.replyText(), ClassID: x.method.Class(), MethodID: x.method.Method(),
		})
		c.awaitCloseOK()
	}
}

// explain logs why the connection ends and returns what the client is to be
// told; nil when it is gone or must not be told.
func (c *conn) explain(why error) *exception {
	var broken *readError
	switch {
	case errors.Is(why, errSilent):
		return nil // logged where it happened
	case errors.Is(why, io.EOF), errors.Is(why, net.ErrClosed):
		c.log.Info("AMQP client closed its socket without connection.close", "user", c.user)
		return nil
	case errors.As(why, &broken):
		text := why.Error()
		var timeout net.Error
		if errors.As(why, &timeout) && timeout.Timeout() {
			text = "nothing was heard from the client in time"
		}
		c.log.Warn("AMQP connection broken", "user", c.user, "error", text)
		return nil
	}
	x := asException(why)
	c.log.Warn("closing AMQP connection", "user", c.user, "method", x.method.String(), "reason", x.Error())
	return x
}

// release gives back everything that the connection holds in the broker.
func (c *conn) release() {
	if c.unwatch != nil {
		c.unwatch()
	}
	for _, ch := range c.channels {
		ch.close()
		c.forget(ch)
	}
	if c.session != nil {
		ctx, cancel := context.WithTimeout(c.server.ctx, sessionTimeout)
		defer cancel()
		c.session.Close(ctx)
	}
}

// awaitCloseOK reads until the client has confirmed connection.close, for closeTimeout
// at the most. What cannot be understood ends the waiting.
func (c *conn) awaitCloseOK() {
	c.opened.Store(false) // Read sets no deadlines any more
	c.stop.Store(nil)
	if err := c.nc.SetReadDeadline(time.Now().Add(closeTimeout)); err != nil {
		return
	}
	for {
		h, err := c.frames.next()
		if err != nil {
			return
		}
		if h.kind != spec.FrameMethod || h.channel != 0 {
			if c.frames.skip(h) != nil {
				return
			}
			continue
		}
		payload, err := c.frames.payload(h)
		if err != nil {
			return
		}
		switch id, _, _ := spec.SplitID(payload); id {
		case spec.ConnectionCloseOKID:
			return
		case spec.ConnectionCloseID:
			c.send(&spec.ConnectionCloseOK{})
			return
		}
	}
}

// lingerClose closes the socket so that the peer can read what was written
// last: data that arrives at a closed socket would have the system discard it.
func lingerClose(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	half, ok := nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if nc.SetReadDeadline(time.Now().Add(lingerTimeout)) == nil {
		_, _ = io.CopyN(io.Discard, nc, 1<<20)
	}
}
