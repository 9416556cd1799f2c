package sim

import (
	"bytes"
	"context"
	"errors"
	"time"

	"waybill/internal/replica"
)

// network carries frames between nodes.
type network struct {
	cut  map[[2]int]bool      // from, to
	last map[[2]int]time.Time // when the newest frame arrives
	bad  int                  // of 100 frames that are dropped, delayed, doubled or overtaken
}

const timeoutOfPeer = time.Second

func (x *network) init() {
	x.cut, x.last = make(map[[2]int]bool), make(map[[2]int]time.Time)
}

// open reports whether a can speak to b.
func (w *World) open(a, b *node) bool { return a.up && b.up && !w.net.cut[[2]int{a.id, b.id}] }

// link is a node's replica.Transport.
type link struct{ n *node }

// Send implements replica.Transport.
func (l link) Send(to uint64, parts ...[]byte) bool {
	w, from, frame := l.n.w, l.n, bytes.Join(parts, nil)
	target := w.replicas[to]
	if target == nil || !w.open(from, target) {
		return w.chance(2) && target != nil
	}
	w.send(from, target, frame)
	if w.rng.IntN(300) < w.net.bad {
		w.send(from, target, bytes.Clone(frame))
	}
	return true
}

func (w *World) send(from, to *node, frame []byte) {
	path := [2]int{from.id, to.id}
	delay := 50*time.Microsecond + w.upTo(time.Millisecond)
	overtakes := false
	if w.rng.IntN(100) < w.net.bad {
		switch w.rng.IntN(3) {
		case 0:
			return // lost
		case 1:
			delay += w.upTo(400 * time.Millisecond)
		default:
			overtakes = true
		}
	}
	at := w.now.Add(delay)
	if last := w.net.last[path]; at.Before(last) && !overtakes {
		at = last
	}
	if at.After(w.net.last[path]) {
		w.net.last[path] = at
	}
	replica, life := from.replica, to.life
	w.after(at.Sub(w.now), func() {
		if to.life == life && !w.net.cut[path] {
			to.deliver(replica, frame)
		}
	})
}

// deliver hands over a frame, when the node runs.
func (n *node) deliver(from uint64, frame []byte) {
	if n.host == nil {
		return
	}
	if n.paused {
		n.parked = append(n.parked, func() { n.deliver(from, frame) })
		return
	}
	n.w.journal.note(frame)
	if verbose {
		n.traceFrame(from, frame)
	}
	if err := n.host.Receive(from, frame); err != nil {
		n.w.fail("n%d refuses a frame of replica %d: %v", n.id, from, err)
	}
	n.kick()
}

var errUnreachable = errors.New("sim: unreachable")

// Fetch implements replica.Transport. It takes no time.
func (l link) Fetch(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	w := l.n.w
	target := w.replicas[from]
	if target == nil || !w.open(l.n, target) || !w.open(target, l.n) || target.paused || target.host == nil || w.rng.IntN(100) < w.net.bad {
		return nil, errUnreachable
	}
	b, err := target.host.ServeFetch(ctx, l.n.replica, request)
	target.kick()
	return bytes.Clone(b), err
}

// heartbeats finds out who can be reached from where.
func (w *World) heartbeats() {
	for _, a := range w.nodes {
		if !a.up || a.paused || a.host == nil {
			continue
		}
		for _, b := range w.nodes {
			if a == b {
				continue
			}
			if w.open(a, b) && w.open(b, a) && !b.paused {
				a.heard[b.id] = w.now
			}
			if up := w.now.Sub(a.heard[b.id]) < timeoutOfPeer; up != a.sees[b.id] {
				a.sees[b.id] = up
				a.host.Peer(b.replica, up)
				if a.proc != nil {
					a.proc.broker.Peer(uint64(b.id), up)
					if !up {
						a.hangUp(b)
					}
				}
				a.kick()
			}
		}
	}
}

// traceFrame tells what a frame says.
func (n *node) traceFrame(from uint64, frame []byte) {
	for body := frame[1 : len(frame)-4]; len(body) > 0; {
		id, m, rest, err := replica.ParseMessage(body, from, n.replica)
		if err != nil {
			return
		}
		n.w.trace("  n%d gets from replica %d: group=%d %v term %d, log term %d, index %d, commit %d, %d entries, reject %v hint %d",
			n.id, from, id, m.GetType(), m.GetTerm(), m.GetLogTerm(), m.GetIndex(), m.GetCommit(), len(m.GetEntries()), m.GetReject(), m.GetRejectHint())
		body = rest
	}
}
