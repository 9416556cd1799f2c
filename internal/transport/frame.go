package transport

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
)

const (
	frameHeader = 4
	// maxFrame bounds a frame. The largest message of a client is 128 MiB; an
	// entry of raft with it is a little more.
	maxFrame = 192 << 20
	// frameStep is how much of a large frame is made room for at a time.
	frameStep = 1 << 20
)

// readFrame reads a length and so many bytes; nil when the length is 0. Room
// is made as the bytes come, whatever the length says.
func readFrame(r *bufio.Reader) ([]byte, error) {
	header, err := r.Peek(frameHeader)
	if err != nil {
		if len(header) > 0 {
			err = cut(err)
		}
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(header))
	_, _ = r.Discard(frameHeader) // it is in the buffer
	if n > maxFrame {
		return nil, fmt.Errorf("a frame of %d bytes, more than %d", n, maxFrame)
	}
	if n == 0 {
		return nil, nil
	}
	frame := make([]byte, min(n, frameStep))
	if _, err := io.ReadFull(r, frame); err != nil {
		return nil, cut(err)
	}
	for len(frame) < n {
		have := len(frame)
		frame = append(frame, make([]byte, min(n-have, max(have, frameStep)))...)
		if _, err := io.ReadFull(r, frame[have:]); err != nil {
			return nil, cut(err)
		}
	}
	return frame, nil
}

// cut makes an end in the middle of something of an end of file.
func cut(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
