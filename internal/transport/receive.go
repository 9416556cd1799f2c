package transport

import (
	"bufio"
	"time"
)

const (
	// deafness is how long an accepted connection for messages may bring
	// nothing. Its other end has given it up long before that.
	deafness = 5 * time.Second
	// answerTimeout is how long an answer to a heartbeat may take to leave.
	answerTimeout = time.Second

	receiveBuffer = 64 << 10
)

// receive takes a peer's messages from a connection that it has dialed.
func (t *Transport) receive(c *conn) {
	defer close(c.done)
	t.mu.Lock()
	before := t.inbound[c.peer.Node]
	t.inbound[c.peer.Node] = c
	take, p := t.onMessage, t.peers[c.peer.Node]
	t.mu.Unlock()
	if before != nil {
		// The peer has dialed anew. What its old connection still holds must
		// not be taken beside, or after, what this one brings.
		before.cut()
		<-before.done
	}
	if p != nil {
		p.retry() // it is there: no need to wait before this node dials it
	}
	m := t.metrics.of(c.peer.Node)
	err := c.messages(func(frame []byte) {
		m.received(frameHeader + len(frame))
		take(c.peer, frame)
	})
	t.log.Debug("transport: a node's messages end", "node", c.peer.Node, "err", err)
	t.mu.Lock()
	if t.inbound[c.peer.Node] == c {
		delete(t.inbound, c.peer.Node)
	}
	t.mu.Unlock()
}

// messages reads frames and answers heartbeats. A long row of frames is
// answered too, since a heartbeat waits behind it.
func (c *conn) messages(take func([]byte)) error {
	r := bufio.NewReaderSize(c.Conn, receiveBuffer)
	var answered time.Time
	for {
		frame, err := readFrame(r)
		if err != nil {
			return err
		}
		if frame != nil {
			take(frame)
		}
		if now := time.Now(); frame == nil || now.Sub(answered) >= heartbeat {
			answered = now
			if err := c.SetReadDeadline(now.Add(deafness)); err != nil {
				return err
			}
			if err := c.SetWriteDeadline(now.Add(answerTimeout)); err != nil {
				return err
			}
			if _, err := c.Write([]byte{1}); err != nil {
				return err
			}
		}
	}
}
