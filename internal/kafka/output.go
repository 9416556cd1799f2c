package kafka

import (
	"encoding/binary"
	"net"
	"time"
)

// keepOutput is the size up to which a connection keeps its output buffer.
const keepOutput = 64 << 10

// output collects response frames for one write. Small pieces are appended to
// b; record batches are shared with the log and only referred to.
type output struct {
	b     []byte
	cuts  []cut
	begun int // where in b the open frame begins
	held  int // bytes of the cuts in the open frame
	bufs  net.Buffers
}

// cut says that shared bytes come in between b[:at] and b[at:].
type cut struct {
	at     int
	shared []byte
}

// begin opens a frame.
func (o *output) begin() {
	o.begun, o.held = len(o.b), 0
	o.b = append(o.b, 0, 0, 0, 0)
}

// share puts bytes into the frame without copying them.
func (o *output) share(p []byte) {
	o.cuts = append(o.cuts, cut{len(o.b), p})
	o.held += len(p)
}

// end closes the frame and fills in its length.
func (o *output) end() {
	binary.BigEndian.PutUint32(o.b[o.begun:], uint32(len(o.b)-o.begun-4+o.held))
}

// writeTo sends all frames and empties the output. The peer has to take the
// next piece within the time stall.
func (o *output) writeTo(nc net.Conn, stall time.Duration) (int64, error) {
	if len(o.b) == 0 {
		return 0, nil
	}
	at := 0
	for _, c := range o.cuts {
		if c.at > at {
			o.bufs = append(o.bufs, o.b[at:c.at])
			at = c.at
		}
		o.bufs = append(o.bufs, c.shared)
	}
	if at < len(o.b) {
		o.bufs = append(o.bufs, o.b[at:])
	}
	n, err := sendAll(nc, o.bufs, stall)
	clear(o.bufs)
	clear(o.cuts)
	o.b, o.cuts, o.bufs = o.b[:0], o.cuts[:0], o.bufs[:0]
	if cap(o.b) > keepOutput {
		o.b = nil
	}
	return n, err
}

// piece is how much is sent under one deadline.
const piece = 1 << 20

// sendAll sends the buffers in pieces, each with a deadline of its own, so that
// a peer that takes nothing is cut off and a slow one is not.
func sendAll(nc net.Conn, bufs net.Buffers, stall time.Duration) (n int64, err error) {
	for len(bufs) > 0 {
		k, size := 0, 0
		for k < len(bufs) && (k == 0 || size+len(bufs[k]) <= piece) {
			size += len(bufs[k])
			k++
		}
		if err := nc.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return n, err
		}
		part := bufs[:k:k]
		m, err := part.WriteTo(nc)
		n += m
		if err != nil {
			return n, err
		}
		bufs = bufs[k:]
	}
	return n, nil
}
