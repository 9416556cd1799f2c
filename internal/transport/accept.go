package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"
)

// maxHandshakes bounds the connections that have not said who they are.
const maxHandshakes = 128

// Serve accepts connections until Close; it returns at once.
func (t *Transport) Serve() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.closed {
		t.running.Go(t.accept)
	}
}

func (t *Transport) accept() {
	slots := make(chan struct{}, maxHandshakes)
	for {
		raw, err := t.listener.Accept()
		switch {
		case err == nil:
		case errors.Is(err, net.ErrClosed) || t.ctx.Err() != nil:
			return
		default:
			// Out of descriptors, most likely: others may go in the meantime.
			t.log.Warn("transport: cannot accept a connection", "err", err)
			pause(t.ctx, 100*time.Millisecond)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			_ = raw.Close() // too many that say nothing
			continue
		}
		t.running.Go(func() {
			c, h, err := t.welcome(raw)
			<-slots
			if err != nil {
				t.refused(raw, err)
				_ = raw.Close() // it was refused
				return
			}
			defer c.Close() //nolint:errcheck // it has ended, whatever closing says
			t.serve(c, h)
		})
	}
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// refused logs a refusal, one a second at most.
func (t *Transport) refused(raw net.Conn, err error) {
	t.metrics.refused.Inc()
	if errors.Is(err, errNotYet) {
		t.log.Debug("transport: a connection is refused", "from", raw.RemoteAddr(), "err", err)
		return
	}
	now := time.Now()
	t.mu.Lock()
	often := now.Sub(t.refusal) < time.Second
	if !often {
		t.refusal = now
	}
	t.mu.Unlock()
	if !often && t.ctx.Err() == nil {
		t.log.Warn("transport: a connection is refused", "from", raw.RemoteAddr(), "err", err)
	}
}

// welcome makes a connection of an accepted one.
func (t *Transport) welcome(raw net.Conn) (*conn, *hello, error) {
	ctx, cancel := context.WithTimeout(t.ctx, helloTimeout)
	defer cancel()
	uncut := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer uncut()
	secure, err := t.secure(ctx, raw, tls.Server)
	if err != nil {
		return nil, nil, err
	}
	h, err := readHello(secure)
	if err != nil {
		return nil, nil, err
	}
	own := t.cfg.Identity()
	answer := hello{version: version, oldest: oldestVersion, kind: accepted, who: own, to: h.who.Node}
	c := &conn{Conn: secure, raw: raw, t: t, peer: h.who, done: make(chan struct{})}
	why := t.examine(c, h, own)
	if why != nil {
		answer.kind, answer.service = refused, why.Error()
	} else if answer.version, why = h.common(); why != nil {
		answer.kind, answer.service = refused, why.Error()
	}
	if why == nil {
		if why = t.register(c); why != nil {
			answer.kind, answer.service = refused, why.Error()
		}
	}
	_, err = secure.Write(answer.encode())
	if why == nil && err == nil {
		return c, h, nil
	}
	_ = c.Close() // off the list, where it got there
	if why != nil {
		err = why
	}
	return nil, nil, err
}

// examine decides about a hello.
func (t *Transport) examine(c *conn, h *hello, own Identity) error {
	if h.to != 0 && h.to != own.Node {
		return fmt.Errorf("this is node %d, not node %d", own.Node, h.to)
	}
	if err := t.judge(c, own); err != nil {
		return err
	}
	if c.stranger && h.kind != kindCalls {
		return fmt.Errorf("%w: node %d or node %d is in no cluster", errNotYet, own.Node, h.who.Node)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch h.kind {
	case kindMessages:
		if t.onMessage == nil {
			return fmt.Errorf("%w: node %d is starting", errNotYet, own.Node)
		}
		return nil
	case kindCalls:
		return nil
	case kindStream:
		if t.streams[h.service] == nil {
			return fmt.Errorf("%w: node %d does not serve %q", errNotYet, own.Node, h.service)
		}
		return nil
	default:
		return fmt.Errorf("a connection of unknown kind %d", h.kind)
	}
}

// serve serves a connection to its end.
func (t *Transport) serve(c *conn, h *hello) {
	switch h.kind {
	case kindMessages:
		t.receive(c)
	case kindCalls:
		t.answer(c)
	case kindStream:
		t.mu.Lock()
		serve := t.streams[h.service]
		t.mu.Unlock()
		serve(c.peer, c)
	}
}
