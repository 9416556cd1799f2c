package amqp

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// protocolHeader is what a connection begins with, and the answer to any other
// beginning.
var protocolHeader = []byte("AMQP\x00\x00\x09\x01")

// errSilent: the connection is closed without a word to the client.
var errSilent = errors.New("amqp: closed without a word")

// handshake brings the connection from the first byte to connection.open-ok.
func (c *conn) handshake() error {
	deadline := time.Now().Add(c.server.cfg.HandshakeTimeout)
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return &readError{err}
	}
	steps := []func() error{c.header, c.start, c.tune, c.open}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	c.opened.Store(true)
	return nil
}

func (c *conn) header() error {
	b, err := c.frames.peek(len(protocolHeader))
	if err != nil {
		return noEOF(err)
	}
	if !bytes.Equal(b, protocolHeader) {
		c.log.Warn("not an AMQP 0-9-1 client", "header", fmt.Sprintf("%q", b))
		c.out.append(func(b []byte) []byte { return append(b, protocolHeader...) })
		return errSilent
	}
	c.frames.from += len(protocolHeader)
	return nil
}

// await reads the next method, which has to be m.
func (c *conn) await(m spec.Method) error {
	for {
		h, err := c.frames.next()
		if err != nil {
			return noEOF(err)
		}
		if h.channel != 0 {
			return exceptionf(spec.ChannelError, "frame on channel %d before connection.open", h.channel)
		}
		if h.kind == spec.FrameHeartbeat {
			if err := c.frames.skip(h); err != nil {
				return err
			}
			continue
		}
		if h.kind != spec.FrameMethod {
			return exceptionf(spec.CommandInvalid, "content before connection.open")
		}
		payload, err := c.frames.payload(h)
		if err != nil {
			return err
		}
		id, args, err := spec.SplitID(payload)
		switch {
		case err != nil:
			return err
		case id == m.ID():
			return m.Decode(args)
		case id == spec.ConnectionCloseID:
			return errClosed
		}
		return &exception{code: spec.CommandInvalid, method: id, text: fmt.Sprintf("expected '%s', got '%s'", m.ID(), id)}
	}
}

func (c *conn) send(m spec.Method) {
	c.out.append(func(b []byte) []byte { return appendMethod(b, 0, m) })
}

// start tells what the server is, and logs the client in.
func (c *conn) start() error {
	c.send(&spec.ConnectionStart{
		VersionMajor: 0, VersionMinor: 9, ServerProperties: c.server.properties,
		Mechanisms: "PLAIN AMQPLAIN", Locales: "en_US",
	})
	var m spec.ConnectionStartOK
	if err := c.await(&m); err != nil {
		return err
	}
	c.client = m.ClientProperties
	c.can = readCapabilities(m.ClientProperties)
	user, password, err := credentials(m.Mechanism, m.Response)
	if err != nil {
		return err
	}
	if err := c.server.cfg.Auth.Login(m.Mechanism, user, password, c.nc.RemoteAddr()); err != nil {
		c.metrics.refused.Inc()
		c.log.Warn("AMQP login refused", "user", user, "mechanism", m.Mechanism, "reason", err)
		if !c.can.authFailureClose {
			return errSilent
		}
		return &exception{code: spec.AccessRefused, method: m.ID(),
			text: fmt.Sprintf("Login was refused using authentication mechanism %s: %v", m.Mechanism, err)}
	}
	c.user, c.mechanism = user, m.Mechanism
	return nil
}

func readCapabilities(client record.Table) capabilities {
	t, _ := client["capabilities"].(record.Table)
	has := func(name string) bool { on, _ := t[name].(bool); return on }
	return capabilities{
		authFailureClose: has("authentication_failure_close"),
		cancelNotify:     has("consumer_cancel_notify"),
		blocked:          has("connection.blocked"),
	}
}

// credentials takes user and password out of a start-ok's response.
func credentials(mechanism, response string) (user, password string, err error) {
	switch mechanism {
	case "PLAIN": // RFC 4616: authorization id, NUL, user, NUL, password
		parts := bytes.SplitN([]byte(response), []byte{0}, 3)
		if len(parts) != 3 || len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
			return "", "", exceptionf(spec.SyntaxError, "malformed PLAIN response")
		}
		return string(parts[1]), string(parts[2]), nil
	case "AMQPLAIN": // a field table without its length
		b := append([]byte{byte(len(response) >> 24), byte(len(response) >> 16), byte(len(response) >> 8), byte(len(response))}, response...)
		t, _, err := record.ParseTable(b)
		user, ok1 := t.Text("LOGIN")
		password, ok2 := t.Text("PASSWORD")
		if err != nil || !ok1 || !ok2 {
			return "", "", exceptionf(spec.SyntaxError, "malformed AMQPLAIN response")
		}
		return user, password, nil
	}
	return "", "", exceptionf(spec.CommandInvalid, "unknown authentication mechanism '%s'; use PLAIN", cut(mechanism, 40))
}

// tune agrees on limits. Zero from the client means that it sets none; the
// server's own hold all the same, but the body frames of such a client may be
// as long as a message.
func (c *conn) tune() error {
	cfg := &c.server.cfg
	c.send(&spec.ConnectionTune{
		ChannelMax: uint16(cfg.MaxChannels), FrameMax: uint32(cfg.MaxFrame), Heartbeat: uint16(cfg.Heartbeat / time.Second),
	})
	var m spec.ConnectionTuneOK
	if err := c.await(&m); err != nil {
		return err
	}
	if err := negotiated(m.ID(), "frame_max", int(m.FrameMax), minFrameMax, cfg.MaxFrame); err != nil {
		return err
	}
	if err := negotiated(m.ID(), "channel_max", int(m.ChannelMax), 1, cfg.MaxChannels); err != nil {
		return err
	}
	c.channelMax = int(m.ChannelMax)
	if c.channelMax == 0 {
		c.channelMax = cfg.MaxChannels
	}
	c.frameMax = int(m.FrameMax)
	c.frames.maxBody = c.frameMax
	if c.frameMax == 0 {
		c.frameMax = cfg.MaxFrame
		c.frames.maxBody = cfg.MaxMessage + frameOverhead
	}
	c.frames.max = c.frameMax
	if every := time.Duration(m.Heartbeat) * time.Second; every > 0 {
		c.idle = 2 * every
		c.heartbeat <- every / 2
	}
	return nil
}

func negotiated(id spec.ID, what string, value, least, most int) error {
	switch {
	case value != 0 && value < least:
		return &exception{code: spec.NotAllowed, method: id,
			text: fmt.Sprintf("negotiated %s = %d is lower than the minimum allowed value (%d)", what, value, least)}
	case value > most:
		return &exception{code: spec.NotAllowed, method: id,
			text: fmt.Sprintf("negotiated %s = %d is higher than the maximum allowed value (%d)", what, value, most)}
	}
	return nil
}

// open takes a seat in the virtual host.
func (c *conn) open() error {
	var m spec.ConnectionOpen
	if err := c.await(&m); err != nil {
		return err
	}
	if err := c.server.admit(c); err != nil {
		return &exception{code: spec.NotAllowed, method: m.ID(), text: err.Error()}
	}
	session, err := c.server.cfg.Broker.OpenSession(m.VirtualHost)
	if err != nil {
		x := asException(err)
		var b *broker.Error
		if errors.As(err, &b) && b.Kind == broker.NotFound {
			x = &exception{code: spec.NotAllowed, text: b.Text}
		}
		x.method = m.ID()
		return x
	}
	c.session, c.vhost = session, m.VirtualHost
	c.send(&spec.ConnectionOpenOK{})
	return nil
}
