package broker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"waybill/internal/record"
	"waybill/internal/replica"
)

// The nodes of a cluster speak to each other about queues in frames, over one
// connection from each node to each other one. The node that has opened the
// connection forwards what its clients want, the other one leads the queues. A
// stream stands for one queue on one connection.
//
//	uint32   length of all that follows, little endian
//	uint8    kind
//	uvarint  stream, as numbered by the node that has opened the connection; 0 in a ping
//	bytes    by kind
//
// In the fields below, message is a stored message (record.Message), offsets are the
// varint differences of message offsets, error is a code and a text.
type frameKind uint8

const (
	framePing frameKind = iota // both ways: nothing, but the peer is alive

	// From the node that forwards.

	frameOpen     // uvarint log
	frameLeave    // the stream is over
	framePublish  // uvarint number of the first, messages to the end
	frameTogether // the same, and the messages share one entry
	frameVerb     // uvarint id, uint8 op, uint8 flags; subscribe and get: uvarint subscription; subscribe: varint priority, tag to the end
	frameCredit   // uvarint subscription, uvarint messages, uvarint bytes
	frameSettle   // uvarint subscription, uvarint id or 0, uint8 outcome, offsets to the end
	frameReturn   // uvarint subscription, uint8 pause, offsets to the end: they were not delivered
	frameRecover  // uvarint subscription, uvarint id or 0
	frameCancel   // uvarint subscription, uvarint id
	frameClose    // uvarint subscription
	frameDirect   // on stream 0: uvarint length, address, message; for a client of the other node

	// From the node that leads.

	frameOpened   // this node leads the queue
	frameMoved    // it does not, or not any more; what was not answered did not happen
	frameAnswered // uint8 error code, uvarint number of the first publish, uint32 how many
	frameDeliver  // uvarint subscription, uvarint offset, uint8 redelivered, message
	frameReply    // uvarint id, varint n, varint consumers, error
	frameGot      // uvarint id, uvarint remaining; when there is a message: uvarint offset, uint8 redelivered, message
	framePaused   // uvarint subscription: it has no credit any more; answers a return that pauses
)

// Flags of frameVerb.
const (
	verbIfUnused  = 1 << iota // delete
	verbIfEmpty               // delete
	verbExclusive             // subscribe
	verbPull                  // subscribe
)

// Bounds of what is read from a peer.
const (
	maxFrame = 1 << 30 // length of a frame; memory grows with what has arrived of it
	chunk    = 64 << 10
)

var errFrame = errors.New("broker: bad frame from a node")

// errNoLeader answers what has waited for a leader too long.
var errNoLeader = errors.New("broker: no leader was found in time")

// errorCode says how something forwarded ended.
type errorCode uint8

const (
	codeOK       errorCode = iota
	codeMoved              // not the leader, and nothing happened: try the next one
	codeUnknown            // it may or may not have happened
	codeOverflow           // the queue is full
	codeError              // an *Error: its kind is added to the code
)

func codeFor(err error) errorCode {
	var e *Error
	switch {
	case err == nil:
		return codeOK
	case errors.Is(err, replica.ErrUnknown):
		return codeUnknown
	case errors.Is(err, errOverflow):
		return codeOverflow
	case errors.As(err, &e):
		return codeError + errorCode(e.Kind)
	default:
		return codeMoved
	}
}

func appendError(b []byte, err error) []byte {
	b = append(b, byte(codeFor(err)))
	if err != nil {
		b = append(b, err.Error()...)
	}
	return b
}

// parseError is the opposite of appendError. The error for codeMoved is
// replica.ErrNotLeader.
func parseError(code errorCode, text []byte) error {
	switch {
	case code == codeOK:
		return nil
	case code == codeMoved:
		return replica.ErrNotLeader
	case code == codeUnknown:
		return replica.ErrUnknown
	case code == codeOverflow:
		return errOverflow
	case code-codeError <= errorCode(OutOfRange):
		return &Error{Kind: Kind(code - codeError), Text: string(text)}
	default:
		return &Error{Kind: Internal, Text: string(text)}
	}
}

