package bench

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
)

// maxAnswer bounds what a broker may say in one answer.
const maxAnswer = 256 << 20

const kafkaClientID = "waybill-bench"

// kafkaConn is a connection to one broker. Reading belongs to one goroutine and writing to
// one, which may be another.
type kafkaConn struct {
	net.Conn
	asked int32 // correlation id of the request that was written last
	heard int32 // and of the answer that was read last
	buf   []byte
}

func dialKafka(ctx context.Context, addr string) (*kafkaConn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &kafkaConn{Conn: c}, nil
}

// begin appends a request's length, to be set by end, and its header. The
// versions that are used have no tagged fields.
func (c *kafkaConn) begin(b []byte, key, version int16) []byte {
	c.asked++
	b = binary.BigEndian.AppendUint32(b, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = binary.BigEndian.AppendUint32(b, uint32(c.asked))
	return appendString(b, kafkaClientID)
}

// end sets the length of the request that b is.
func (c *kafkaConn) end(b []byte) []byte {
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// answer reads the next answer, without its header; it is valid until the next.
func (c *kafkaConn) answer() ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint32(head[:])) - 4
	if size < 0 || size > maxAnswer {
		return nil, fmt.Errorf("the broker announces an answer of %d bytes", size)
	}
	c.heard++
	if id := int32(binary.BigEndian.Uint32(head[4:])); id != c.heard {
		return nil, fmt.Errorf("the broker answers request %d, not %d", id, c.heard)
	}
	if cap(c.buf) < size {
		c.buf = make([]byte, size+size/2)
	}
	_, err := io.ReadFull(c, c.buf[:size])
	return c.buf[:size], err
}

// close closes the connection; that it ended is told by reads and writes.
func (c *kafkaConn) close() { _ = c.Close() }

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}
