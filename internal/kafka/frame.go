package kafka

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

// firstPiece is how much room a frame gets before any of it has arrived; or as
// much as the connection's last frame, which did arrive, had: producers send one like the other.
const firstPiece = 64 << 10

// requestError is what is wrong with a request that gets no response: the
// connection is closed.
type requestError struct{ text string }

func (e *requestError) Error() string { return e.text }

func badRequest(format string, args ...any) error {
	return &requestError{fmt.Sprintf(format, args...)}
}

// readFrame reads one request: a big-endian int32 length, and as many bytes as
// it says. last is the length of the frame before. The result is not shared with br. io.EOF means that the
// peer hung up between two frames. grow is asked for the room beyond firstPiece,
// of which more is needed as more arrives.
func readFrame(br *bufio.Reader, maxBytes int32, last int, grow func(int) error) ([]byte, error) {
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
	frame := make([]byte, begin)
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
		more := make([]byte, room)
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
