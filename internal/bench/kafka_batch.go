package bench

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A record batch is, big endian:
//
//	 0  int64   base offset
//	 8  int32   bytes that follow
//	12  int32   leader epoch
//	16  int8    magic, 2
//	17  uint32  CRC-32C of what follows
//	21  int16   attributes; the lower 3 bits are the codec
//	23  int32   offset of the last record, relative
//	27  int64   time of the first record, milliseconds
//	35  int64   latest time
//	43  int64   producer id
//	51  int16   producer epoch
//	53  int32   sequence number of the first record
//	57  int32   number of records
//	61          records
//
// and a record, of varints: its length, int8 attributes, relative time, relative offset,
// length of the key or -1, key, length of the value, value, number of headers.
const batchHeader = 61

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// codec is a compression; nil is none.
type codec struct{ compressor kgo.Compressor }

var codecs = map[string]codec{
	"none": {}, "gzip": newCodec(kgo.GzipCompression()), "snappy": newCodec(kgo.SnappyCompression()),
	"lz4": newCodec(kgo.Lz4Compression()), "zstd": newCodec(kgo.ZstdCompression()),
}

func newCodec(c kgo.CompressionCodec) codec {
	compressor, err := kgo.DefaultCompressor(c)
	if err != nil {
		panic(err) // it is one of that library's own
	}
	return codec{compressor}
}

// batchWriter makes record batches.
type batchWriter struct {
	producerID    int64
	producerEpoch int16
	body          []byte
	codec         codec
	raw           []byte // records before they are compressed
	squeezed      bytes.Buffer
}

// append appends a batch with a record for each of the times.
func (w *batchWriter) append(b []byte, sequence int32, times []int64) []byte {
	at, first := len(b), times[0]/1e6
	last := times[len(times)-1] / 1e6
	b = binary.BigEndian.AppendUint64(b, 0)
	b = binary.BigEndian.AppendUint32(b, 0) // length, below
	b = binary.BigEndian.AppendUint32(b, 1<<32-1)
	b = append(b, 2, 0, 0, 0, 0) // magic, checksum below
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(times)-1))
	b = binary.BigEndian.AppendUint64(b, uint64(first))
	b = binary.BigEndian.AppendUint64(b, uint64(last))
	b = binary.BigEndian.AppendUint64(b, uint64(w.producerID))
	b = binary.BigEndian.AppendUint16(b, uint16(w.producerEpoch))
	b = binary.BigEndian.AppendUint32(b, uint32(sequence))
	b = binary.BigEndian.AppendUint32(b, uint32(len(times)))
	if w.codec.compressor == nil {
		b = w.records(b, first, times)
	} else {
		w.raw = w.records(w.raw[:0], first, times)
		w.squeezed.Reset()
		data, kind := w.codec.compressor.Compress(&w.squeezed, w.raw)
		b = append(b, data...)
		binary.BigEndian.PutUint16(b[at+21:], uint16(kind))
	}
	binary.BigEndian.PutUint32(b[at+8:], uint32(len(b)-at-12))
	binary.BigEndian.PutUint32(b[at+17:], crc32.Checksum(b[at+21:], castagnoli))
	return b
}

func (w *batchWriter) records(b []byte, first int64, times []int64) []byte {
	var head [32]byte
	for i, t := range times {
		h := append(head[:0], 0) // attributes
		h = binary.AppendVarint(h, t/1e6-first)
		h = binary.AppendVarint(h, int64(i))
		h = binary.AppendVarint(h, -1) // no key
		h = binary.AppendVarint(h, int64(len(w.body)))
		b = binary.AppendVarint(b, int64(len(h)+len(w.body)+1))
		b = append(b, h...)
		at := len(b)
		b = append(b, w.body...)
		binary.BigEndian.PutUint64(b[at:], uint64(t))
		b = append(b, 0) // no headers
	}
	return b
}

var errBatch = errors.New("malformed record batch")

// batchSpan is what a batch's header says.
type batchSpan struct {
	base, next int64 // offsets of the first record, and behind the last
	codec      kgo.CompressionCodecType
	count      int
	records    []byte
}

// splitBatch takes the first batch off b; ok is false when it is cut off, as the last
// one of a fetch may be.
func splitBatch(b []byte) (s batchSpan, rest []byte, ok bool, err error) {
	if len(b) < batchHeader {
		return s, nil, false, nil
	}
	size := int64(binary.BigEndian.Uint32(b[8:])) + 12
	if size < batchHeader || b[16] != 2 {
		return s, nil, false, fmt.Errorf("%w: %d bytes, magic %d", errBatch, size, b[16])
	}
	if size > int64(len(b)) {
		return s, nil, false, nil
	}
	s.base = int64(binary.BigEndian.Uint64(b))
	s.next = s.base + int64(binary.BigEndian.Uint32(b[23:])) + 1
	s.codec = kgo.CompressionCodecType(b[22] & 7)
	s.count = int(int32(binary.BigEndian.Uint32(b[57:])))
	s.records = b[batchHeader:size]
	return s, b[size:], true, nil
}

// appendTimes appends the times of the records from an offset on.
func (s *batchSpan) appendTimes(times []int64, from int64, inflate kgo.Decompressor) ([]int64, error) {
	b := s.records
	if s.codec != kgo.CodecNone {
		var err error
		if b, err = inflate.Decompress(b, s.codec); err != nil {
			return times, err
		}
	}
	for range s.count {
		size, n := binary.Varint(b)
		if n <= 0 || size < 1 || size > int64(len(b)-n) {
			return times, errBatch
		}
		record := b[n : n+int(size)]
		b = b[n+int(size):]
		offset, t, err := parseRecord(record[1:])
		if err != nil {
			return times, err
		}
		if s.base+offset >= from {
			times = append(times, t)
		}
	}
	return times, nil
}

// parseRecord returns the relative offset of a record, and the time in its value.
func parseRecord(b []byte) (offset, t int64, err error) {
	var fields [3]int64 // time, offset, length of the key
	for i := range fields {
		v, n := binary.Varint(b)
		if n <= 0 {
			return 0, 0, errBatch
		}
		fields[i], b = v, b[n:]
	}
	if key := fields[2]; key > 0 {
		if key > int64(len(b)) {
			return 0, 0, errBatch
		}
		b = b[key:]
	}
	size, n := binary.Varint(b)
	if n <= 0 || size < minSize || int64(len(b)-n) < size {
		return 0, 0, fmt.Errorf("%w: its record is not one of ours", errBatch)
	}
	return fields[1], int64(binary.BigEndian.Uint64(b[n:])), nil
}
