package amqp

import (
	"sync/atomic"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
)

// intake counts what a connection holds of messages that are not complete, and
// of open transactions. Owned by the reader goroutine, save what is said to be
// otherwise.
type intake struct {
	held     int // bytes
	bodies   int // bytes of bodies that were received in part
	buffered int // bytes of transactions
	granted  int // bytes taken of share
	share    *broker.Share
	reading  atomic.Bool // the reader waits for the client; read by a timer
}

const (
	// ownIntake is what every connection may hold without asking.
	ownIntake = 64 << 10
	// intakeStep is the least that it takes then.
	intakeStep = 64 << 10
	// openMessages is how many messages of the largest size a connection may
	// receive side by side, on different channels.
	openMessages = 4
)

// take holds n more bytes, and waits for them if need be; false: the connection
// ends.
func (i *intake) take(n int) bool {
	i.held += n
	more := i.held - ownIntake - i.granted
	if more <= 0 {
		return true
	}
	more = max(more, intakeStep)
	if !i.share.Grow(int64(more)) {
		return false
	}
	i.granted += more
	return true
}

// release gives n bytes back.
func (i *intake) release(n int) {
	i.held -= n
	if i.granted > 0 && i.held <= ownIntake {
		i.share.Shrink(int64(i.granted))
		i.granted = 0
	}
}

// hold counts the room that was made for a message that is being received.
func (c *conn) hold(in *incoming) error {
	n := cap(in.stored) - in.held
	in.held += n
	if !c.intake.take(n) {
		return &readError{errStopped}
	}
	return nil
}

// mayGoOn reports whether the connection may receive n more bytes of a message,
// which will not be complete with them.
func (c *conn) mayGoOn(n int) bool {
	return c.intake.bodies+n <= openMessages*c.server.cfg.MaxMessage
}

// dropIncoming ends the publication that is being received.
func (ch *channel) dropIncoming() {
	in, i := &ch.incoming, &ch.conn.intake
	i.bodies -= in.partly
	i.release(in.held)
	in.reset()
}

// expel ends the connection because it keeps others waiting for room, unless it
// waits itself, for the broker.
func (c *conn) expel() {
	if c.intake.reading.Load() {
		c.log.Warn("cutting off an AMQP client: it does not finish its messages, and the memory for those that are not complete is used up", "user", c.user)
		c.stopWith(spec.ResourceError, "unfinished messages and transactions use up the memory for them; finish this one sooner, or make it smaller")
	}
}
