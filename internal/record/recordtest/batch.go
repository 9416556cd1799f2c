// Package recordtest makes record batches for tests.
package recordtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"waybill/internal/record"
)

// Batch describes a batch. The zero value of a field means its usual value.
type Batch struct {
	Codec      record.Codec
	Time       int64   // timestamp of the first record, ms
	Times      []int64 // timestamps of all records; default Time
	Values     [][]byte
	Keys       [][]byte // default: no keys
	Attributes int16    // in addition to the codec
	Idempotent bool
	ProducerID int64
	Epoch      int16
	Sequence   int32
}

// New encodes a batch with the given values.
func New(values ...string) record.Batch {
	b := Batch{}
	for _, v := range values {
		b.Values = append(b.Values, []byte(v))
	}
	return b.Encode()
}

// N encodes a batch of n records from an idempotent producer.
func N(n int, producer int64, epoch int16, sequence int32) record.Batch {
	b := Batch{Idempotent: true, ProducerID: producer, Epoch: epoch, Sequence: sequence}
	for i := range n {
		b.Values = append(b.Values, fmt.Appendf(nil, "%d/%d/%d", producer, epoch, record.AddSequence(sequence, int32(i))))
	}
	return b.Encode()
}

// Encode returns the batch as a producer sends it.
func (b Batch) Encode() record.Batch {
	maxTime := b.Time
	var records []byte
	for i, value := range b.Values {
		ms := b.Time
		if b.Times != nil {
			ms = b.Times[i]
		}
		maxTime = max(maxTime, ms)
		var key []byte
		if b.Keys != nil {
			key = b.Keys[i]
		}
		records = appendRecord(records, ms-b.Time, i, key, value)
	}
	out := make([]byte, record.BatchHeaderLen)
	out[16] = 2
	binary.BigEndian.PutUint16(out[21:], uint16(b.Attributes)|uint16(b.Codec))
	binary.BigEndian.PutUint32(out[23:], uint32(len(b.Values)-1))
	binary.BigEndian.PutUint64(out[27:], uint64(b.Time))
	binary.BigEndian.PutUint64(out[35:], uint64(maxTime))
	producer, epoch, sequence := int64(-1), int16(-1), int32(-1)
	if b.Idempotent {
		producer, epoch, sequence = b.ProducerID, b.Epoch, b.Sequence
	}
	binary.BigEndian.PutUint64(out[43:], uint64(producer))
	binary.BigEndian.PutUint16(out[51:], uint16(epoch))
	binary.BigEndian.PutUint32(out[53:], uint32(sequence))
	binary.BigEndian.PutUint32(out[57:], uint32(len(b.Values)))
	out = append(out, Compress(b.Codec, records)...)
	return Seal(out)
}

// Seal corrects the length and the checksum of a batch.
func Seal(b []byte) record.Batch {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

func appendRecord(b []byte, time int64, offset int, key, value []byte) []byte {
	r := []byte{0}
	r = binary.AppendVarint(r, time)
	r = binary.AppendVarint(r, int64(offset))
	for _, p := range [][]byte{key, value} {
		if p == nil {
			r = binary.AppendVarint(r, -1)
			continue
		}
		r = binary.AppendVarint(r, int64(len(p)))
		r = append(r, p...)
	}
	r = binary.AppendVarint(r, 1) // one header
	r = append(binary.AppendVarint(r, 1), 'h')
	r = binary.AppendVarint(r, -1)
	b = binary.AppendVarint(b, int64(len(r)))
	return append(b, r...)
}

// Compress compresses records.
func Compress(codec record.Codec, p []byte) []byte {
	var buf bytes.Buffer
	var err error
	switch codec {
	case record.CodecGzip:
		w := gzip.NewWriter(&buf)
		_, err = w.Write(p)
		err = firstError(err, w.Close())
	case record.CodecSnappy:
		buf.Write(s2.EncodeSnappy(nil, p))
	case record.CodecLZ4:
		w := lz4.NewWriter(&buf)
		_, err = w.Write(p)
		err = firstError(err, w.Close())
	case record.CodecZstd:
		var w *zstd.Encoder
		if w, err = zstd.NewWriter(&buf); err == nil {
			_, err = w.Write(p)
			err = firstError(err, w.Close())
		}
	default:
		return p
	}
	if err != nil {
		panic(err)
	}
	return buf.Bytes()
}

func firstError(a, b error) error {
	if a != nil {
		return a
	}
	return b
}
