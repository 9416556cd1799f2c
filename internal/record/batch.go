package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Batch is one Kafka record batch of magic 2, as on the wire. The offset and
// the leader epoch lie outside of its checksum, so that a broker can stamp
// them without touching what the producer sent.
//
// Layout, integers big endian (Kafka's protocol guide, "Record Batch"):
//
//	 0  int64  base offset
//	 8  int32  length of everything after this field
//	12  int32  partition leader epoch
//	16  int8   magic, 2
//	17  uint32 CRC32C of everything after this field
//	21  int16  attributes: bits 0–2 codec, 3 log append time, 4 transactional, 5 control, 6 delete horizon
//	23  int32  last offset delta
//	27  int64  base timestamp
//	35  int64  max timestamp
//	43  int64  producer id, -1 without
//	51  int16  producer epoch
//	53  int32  base sequence
//	57  int32  number of records
//	61  records, compressed together
type Batch []byte

// BatchHeaderLen is the size of a batch without its records.
const BatchHeaderLen = 61

const (
	batchPrefix   = 12 // base offset and length
	batchMagicAt  = 16
	batchCRCAt    = 17
	batchAttrsAt  = 21
	attrCodec     = 0x07
	attrLogAppend = 0x08
	attrTxn       = 0x10
	attrControl   = 0x20
	attrUnused    = ^0x3f // the delete horizon is for brokers only
)

// ErrBatch is returned for bytes that are not a record batch: cut off, of
// another magic, or with counts that contradict each other.
var ErrBatch = errors.New("record: not a record batch")

// ErrBatchMagic is returned for a batch of an older format.
var ErrBatchMagic = fmt.Errorf("%w of magic 2", ErrBatch)

// ErrBatchCRC is returned for a batch that does not match its checksum.
var ErrBatchCRC = errors.New("record: batch does not match its checksum")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// NextBatch splits b after its first batch. Only the length is checked: it is
// meant for bytes that were checked before.
func NextBatch(b []byte) (first Batch, rest []byte, err error) {
	if len(b) < BatchHeaderLen {
		return nil, nil, fmt.Errorf("%w: %d bytes", ErrBatch, len(b))
	}
	n := int64(int32(binary.BigEndian.Uint32(b[8:]))) + batchPrefix
	if n < BatchHeaderLen || n > int64(len(b)) {
		return nil, nil, fmt.Errorf("%w: length %d of %d bytes", ErrBatch, n, len(b))
	}
	return Batch(b[:n:n]), b[n:], nil
}

// ParseBatch checks that b is exactly one batch whose header is sound and
// whose checksum is right. The records are not looked at, see [Batch.Records].
func ParseBatch(b []byte) (Batch, error) {
	// The magic is at the same place in all formats; the older ones are shorter.
	if len(b) > batchMagicAt && b[batchMagicAt] < 2 {
		return nil, fmt.Errorf("%w: magic %d", ErrBatchMagic, b[batchMagicAt])
	}
	batch, rest, err := NextBatch(b)
	switch {
	case err != nil:
		return nil, err
	case len(rest) > 0:
		return nil, fmt.Errorf("%w: %d bytes after the first one", ErrBatch, len(rest))
	case batch[batchMagicAt] != 2:
		return nil, fmt.Errorf("%w: magic %d", ErrBatchMagic, batch[batchMagicAt])
	case batch.crc() != batch.sum():
		return nil, ErrBatchCRC
	case batch.Count() <= 0 || batch.LastOffsetDelta() != batch.Count()-1:
		return nil, fmt.Errorf("%w: %d records, last offset delta %d", ErrBatch, batch.Count(), batch.LastOffsetDelta())
	}
	return batch, nil
}

func (b Batch) sum() uint32 { return crc32.Checksum(b[batchAttrsAt:], castagnoli) }
func (b Batch) crc() uint32 { return binary.BigEndian.Uint32(b[batchCRCAt:]) }

// BaseOffset is the offset of the first record.
func (b Batch) BaseOffset() Offset { return Offset(binary.BigEndian.Uint64(b)) }

// End is the offset after the last record.
func (b Batch) End() Offset { return b.BaseOffset() + Offset(b.LastOffsetDelta()) + 1 }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() int32 { return int32(binary.BigEndian.Uint32(b[12:])) }

// Attributes are the flags of the batch.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[batchAttrsAt:])) }

// LastOffsetDelta is the offset of the last record relative to the first.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[23:])) }

// BaseTimestamp is what the records' timestamps are relative to, in ms.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[27:])) }

// MaxTimestamp is the largest timestamp of a record, in ms; the time of the
// append when IsLogAppendTime.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[35:])) }

// ProducerID is -1 for a producer that is not idempotent.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[43:])) }

// ProducerEpoch is the producer's epoch.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[51:])) }

// BaseSequence is the producer's sequence number of the first record.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[53:])) }

// LastSequence is the producer's sequence number of the last record.
func (b Batch) LastSequence() int32 { return AddSequence(b.BaseSequence(), b.LastOffsetDelta()) }

// Count is the number of records.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[57:])) }

// Codec is how the records are compressed.
func (b Batch) Codec() Codec { return Codec(b.Attributes() & attrCodec) }

// IsLogAppendTime reports whether all records have the time of their append.
func (b Batch) IsLogAppendTime() bool { return b.Attributes()&attrLogAppend != 0 }

// IsTransactional reports whether the batch is part of a transaction.
func (b Batch) IsTransactional() bool { return b.Attributes()&attrTxn != 0 }

// IsControl reports whether the batch is a transaction marker.
func (b Batch) IsControl() bool { return b.Attributes()&attrControl != 0 }

// HasUnknownAttributes reports whether flags are set that no producer may set.
func (b Batch) HasUnknownAttributes() bool { return int(b.Attributes())&attrUnused != 0 }

// Stamp writes what the leader decides when it appends the batch.
func (b Batch) Stamp(base Offset, leaderEpoch int32) {
	binary.BigEndian.PutUint64(b, uint64(base))
	binary.BigEndian.PutUint32(b[12:], uint32(leaderEpoch))
}

// SetLogAppendTime gives all records the time ms, and corrects the checksum.
func (b Batch) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[batchAttrsAt:], uint16(b.Attributes())|attrLogAppend)
	b.SetMaxTimestamp(ms)
}

// SetMaxTimestamp corrects the largest timestamp and the checksum.
func (b Batch) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[35:], uint64(ms))
	binary.BigEndian.PutUint32(b[batchCRCAt:], b.sum())
}

// AddSequence is the sequence number n records after s: numbers wrap from
// MaxInt32 to 0.
func AddSequence(s, n int32) int32 {
	return int32((int64(s) + int64(n)) & math.MaxInt32)
}
