package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

// Sizes of frames: a header of 7 bytes (type, uint16 channel, uint32 payload
// size; big endian), the payload, and the byte 0xCE.
const (
	frameHeader   = 7
	frameOverhead = frameHeader + 1
	frameMax      = 128 << 10 // what we ask for
)

// channel is the only channel of a connection.
const channel = 1

// dialTimeout bounds connecting and logging in.
const dialTimeout = 10 * time.Second

// amqpConn is a connection with one channel. Reading belongs to one goroutine and writing
// to one, which may be another.
type amqpConn struct {
	net.Conn
	frameMax int
	buf      []byte // what was read: buf[at:end] is not looked at yet
	at, end  int
	out      []byte // scratch of call
}

// parseURL completes an AMQP URL.
func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrLoad, err)
	}
	if u.Scheme != "amqp" || u.Hostname() == "" {
		return nil, fmt.Errorf("%w: %q is not a URL of the form amqp://user:password@host:port/vhost", ErrLoad, text)
	}
	if u.Port() == "" {
		u.Host += ":5672"
	}
	if u.User == nil {
		u.User = url.UserPassword("guest", "guest")
	}
	return u, nil
}

// dialAMQP connects, logs in, and opens the channel.
func dialAMQP(ctx context.Context, text string) (*amqpConn, error) {
	u, err := parseURL(text)
	if err != nil {
		return nil, err
	}
	d := net.Dialer{Timeout: dialTimeout}
	nc, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	c := &amqpConn{Conn: nc, buf: make([]byte, 2*frameMax), frameMax: frameMax}
	if err := c.open(u); err != nil {
		_ = nc.Close() // the error is the one before
		return nil, fmt.Errorf("%s: %w", u.Host, err)
	}
	return c, nil
}

// open goes through the handshake up to an open channel.
func (c *amqpConn) open(u *url.URL) error {
	if err := c.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return err
	}
	if _, err := c.await(spec.ConnectionStartID); err != nil {
		return err
	}
	password, _ := u.User.Password()
	login := &spec.ConnectionStartOK{
		ClientProperties: record.Table{"product": "waybill bench", "capabilities": record.Table{"basic.nack": true, "publisher_confirms": true}},
		Mechanism:        "PLAIN", Response: "\x00" + u.User.Username() + "\x00" + password, Locale: "en_US",
	}
	answer, err := c.send(0, login, spec.ConnectionTuneID)
	if err != nil {
		return fmt.Errorf("login as %s: %w", u.User.Username(), err)
	}
	var tune spec.ConnectionTune
	if err := tune.Decode(answer); err != nil {
		return err
	}
	if tune.FrameMax > 0 {
		c.frameMax = min(frameMax, int(tune.FrameMax))
	}
	// No heartbeats: the tool notices a dead broker by its rate.
	if _, err := c.send(0, &spec.ConnectionTuneOK{ChannelMax: tune.ChannelMax, FrameMax: uint32(c.frameMax)}, 0); err != nil {
		return err
	}
	vhost, err := url.PathUnescape(strings.TrimPrefix(u.EscapedPath(), "/"))
	if err != nil {
		return err
	}
	if vhost == "" {
		vhost = "/"
	}
	if _, err := c.send(0, &spec.ConnectionOpen{VirtualHost: vhost}, spec.ConnectionOpenOKID); err != nil {
		return err
	}
	if _, err := c.send(channel, &spec.ChannelOpen{}, spec.ChannelOpenOKID); err != nil {
		return err
	}
	return c.SetDeadline(time.Time{})
}

// call sends a method on the channel and returns the arguments of its answer,
// which are valid until the next read.
func (c *amqpConn) call(m spec.Method, answer spec.ID) ([]byte, error) {
	return c.send(channel, m, answer)
}

