package amqp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

var (
	// errStopped: the server ends the connection.
	errStopped = errors.New("amqp: connection stopped")
	// errClosed: the client closed the connection in good order.
	errClosed = errors.New("amqp: connection closed by the client")
)

// readError is an error of the socket, as opposed to a mistake in what was
// read.
type readError struct{ error }

func (e *readError) Unwrap() error { return e.error }

// conn is one client connection. Its reader goroutine runs serve and owns all
// that is not said to be guarded; the writer goroutine is output.run.
type conn struct {
	server  *Server
	id      uint64
	nc      net.Conn
	log     *slog.Logger
	metrics *metrics
	since   time.Time

	ctx    context.Context // done when nobody waits for answers any more
	cancel context.CancelFunc

	frames    frameReader
	intake    intake
	out       *output
	heartbeat chan time.Duration // to the writer, once

	// Set by the handshake, constant afterwards.
	user       string
	mechanism  string
	vhost      string
	client     record.Table // client-properties
	can        capabilities
	channelMax int
	frameMax   int // of frames that we send
	idle       time.Duration
	session    *broker.Session
	opened     atomic.Bool // the fields above are set

	channels  map[uint16]*channel
	nchannels atomic.Int32
	settling  []*consumer // have settlements in batch
	pending   *pending
	unwatch   func() // ends the listening to alarms; nil before the first publication
	gate      gate   // closed to publications while an alarm is on

	stop     atomic.Pointer[exception] // why the server ends the connection
	stopping chan struct{}             // closed when stop is set for the first time
	stopOnce sync.Once
}

// capabilities are what the client said it understands.
type capabilities struct {
	authFailureClose bool
	cancelNotify     bool
	blocked          bool
}

func newConn(s *Server, id uint64, nc net.Conn) *conn {
	c := &conn{
		server: s, id: id, nc: nc, metrics: s.metrics, since: time.Now(),
		log:       s.cfg.Logger.With("peer", nc.RemoteAddr().String()),
		out:       newOutput(nc, s.cfg.OutputLimit, s.cfg.WriteTimeout),
		heartbeat: make(chan time.Duration, 1),
		frameMax:  minFrameMax,
		channels:  map[uint16]*channel{},
		pending:   newPending(),
		stopping:  make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	c.intake.share = s.cfg.Intake.Share(c.expel)
	context.AfterFunc(c.ctx, c.intake.share.Close)
	c.frames = newFrameReader(c, s.blocks, minFrameMax)
	return c
}

// Read implements io.Reader for the frame reader: before it waits for the
// client it hands over what was settled, and it bounds the waiting.
func (c *conn) Read(p []byte) (int, error) {
	c.flushSettled()
	if c.opened.Load() {
		deadline := time.Time{}
		if c.idle > 0 {
			deadline = time.Now().Add(c.idle)
		}
		if err := c.nc.SetReadDeadline(deadline); err != nil {
			return 0, &readError{err}
		}
	}
	// Asked after the deadline was set: stopWith sets one in the past.
	if c.stop.Load() != nil {
		return 0, &readError{errStopped}
	}
	c.intake.reading.Store(true)
	n, err := c.nc.Read(p)
	c.intake.reading.Store(false)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

// serve runs the connection from the first byte to the last.
func (c *conn) serve() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		if err := c.out.run(c.heartbeat); err != nil {
			c.log.Info("AMQP client does not read, or is gone", "error", err)
			c.cancel()
			_ = c.nc.Close()
		}
	}()
	err := c.handshake()
	if err == nil {
		err = c.loop()
	}
	c.finish(err)
	c.frames.close()
	c.out.close()
	<-written
	c.cancel()
	lingerClose(c.nc)
}

// loop handles frames until the connection ends; the error says why.
func (c *conn) loop() error {
	for {
		if c.out.full() {
			c.flushSettled()
			c.out.waitRoom()
		}
		h, err := c.frames.next()
		if err != nil {
			return err
		}
		if err := c.frame(h); err != nil {
			return err
		}
	}
}

// frame handles one frame.
func (c *conn) frame(h frameHeader) error {
	if h.kind == spec.FrameHeartbeat {
		if h.channel != 0 || h.size != 0 {
			return exceptionf(spec.FrameError, "heartbeat with a payload or on channel %d", h.channel)
		}
		return c.frames.skip(h)
	}
	if h.channel == 0 {
		if h.kind != spec.FrameMethod {
			return exceptionf(spec.CommandInvalid, "content on channel 0")
		}
		payload, err := c.frames.payload(h)
		if err != nil {
			return err
		}
		return c.connectionMethod(payload)
	}
	ch := c.channels[h.channel]
	if h.kind == spec.FrameBody {
		return c.bodyFrame(ch, h)
	}
	payload, err := c.frames.payload(h)
	if err != nil {
		return err
	}
	if h.kind == spec.FrameHeader {
		switch {
		case ch == nil:
			return notOpen(h.channel)
		case ch.closing:
			return nil
		}
		return c.outcome(ch, spec.BasicPublishID, ch.contentHeader(payload))
	}
	id, args, err := spec.SplitID(payload)
	if err != nil {
		return err
	}
	return c.channelMethod(ch, h.channel, id, args)
}

