// Package record defines what Waybill stores: the identities of logs and
// positions, the header of every entry, and the stored form of an AMQP message.
//
// # Positions
//
// A log is the sequence of entries of one raft group. Two counters run through
// it and are two Go types, so that they cannot be mixed up:
//
//   - [Index] counts raft entries. It starts at 2: index 1 is the imaginary
//     entry that every log begins with.
//   - [Offset] counts messages (AMQP) or records (Kafka). One entry carries
//     many of them. The leader stamps the first offset of an entry into its
//     header when it builds the entry, so an offset never depends on what is
//     applied.
//
// # Entry layout
//
// The data of every entry that Waybill proposes begins with a [Header]:
//
//	byte  0      format version (1)
//	bytes 1–4    count   uint32, little endian: offsets that the entry takes
//	bytes 5–12   base    uint64, little endian: offset of the first of them
//	bytes 13–    payload, which only the log's machine understands
//
// An entry without messages has count 0 and the base that the next message
// will get, so bases never decrease along a log. Raft's own entries (an empty
// one at the start of a term, a membership change) carry no header.
package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// LogID names a log, and the raft group that replicates it, on every node. The
// catalog hands them out in increasing order and never reuses one.
type LogID uint64

// Index is the position of an entry in its raft log.
type Index uint64

// Offset is the position of a message or record in its log: dense, starting
// at 0. For a topic partition it is the Kafka offset.
type Offset int64

// HeaderLen is the size of an encoded [Header] in bytes.
const HeaderLen = 13

const headerVersion = 1

// ErrHeader is returned for entry data that does not begin with a valid header.
var ErrHeader = errors.New("record: not an entry header")

// Header says which offsets an entry holds.
type Header struct {
	Base  Offset // offset of the first message; the next free one when Count is 0
	Count uint32 // number of offsets that the entry takes
}

// End is the offset after the last one of the entry.
func (h Header) End() Offset { return h.Base + Offset(h.Count) }

// Append appends the encoded header to b.
func (h Header) Append(b []byte) []byte {
	b = append(b, headerVersion)
	b = binary.LittleEndian.AppendUint32(b, h.Count)
	return binary.LittleEndian.AppendUint64(b, uint64(h.Base))
}

// Put writes the encoded header over the first [HeaderLen] bytes of b.
func (h Header) Put(b []byte) { h.Append(b[:0:HeaderLen]) }

// ParseHeader splits entry data into its header and the payload, which aliases
// data.
func ParseHeader(data []byte) (Header, []byte, error) {
	if len(data) < HeaderLen {
		return Header{}, nil, fmt.Errorf("%w: %d bytes", ErrHeader, len(data))
	}
	if data[0] != headerVersion {
		return Header{}, nil, fmt.Errorf("%w: version %d", ErrHeader, data[0])
	}
	h := Header{
		Count: binary.LittleEndian.Uint32(data[1:]),
		Base:  Offset(binary.LittleEndian.Uint64(data[5:])),
	}
	if h.Base < 0 || h.End() < h.Base {
		return Header{}, nil, fmt.Errorf("%w: base %d, count %d", ErrHeader, h.Base, h.Count)
	}
	return h, data[HeaderLen:], nil
}
