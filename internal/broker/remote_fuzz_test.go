package broker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"waybill/internal/record"
)

// tape is a connection on which the other end has said all that it will say.
type tape struct {
	net.Conn
	said *bytes.Reader
}

func newTape(said []byte) *tape {
	near, far := net.Pipe()
	go func() {
		_, _ = io.Copy(io.Discard, far)
		_ = far.Close()
	}()
	return &tape{Conn: near, said: bytes.NewReader(said)}
}

func (c *tape) Read(b []byte) (int, error) { return c.said.Read(b) }

// frames encodes frames by means of an outbox.
func frames(f func(o *outbox)) []byte {
	o := newOutbox()
	f(o)
	return o.buf
}

// A node that leads queues takes anything from another one without a panic, and gives
// everything back when the connection ends.
func FuzzGuestFrames(f *testing.F) {
	message := storedMessage("body", record.NoTTL)
	f.Add(frames(func(o *outbox) {
		o.put(frameOpen, 1, uint64(rigLog))
		s := &stream{link: &link{out: o}, id: 1}
		s.link.publish(framePublish, s, 0, []awayPub{{stored: message}, {stored: message}})
		s.link.publish(frameTogether, s, 2, []awayPub{{stored: message, more: true}, {stored: message}})
		sub := &Subscription{options: SubscribeOptions{Tag: "tag", Exclusive: true, Priority: -7}, far: farSub{id: 2}}
		s.verb(1, &verb{op: verbSubscribe, sub: sub})
		o.put(frameCredit, 1, 2, 10, 1000)
		s.settle(2, 3, Requeue, []record.Offset{1, 0, 7})
		s.giveBack(2, true, []record.Offset{0})
		o.put(frameRecover, 1, 2, 4)
		o.put(frameCancel, 1, 2, 5)
		pull := &Subscription{options: SubscribeOptions{Pull: true}, far: farSub{id: 3}}
		s.verb(6, &verb{op: verbSubscribe, sub: pull})
		s.verb(7, &verb{op: verbGet, sub: pull})
		s.verb(8, &verb{op: verbStatus})
		s.verb(9, &verb{op: verbPurge})
		s.verb(10, &verb{op: verbDelete, ifUnused: true, ifEmpty: true})
		o.put(frameClose, 1, 2)
		o.put(framePing, 0)
		at := o.begin(frameDirect, 0)
		o.buf = append(append(o.buf, 2, 'a', 'b'), message...)
		o.end(at)
		o.put(frameLeave, 1)
	}))
	f.Add(frames(func(o *outbox) { o.put(frameOpen, 1, 77) }))
	f.Add([]byte{0xff, 0xff, 0xff, 0x3f, byte(framePublish), 1, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 1, 1, nil)
			r.lead(1)
			r.nodes[0].serveQueues(2, newTape(data))
			synctest.Wait()
			if d := r.nodes[0].queue.Depth(); d.Unacked != 0 || d.Consumers != 0 {
				t.Errorf("left behind: %+v", d)
			}
			r.stop()
		})
	})
}

// A node that forwards takes anything from a leader without a panic, and its clients
// are all answered.
func FuzzLeaderFrames(f *testing.F) {
	message := storedMessage("body", record.NoTTL)
	f.Add(frames(func(o *outbox) {
		g := &guest{link: &guestLink{out: o}, id: 1}
		g.welcome()
		for id := range uint64(8) {
			g.reply(id, 1, 2, nil)
		}
		for number := range uint64(3) {
			g.Published(number, nil)
		}
		d := Delivery{Offset: 7, Redelivered: true}
		if _, err := d.Message.Parse(message); err != nil {
			f.Fatal(err)
		}
		for id := range uint64(4) {
			s := &guestSub{guest: g, id: id}
			s.Deliver(nil, &d)
			s.pause(nil)
		}
		g.answerGet(6, &getResult{delivery: d, ok: true, remaining: 3})
		g.answerGet(7, &getResult{})
		g.reply(9, 0, 0, errOverflow)
		o.put(frameMoved, 1)
	}))
	f.Fuzz(func(t *testing.T, data []byte) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, 2, 1, nil)
			n := r.nodes[1]
			r.lead(1)
			n.links.close()
			var dials atomic.Int32
			n.links = newLinks(func(context.Context, uint64) (net.Conn, error) {
				if dials.Add(1) > 1 {
					return nil, errors.New("not again")
				}
				return newTape(data), nil
			}, n.linkLost)
			answers := make(confirms, 3)
			for tag := range uint64(3) {
				n.put(t, "q", answers, tag, []byte("x"))
			}
			for _, o := range []SubscribeOptions{{Queue: "q"}, {Queue: "q", Pull: true}, {Queue: "q", NoAck: true}} {
				go func() {
					s, err := n.session.Subscribe(context.Background(), o, &taker{window: 2}, nil)
					if err != nil {
						return
					}
					if o.Pull {
						_, _, _, _ = s.Get(context.Background()) // the answer may be anything
					}
					s.Settle(Accept, []record.Offset{7}, func(error) {})
					s.Close()
				}()
			}
			for range 3 {
				<-answers
			}
			r.stop()
		})
	})
}
