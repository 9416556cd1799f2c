//go:build clients

package clients

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A player carries out the steps of a scenario and writes down what the broker answers. After a
// step that closed the channel or the connection, the next one gets a new one.
type player struct {
	t          *testing.T
	url        string
	transcript strings.Builder

	conn       *amqp.Connection
	connClosed chan *amqp.Error
	ch         *amqp.Channel
	chClosed   chan *amqp.Error
	returns    chan amqp.Return
	cancels    chan string
	deliveries chan amqp.Delivery // of every consumer

	queues, exchanges []string // to delete at the end
}

const (
	answerWithin = time.Minute
	// No more deliveries come than were expected when none came for this long.
	deliveryQuiet = 250 * time.Millisecond
)

func newPlayer(t *testing.T, url string) *player {
	p := &player{t: t, url: url}
	p.connect()
	return p
}

func (p *player) connect() {
	p.t.Helper()
	conn, err := amqp.Dial(p.url)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { conn.Close() }) // an error means that it is closed already
	p.conn, p.connClosed = conn, conn.NotifyClose(make(chan *amqp.Error, 1))
	p.open()
}

// open opens a new channel; the old one, if still open, stays so.
func (p *player) open() {
	p.t.Helper()
	ch, err := p.conn.Channel()
	if err != nil {
		p.t.Fatal(err)
	}
	p.ch, p.chClosed = ch, ch.NotifyClose(make(chan *amqp.Error, 1))
	p.returns = ch.NotifyReturn(make(chan amqp.Return, 100))
	p.cancels = ch.NotifyCancel(make(chan string, 100))
	p.deliveries = make(chan amqp.Delivery, 1000)
}

// other lets another player, with a connection of its own, play steps, and takes over what it wrote.
func (p *player) other(play func(o *player)) {
	p.t.Helper()
	o := newPlayer(p.t, p.url)
	play(o)
	o.conn.Close()
	p.writef("  on another connection:\n%s", indent(o.transcript.String()))
	p.queues, p.exchanges = append(p.queues, o.queues...), append(p.exchanges, o.exchanges...)
}

func indent(s string) string {
	return "  " + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n  ")
}

// reconnect closes the connection and opens another.
func (p *player) reconnect() {
	p.t.Helper()
	p.conn.Close()
	p.writef("reconnect")
	p.connect()
}

// reopen closes the channel and opens another.
func (p *player) reopen() {
	p.t.Helper()
	p.ch.Close()
	p.writef("reopen the channel")
	p.open()
}

// end removes what the scenario has declared.
func (p *player) end() {
	p.reconnectSilently()
	for _, queue := range p.queues {
		p.ch.QueueDelete(queue, false, false, false)
	}
	for _, exchange := range p.exchanges {
		p.ch.ExchangeDelete(exchange, false, false)
	}
}

func (p *player) reconnectSilently() {
	p.conn.Close()
	p.connect()
}

func (p *player) writef(format string, args ...any) {
	fmt.Fprintf(&p.transcript, format+"\n", args...)
}

// step writes down what was done and how it went. An error must come from the broker.
func (p *player) step(what string, result string, err error) {
	p.t.Helper()
	if err == nil {
		if result == "" {
			result = "ok"
		}
		p.writef("%s: %s", what, result)
		return
	}
	p.writef("%s: %s", what, p.closed(err))
}

// closed tells what the broker closed, and why, and opens it anew.
func (p *player) closed(err error) string {
	p.t.Helper()
	select {
	case reason := <-p.connClosed:
		p.connect()
		return "connection " + describe(reason)
	case reason := <-p.chClosed:
		// When the connection closes, its channels are told first.
		if p.conn.IsClosed() {
			reason = <-p.connClosed
			p.connect()
			return "connection " + describe(reason)
		}
		p.open()
		return "channel " + describe(reason)
	case <-time.After(answerWithin):
		p.t.Fatalf("the client failed by itself: %v", err)
		return ""
	}
}

func describe(reason *amqp.Error) string {
	if reason == nil {
		return "closed without a reason"
	}
	return fmt.Sprintf("closed %d %s", reason.Code, reason.Reason)
}

// flush waits until the broker has handled the asynchronous methods before it, and returns an
// error if one of them closed the channel.
func (p *player) flush() error {
	return p.ch.ExchangeDeclarePassive("amq.direct", "direct", true, false, false, false, nil)
}
