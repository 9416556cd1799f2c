package transport

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxQueued bounds the bytes that wait for one peer, what is being written included.
	maxQueued = 64 << 20
	// A part of a frame of up to copyLimit bytes is copied to its neighbours, so that a
	// write, and a TLS record, carries many; scratchSize is how much of them.
	copyLimit   = 16 << 10
	scratchSize = 64 << 10
)

// link is a connection to a peer for this node's messages.
type link struct {
	conn    *conn
	metrics *peerMetrics
	wake    chan struct{} // one token when there is something to write
	heard   atomic.Uint64 // heartbeats that were answered

	mu     sync.Mutex // guards the rest
	queue  []outgoing
	size   int  // bytes of the queue and of what is being written
	ping   bool // a heartbeat is due
	closed bool
}

// outgoing is a frame that waits.
type outgoing struct {
	parts [][]byte
	size  int // of the parts
}

func newLink(c *conn, m *peerMetrics) *link {
	return &link{conn: c, metrics: m, wake: make(chan struct{}, 1)}
}

// send queues a frame; false when there is no room.
func (l *link) send(parts [][]byte) bool {
	frame := outgoing{parts: parts}
	for _, part := range parts {
		frame.size += len(part)
	}
	n := frame.size + frameHeader
	l.mu.Lock()
	if l.closed || frame.size == 0 || frame.size > maxFrame || l.size > 0 && l.size+n > maxQueued {
		l.mu.Unlock()
		return false
	}
	l.queue = append(l.queue, frame)
	l.size += n
	l.mu.Unlock()
	l.nudge()
	return true
}

func (l *link) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run serves the link until its connection ends, and returns why.
func (l *link) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var both sync.WaitGroup
	both.Go(func() { cancel(l.listen()) })
	both.Go(func() { cancel(l.write(ctx)) })
	cancel(l.watch(ctx))
	l.conn.cut()
	_ = l.conn.Close() // it is cut already
	l.mu.Lock()
	l.closed, l.queue = true, nil
	l.mu.Unlock()
	both.Wait()
	return context.Cause(ctx)
}

// watch sends heartbeats and waits for silence.
func (l *link) watch(ctx context.Context) error {
	tick := time.NewTicker(heartbeat)
	defer tick.Stop()
	heard, silent := uint64(0), 0
	for {
		l.mu.Lock()
		l.ping = true
		l.mu.Unlock()
		l.nudge()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		silent++
		if now := l.heard.Load(); now != heard {
			heard, silent = now, 0
		}
		if silent >= silence {
			return errSilent
		}
	}
}

// listen counts the answers to heartbeats.
func (l *link) listen() error {
	r := bufio.NewReaderSize(l.conn.Conn, 64)
	for {
		if _, err := r.ReadByte(); err != nil {
			return cut(err)
		}
		l.heard.Add(1)
	}
}

// write writes what is queued. What comes while it writes is the next batch.
func (l *link) write(ctx context.Context) error {
	w := &batchWriter{to: l.conn.Conn, scratch: make([]byte, 0, scratchSize)}
	var spent []outgoing // the last batch's array, to be reused
	for {
		select {
		case <-l.wake:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		l.mu.Lock()
		batch, ping := l.queue, l.ping
		l.queue, l.ping = spent[:0], false
		l.mu.Unlock()

		size := 0
		if ping {
			w.frame(outgoing{})
		}
		for _, frame := range batch {
			w.frame(frame)
			size += frameHeader + frame.size
		}
		if err := w.flush(); err != nil {
			return err
		}
		l.metrics.sent(len(batch), size)
		clear(batch)
		spent = batch
		l.mu.Lock()
		l.size -= size
		l.mu.Unlock()
	}
}

// batchWriter writes many frames with few writes. The first error sticks.
type batchWriter struct {
	to      io.Writer
	scratch []byte      // headers and small parts, of a fixed capacity
	begun   int         // where the part of scratch begins that is not in bufs yet
	bufs    net.Buffers // what to write, in order
	err     error
}

func (w *batchWriter) frame(f outgoing) {
	var header [frameHeader]byte
	binary.BigEndian.PutUint32(header[:], uint32(f.size))
	w.copy(header[:])
	for _, part := range f.parts {
		if len(part) <= copyLimit {
			w.copy(part)
			continue
		}
		w.cut()
		w.bufs = append(w.bufs, part)
	}
}

func (w *batchWriter) copy(part []byte) {
	if len(w.scratch)+len(part) > cap(w.scratch) {
		w.write()
	}
	w.scratch = append(w.scratch, part...)
}

// cut takes over what was copied.
func (w *batchWriter) cut() {
	if w.begun < len(w.scratch) {
		w.bufs = append(w.bufs, w.scratch[w.begun:])
		w.begun = len(w.scratch)
	}
}

func (w *batchWriter) write() {
	w.cut()
	if w.err == nil && len(w.bufs) > 0 {
		bufs := w.bufs // WriteTo consumes the one it is given
		_, w.err = bufs.WriteTo(w.to)
	}
	clear(w.bufs)
	w.bufs, w.scratch, w.begun = w.bufs[:0], w.scratch[:0], 0
}

func (w *batchWriter) flush() error {
	w.write()
	return w.err
}