func (c *amqpConn) send(ch uint16, m spec.Method, answer spec.ID) ([]byte, error) {
	c.out = appendMethod(c.out[:0], ch, m)
	if _, err := c.Write(c.out); err != nil {
		return nil, err
	}
	if answer == 0 {
		return nil, nil
	}
	args, err := c.await(answer)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", m.ID(), err)
	}
	return args, nil
}

// await reads until a method comes, which must be the one.
func (c *amqpConn) await(want spec.ID) ([]byte, error) {
	for {
		f, ok, err := c.frame()
		if err != nil {
			return nil, err
		}
		if !ok {
			if err := c.fill(); err != nil {
				return nil, err
			}
			continue
		}
		if f.kind != spec.FrameMethod {
			continue
		}
		id, args, err := spec.SplitID(f.payload)
		if err != nil {
			return nil, err
		}
		if id != want {
			return nil, unexpected(id, args)
		}
		return args, nil
	}
}

// frame is a frame that lies in the buffer of its connection.
type frame struct {
	kind    byte
	payload []byte
}

var errFrame = errors.New("malformed frame")

// frame takes the next frame out of the buffer, if it is there whole. It is
// valid until the next fill.
func (c *amqpConn) frame() (f frame, ok bool, err error) {
	b := c.buf[c.at:c.end]
	if len(b) < frameHeader {
		return frame{}, false, nil
	}
	size := int64(binary.BigEndian.Uint32(b[3:]))
	if size+frameOverhead > int64(c.frameMax) {
		return frame{}, false, fmt.Errorf("%w of %d bytes", errFrame, size)
	}
	total := int(size) + frameOverhead
	if len(b) < total {
		return frame{}, false, nil
	}
	if b[total-1] != spec.FrameEnd {
		return frame{}, false, fmt.Errorf("%w: no frame end", errFrame)
	}
	c.at += total
	return frame{b[0], b[frameHeader : total-1]}, true, nil
}

// fill reads once, as much as is there.
func (c *amqpConn) fill() error {
	c.end = copy(c.buf, c.buf[c.at:c.end]) // less than a frame
	c.at = 0
	n, err := c.Read(c.buf[c.end:])
	c.end += n
	if n > 0 {
		return nil
	}
	return err
}

// lingering bounds the wait for a broker to read what was sent to the end.
const lingering = 2 * time.Second

// finish ends the sending, so that the broker reads everything that was sent before it
// sees the end. The reader then runs into the broker's own, and closes.
func (c *amqpConn) finish() {
	if tcp, ok := c.Conn.(*net.TCPConn); ok && tcp.CloseWrite() == nil {
		_ = c.SetReadDeadline(time.Now().Add(lingering)) // if it is closed, so much the better
		return
	}
	c.close()
}

// close closes the connection; that it ended is told by reads and writes.
func (c *amqpConn) close() { _ = c.Close() }

// unexpected makes an error of a method that should not have come.
func unexpected(id spec.ID, args []byte) error {
	switch id {
	case spec.ConnectionCloseID:
		var m spec.ConnectionClose
		if err := m.Decode(args); err != nil {
			return err
		}
		return fmt.Errorf("the broker closes the connection: %d %s", m.ReplyCode, m.ReplyText)
	case spec.ChannelCloseID:
		var m spec.ChannelClose
		if err := m.Decode(args); err != nil {
			return err
		}
		return fmt.Errorf("the broker closes the channel: %d %s", m.ReplyCode, m.ReplyText)
	}
	return fmt.Errorf("the broker sends %v", id)
}

// appendMethod appends a method's frame.
func appendMethod(b []byte, ch uint16, m spec.Method) []byte {
	at := len(b)
	b = appendFrameHeader(b, spec.FrameMethod, ch, 0)
	b = m.Append(b)
	binary.BigEndian.PutUint32(b[at+3:], uint32(len(b)-at-frameHeader))
	return append(b, spec.FrameEnd)
}

func appendFrameHeader(b []byte, kind byte, ch uint16, size int) []byte {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, ch)
	return binary.BigEndian.AppendUint32(b, uint32(size))
}
