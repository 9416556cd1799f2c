package kafka

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// firstPiece is how much room a frame gets before any of it has arrived; or as
// much as the connection's last frame, which did arrive, had: producers send one like the other.
const firstPiece = 64 << 10

// frames are what large requests were read into that nobody looks at any more: those of a Produce, whose batches are in their
// entries once it is answered, but for one that is kept whole. New memory for each would miss the processor's caches, be blanked, and collected.
type frames struct{ free sync.Pool } // of *[]byte

// mostFrame leaves out single large ones.
const mostFrame = 8 << 20

// take returns n bytes of anything; of nil, memory that is the taker's for good.
func (f *frames) take(n int) []byte {
	if f == nil || n <= firstPiece || n > mostFrame {
		return make([]byte, n)
	}
	if b, ok := f.free.Get().(*[]byte); ok && n <= cap(*b) && cap(*b) <= 2*n {
		return (*b)[:n]
	}
	return make([]byte, n, n+n/8)
}

// put takes a frame that nobody looks at any more.
func (f *frames) put(b []byte) {
	if cap(b) > firstPiece && cap(b) <= mostFrame {
		spoil(b)
		f.free.Put(&b)
	}
}

// requestError is what is wrong with a request that gets no response: the
// connection is closed.
type requestError struct{ text string }

func (e *requestError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &requestError{fmt.Sprintf(format, args...)}
}

// readFrame reads one request: a big-endian int32 length, and as many bytes as
// it says. last is the length of the frame before. The result is not shared with br; it may be given to free, which is nil when it will not be. io.EOF means that the
// peer hung up between two frames. grow is asked for the room beyond firstPiece,
// of which more is needed as more arrives.
func readFrame(br *bufio.Reader, maxBytes int32, last int, free *frames, grow func(int) error) ([]byte, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(br, prefix[:]); err != nil {
		return nil, err
	}
	size := int32(binary.BigEndian.Uint32(prefix[:]))
	if size < 0 || size > maxBytes {
		return nil, badRequest("a request of %d bytes; the limit (socket.request.max.bytes) is %d", size, maxBytes)
	}
	begin := min(int(size), max(firstPiece, last+last/8))
	if begin > firstPiece {
		if err := grow(begin - firstPiece); err != nil {
			return nil, err
		}
	}
	frame := free.take(begin)
	for have := 0; ; {
		n, err := io.ReadFull(br, frame[have:])
		if err != nil {
			return nil, fmt.Errorf("inside of a request: %w", noEOF(err))
		}
		if have += n; have == int(size) {
			return frame, nil
		}
		room := min(int(size), 2*have)
		if err := grow(room - have); err != nil {
			return nil, err
		}
		more := free.take(room)
		copy(more, frame)
		frame = more
	}
}

// noEOF makes an end of input that is not between two frames an error.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