// appendOffsets appends offsets as differences.
func appendOffsets(b []byte, offsets []record.Offset) []byte {
	var last record.Offset
	for _, off := range offsets {
		b = binary.AppendVarint(b, int64(off-last))
		last = off
	}
	return b
}

// fields reads the fields of a frame. After a mistake all of them are zero, and err says so.
type fields struct {
	rest []byte
	err  error
}

func (f *fields) fail() {
	f.rest = nil
	if f.err == nil {
		f.err = errFrame
	}
}

func (f *fields) uvarint() uint64 {
	v, n := binary.Uvarint(f.rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) varint() int64 {
	v, n := binary.Varint(f.rest)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.rest = f.rest[n:]
	return v
}

func (f *fields) byte() byte {
	if len(f.rest) == 0 {
		f.fail()
		return 0
	}
	v := f.rest[0]
	f.rest = f.rest[1:]
	return v
}

func (f *fields) uint32() uint32 {
	if len(f.rest) < 4 {
		f.fail()
		return 0
	}
	v := binary.LittleEndian.Uint32(f.rest)
	f.rest = f.rest[4:]
	return v
}

// offset reads a message offset.
func (f *fields) offset() record.Offset {
	v := f.uvarint()
	if v >= uint64(noOffset) {
		f.fail()
		return 0
	}
	return record.Offset(v)
}

// offsets reads offsets to the end. Each takes a byte at least.
func (f *fields) offsets() []record.Offset {
	list := make([]record.Offset, 0, len(f.rest))
	var last record.Offset
	for len(f.rest) > 0 {
		last += record.Offset(f.varint())
		list = append(list, last)
	}
	return list
}

// message reads a stored message, and returns its stored form too.
func (f *fields) message(m *record.Message) (stored []byte) {
	rest, err := m.Parse(f.rest)
	if err != nil {
		f.fail()
		return nil
	}
	n := len(f.rest) - len(rest)
	stored, f.rest = f.rest[:n:n], rest
	return stored
}

// bytes reads bytes after their length.
func (f *fields) bytes() []byte {
	n := f.uvarint()
	if n > uint64(len(f.rest)) {
		f.fail()
		return nil
	}
	v := f.rest[:n]
	f.rest = f.rest[n:]
	return v
}

// text reads the rest.
func (f *fields) text() []byte {
	t := f.rest
	f.rest = nil
	return t
}

// end reports what is wrong with the frame.
func (f *fields) end() error {
	if len(f.rest) > 0 {
		f.fail()
	}
	return f.err
}

// frameReader splits what a peer sends. Small frames share a chunk of memory, which lives for
// as long as anything of it is referenced.
type frameReader struct {
	r     *bufio.Reader
	chunk []byte
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, chunk)}
}

// next reads a frame. Its bytes may be kept.
func (f *frameReader) next() (kind frameKind, stream uint64, body fields, err error) {
	var head [4]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return 0, 0, fields{}, err
	}
	size := int(binary.LittleEndian.Uint32(head[:]))
	if size < 2 || size > maxFrame {
		return 0, 0, fields{}, fmt.Errorf("%w: %d bytes long", errFrame, size)
	}
	b, err := f.read(size)
	if err != nil {
		return 0, 0, fields{}, err
	}
	body.rest = b[1:]
	stream = body.uvarint()
	return frameKind(b[0]), stream, body, body.err
}

// more reports whether a part of the next frame is here already.
func (f *frameReader) more() bool { return f.r.Buffered() > 0 }

func (f *frameReader) read(size int) ([]byte, error) {
	if size <= chunk/4 {
		if len(f.chunk) < size {
			f.chunk = make([]byte, chunk)
		}
		b := f.chunk[:size:size]
		f.chunk = f.chunk[size:]
		_, err := io.ReadFull(f.r, b)
		return b, err
	}
	// A long one gets its memory as it arrives.
	b := make([]byte, min(size, 4*chunk))
	for have := 0; ; {
		if _, err := io.ReadFull(f.r, b[have:]); err != nil || len(b) == size {
			return b, err
		}
		have = len(b)
		b = append(b, make([]byte, min(size-have, have))...)
	}
}
