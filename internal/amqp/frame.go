package amqp

import (
	"encoding/binary"
	"io"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

// Every frame is a header of 7 bytes (type, uint16 channel, uint32 payload
// size; big endian), the payload, and the byte 0xCE.
const (
	frameHeaderLen = 7
	frameOverhead  = frameHeaderLen + 1
)

// minFrameMax is the largest frame that either side may send before tune, and
// the smallest limit that a client may ask for.
const minFrameMax = 8192

// frameHeader announces a frame.
type frameHeader struct {
	kind    byte
	channel uint16
	size    int // of the payload
}

// frameReader reads frames. Memory grows with the bytes that were received, never with
// a size that was declared.
type frameReader struct {
	r       io.Reader
	err     error  // of r, to be told when what came before it is read
	block   *block // what is read lies in it, between from and to
	from    int
	to      int
	low     int    // below it there may be messages on loan
	max     int    // largest frame that is accepted, with its overhead
	maxBody int    // the same for body frames, which need not be held in memory whole
	big     []byte // payload that does not fit into a block
}

// headRoom is left free at the beginning of a block, so that a message whose body comes
// first in it can be given its head there.
const headRoom = 256

func newFrameReader(r io.Reader, b *blocks, limit int) frameReader {
	return frameReader{r: r, block: b.take(), from: headRoom, to: headRoom, max: limit, maxBody: limit}
}

// close gives the block back.
func (f *frameReader) close() { f.block.leave() }

// most is how many bytes lie in a block for certain.
func (f *frameReader) most() int { return len(f.block.data) - headRoom }

func (f *frameReader) buffered() int { return f.to - f.from }

// peek returns the next n bytes, at most most, without reading over them. They are valid until the next
// call; there are fewer only with an error.
func (f *frameReader) peek(n int) ([]byte, error) {
	for f.buffered() < n {
		if err := f.fill(n); err != nil {
			return f.block.data[f.from:f.to], err
		}
	}
	return f.block.data[f.from : f.from+n], nil
}

// fill reads once, with room for n bytes in all.
func (f *frameReader) fill(n int) error {
	if err := f.err; err != nil {
		f.err = nil
		return err
	}
	f.makeRoom(n)
	k, err := f.r.Read(f.block.data[f.to:])
	f.to += k
	if k > 0 {
		f.err = err
		return nil
	}
	return err
}

// makeRoom moves what was not read to the beginning of a block: of this one, if
// nothing of it is on loan, and of another one, if too little is left of this one.
func (f *frameReader) makeRoom(n int) {
	data, unread := f.block.data, f.block.data[f.from:f.to]
	switch {
	case f.block.alone():
		if f.from == headRoom {
			return
		}
		spoil(data[:f.from])
		copy(data[headRoom:], unread)
	case f.from+n > len(data) || len(data)-f.to < len(data)/4: // a call of the system for less is too dear
		next := f.block.blocks.take()
		copy(next.data[headRoom:], unread)
		f.block.leave()
		f.block = next
	default:
		return
	}
	f.from, f.to, f.low = headRoom, headRoom+len(unread), 0
}

// read reads what is there into p: from r itself where p is large.
func (f *frameReader) read(p []byte) (int, error) {
	if f.buffered() == 0 {
		if f.err == nil && len(p) >= f.most() {
			return f.r.Read(p)
		}
		if err := f.fill(1); err != nil {
			return 0, err
		}
	}
	n := copy(p, f.block.data[f.from:f.to])
	f.from += n
	return n, nil
}

// next reads the header of the next frame.
func (f *frameReader) next() (frameHeader, error) {
	b, err := f.peek(frameHeaderLen)
	if err != nil {
		if err == io.EOF && len(b) > 0 {
			err = noEOF(err)
		}
		return frameHeader{}, err
	}
	h := frameHeader{kind: b[0], channel: binary.BigEndian.Uint16(b[1:])}
	size := uint64(binary.BigEndian.Uint32(b[3:]))
	limit := f.max
	switch h.kind {
	case spec.FrameMethod, spec.FrameHeader, spec.FrameHeartbeat:
	case spec.FrameBody:
		limit = f.maxBody
	default:
		return h, exceptionf(spec.FrameError, "unknown frame type %d", h.kind)
	}
	if size+frameOverhead > uint64(limit) {
		return h, exceptionf(spec.FrameError, "frame of %d bytes is larger than the negotiated maximum of %d bytes", size+frameOverhead, limit)
	}
	h.size = int(size)
	f.from += frameHeaderLen
	return h, nil
}

// payload reads the rest of a frame. The result is valid until the next call.
func (f *frameReader) payload(h frameHeader) ([]byte, error) {
	if h.size < f.most() {
		return f.whole(h)
	}
	b, err := f.appendBody(f.big[:0], h, h.size, nil)
	f.big = b[:0]
	return b, err
}

// whole reads the rest of a frame of less than most bytes where it lies.
func (f *frameReader) whole(h frameHeader) ([]byte, error) {
	b, err := f.peek(h.size + 1)
	if err != nil {
		return nil, noEOF(err)
	}
	if b[h.size] != spec.FrameEnd {
		return nil, badFrameEnd(b[h.size])
	}
	f.from += h.size + 1
	return b[:h.size], nil
}

// inPlace puts head before the payload that whole has returned just now, over what was read
// before it. It answers nil when there is no room for it.
func (f *frameReader) inPlace(head, payload []byte) []byte {
	end := f.from - 1
	begin := end - len(payload) - len(head)
	if begin < f.low {
		return nil
	}
	copy(f.block.data[begin:], head)
	f.low = end
	return f.block.data[begin:end:end]
}

// appendBody reads the rest of a frame and appends it to dst, which may grow to hold
// want more bytes in all. grown, when not nil, is told of each larger slice.
func (f *frameReader) appendBody(dst []byte, h frameHeader, want int, grown func([]byte) error) ([]byte, error) {
	for left := h.size; left > 0; {
		if len(dst) == cap(dst) {
			dst = grow(dst, f.buffered(), want)
			if grown != nil {
				if err := grown(dst); err != nil {
					return dst, err
				}
			}
		}
		n, err := f.read(dst[len(dst):min(len(dst)+left, cap(dst))])
		dst = dst[:len(dst)+n]
		left -= n
		want -= n
		if err != nil {
			return dst, noEOF(err)
		}
	}
	return dst, f.frameEnd()
}

// skip reads over the rest of a frame.
func (f *frameReader) skip(h frameHeader) error {
	for left := h.size; left > 0; {
		if _, err := f.peek(1); err != nil {
			return noEOF(err)
		}
		n := min(left, f.buffered())
		f.from += n
		left -= n
	}
	return f.frameEnd()
}

func (f *frameReader) frameEnd() error {
	end, err := f.peek(1)
	if err != nil {
		return noEOF(err)
	}
	if end[0] != spec.FrameEnd {
		return badFrameEnd(end[0])
	}
	f.from++
	return nil
}

// grow makes room at the end of dst, of which want bytes are still to come and
// buffered bytes are here already: it doubles, so that what is reserved never
// exceeds what was received by more than a small constant.
func grow(dst []byte, buffered, want int) []byte {
	room := min(want, max(len(dst), buffered, minBodyRoom))
	bigger := make([]byte, len(dst), len(dst)+room)
	copy(bigger, dst)
	return bigger
}

// minBodyRoom is how much is reserved for a body of which nothing has arrived.
const minBodyRoom = 1024

// noEOF makes the end of the stream within a frame an error of its own.
func noEOF(err error) error {
	if err == io.EOF {
		return &readError{io.ErrUnexpectedEOF}
	}
	return err
}

func badFrameEnd(b byte) error {
	return exceptionf(spec.FrameError, "frame ends with %#02x instead of 0xce", b)
}

// beginFrame appends a frame header; endFrame completes it once the payload was
// appended, with at being what beginFrame returned.
func beginFrame(b []byte, kind byte, channel uint16) (out []byte, at int) {
	return append(b, kind, byte(channel>>8), byte(channel), 0, 0, 0, 0), len(b)
}

func endFrame(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at+3:], uint32(len(b)-at-frameHeaderLen))
	return append(b, spec.FrameEnd)
}

func appendMethod(b []byte, channel uint16, m spec.Method) []byte {
	b, at := beginFrame(b, spec.FrameMethod, channel)
	return endFrame(m.Append(b), at)
}

// appendContent appends the header and body frames of a message, split into
// frames of at most frameMax bytes.
func appendContent(b []byte, channel uint16, frameMax int, m *record.Message) []byte {
	b, at := beginFrame(b, spec.FrameHeader, channel)
	b = binary.BigEndian.AppendUint32(b, basicClass<<16) // class, weight 0
	b = binary.BigEndian.AppendUint64(b, uint64(len(m.Body)))
	b = endFrame(append(b, m.Properties...), at)
	for body := m.Body; len(body) > 0; {
		n := min(len(body), frameMax-frameOverhead)
		b, at = beginFrame(b, spec.FrameBody, channel)
		b = endFrame(append(b, body[:n]...), at)
		body = body[n:]
	}
	return b
}

// basicClass is the id of the class whose methods carry content.
const basicClass = uint32(spec.BasicPublishID) >> 16

// heartbeat is the frame of that name.
var heartbeat = []byte{spec.FrameHeartbeat, 0, 0, 0, 0, 0, 0, spec.FrameEnd}