func (c *conn) bodyFrame(ch *channel, h frameHeader) error {
	switch {
	case ch == nil:
		return notOpen(h.channel)
	case ch.closing:
		return c.frames.skip(h)
	}
	return c.outcome(ch, spec.BasicPublishID, ch.body(h))
}

func notOpen(id uint16) error {
	return exceptionf(spec.ChannelError, "expected 'channel.open' on channel %d", id)
}

// channelMethod handles a method of a channel, which is nil when it is not
// open.
func (c *conn) channelMethod(ch *channel, number uint16, id spec.ID, args []byte) error {
	switch {
	case id == spec.ChannelCloseOKID:
		if ch != nil && ch.closing {
			c.forget(ch)
		}
		return nil
	case ch == nil && id == spec.ChannelOpenID:
		return c.openChannel(number, args)
	case ch == nil:
		return notOpen(number)
	case id == spec.ChannelCloseID:
		ch.close()
		ch.send(&spec.ChannelCloseOK{})
		c.forget(ch)
		return nil
	case ch.closing:
		return nil
	case id.Class() == spec.ConnectionStartID.Class():
		return exceptionf(spec.CommandInvalid, "method '%s' on channel %d", id, number)
	case ch.incoming.stage != stageNone:
		return exceptionf(spec.UnexpectedFrame, "expected the content of basic.publish, got method '%s'", id)
	}
	return c.outcome(ch, id, ch.handle(id, args))
}

func (c *conn) openChannel(number uint16, args []byte) error {
	var m spec.ChannelOpen
	if err := m.Decode(args); err != nil {
		return err
	}
	if len(c.channels) >= c.channelMax || int(number) > c.channelMax {
		return &exception{code: spec.NotAllowed, method: m.ID(),
			text: fmt.Sprintf("number of channels opened has reached the negotiated channel_max (%d)", c.channelMax)}
	}
	ch := newChannel(c, number)
	c.channels[number] = ch
	c.nchannels.Add(1)
	c.metrics.channels.Inc()
	ch.send(&spec.ChannelOpenOK{})
	return nil
}

func (c *conn) forget(ch *channel) {
	delete(c.channels, ch.id)
	c.nchannels.Add(-1)
	c.metrics.channels.Dec()
}

// outcome turns a mistake into the end of the channel, where its code says so; other
// errors are returned and end the connection.
func (c *conn) outcome(ch *channel, id spec.ID, err error) error {
	if err == nil {
		return nil
	}
	var broken *readError
	if errors.As(err, &broken) {
		return err
	}
	x := asException(err)
	x = &exception{code: x.code, text: x.text, method: id}
	if spec.IsHardError(x.code) {
		return x
	}
	c.log.Info("closing AMQP channel", "channel", ch.id, "method", id.String(), "user", c.user, "reason", x.Error())
	ch.close()
	ch.closing = true
	ch.send(&spec.ChannelClose{ReplyCode: x.code, ReplyText: x.replyText(), ClassID: id.Class(), MethodID: id.Method()})
	return nil
}

// connectionMethod handles a method on channel 0.
func (c *conn) connectionMethod(payload []byte) error {
	id, args, err := spec.SplitID(payload)
	if err != nil {
		return err
	}
	switch id {
	case spec.ConnectionCloseID:
		return errClosed
	case spec.ConnectionCloseOKID:
		return exceptionf(spec.CommandInvalid, "connection.close-ok without a connection.close")
	case spec.ConnectionUpdateSecretID:
		return c.updateSecret(args)
	}
	return &exception{code: spec.CommandInvalid, text: "unexpected method '" + id.String() + "' on channel 0", method: id}
}

func (c *conn) updateSecret(args []byte) error {
	var m spec.ConnectionUpdateSecret
	if err := m.Decode(args); err != nil {
		return err
	}
	if err := c.server.cfg.Auth.Login(c.mechanism, c.user, m.NewSecret, c.nc.RemoteAddr()); err != nil {
		return &exception{code: spec.NotAllowed, text: "new secret was refused: " + err.Error(), method: m.ID()}
	}
	c.send(&spec.ConnectionUpdateSecretOK{})
	return nil
}
