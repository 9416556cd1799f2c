package record

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Codec is a compression of record batches, by its number on the wire.
type Codec int8

// The codecs of Kafka.
const (
	CodecNone Codec = iota
	CodecGzip
	CodecSnappy
	CodecLZ4
	CodecZstd
	codecEnd
)

// String is the codec's name as in the topic config compression.type.
func (c Codec) String() string {
	if c < 0 || c >= codecEnd {
		return fmt.Sprintf("codec %d", int8(c))
	}
	return [...]string{"none", "gzip", "snappy", "lz4", "zstd"}[c]
}

// ErrCodec is returned for a codec that does not exist.
var ErrCodec = errors.New("record: unknown compression codec")

// ErrBomb is returned for records that take far more room than a producer
// would put into one batch once they are decompressed.
var ErrBomb = errors.New("record: decompressed records are too large")

const (
	// A batch may always grow to bombFloor bytes; beyond that by bombRatio,
	// and never over bombCeiling. It is read as a stream, so this bounds time
	// and not memory.
	bombFloor   = 32 << 20
	bombRatio   = 256
	bombCeiling = 512 << 20

	zstdWindow = 8 << 20 // the largest window that the format obliges a decoder to have
)

func bombLimit(compressed int) int64 {
	return min(max(bombFloor, bombRatio*int64(compressed)), bombCeiling)
}

// decompressor is a stream decoder that can be used again.
type decompressor interface {
	io.Reader
	start(src []byte) error
}

// decompressors that are not in use, by codec.
var decompressors = [codecEnd]*sync.Pool{
	CodecGzip:   {New: func() any { return new(gzipDecoder) }},
	CodecSnappy: {New: func() any { return new(snappyDecoder) }},
	CodecLZ4:    {New: func() any { return &lz4Decoder{Reader: lz4.NewReader(nil)} }},
	CodecZstd:   {New: func() any { return newZstdDecoder() }},
}

type gzipDecoder struct {
	src bytes.Reader
	gz  *gzip.Reader
}

func (d *gzipDecoder) start(src []byte) (err error) {
	d.src.Reset(src)
	if d.gz == nil {
		d.gz, err = gzip.NewReader(&d.src)
		return err
	}
	return d.gz.Reset(&d.src)
}

func (d *gzipDecoder) Read(p []byte) (int, error) { return d.gz.Read(p) }

type lz4Decoder struct {
	*lz4.Reader
	src bytes.Reader
}

func (d *lz4Decoder) start(src []byte) error { //nolint:unparam // other decoders read a header here
	d.src.Reset(src)
	d.Reset(&d.src)
	return nil
}

type zstdDecoder struct {
	*zstd.Decoder
	src bytes.Reader
}

func newZstdDecoder() *zstdDecoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(zstdWindow))
	if err != nil {
		panic("record: zstd options: " + err.Error())
	}
	return &zstdDecoder{Decoder: d}
}

func (d *zstdDecoder) start(src []byte) error {
	d.src.Reset(src)
	return d.Reset(&d.src)
}

// xerial begins the framing of snappy that Java clients use: 8 bytes of magic,
// two int32 versions, and then blocks, each after its int32 length.
var xerial = []byte{130, 'S', 'N', 'A', 'P', 'P', 'Y', 0}

// snappyDecoder reads both forms of snappy that Kafka clients send: blocks in
// the xerial framing, and one bare block.
type snappyDecoder struct {
	src    []byte
	framed bool
	block  []byte // decompressed
	rest   []byte // of block, not read yet
}

func (d *snappyDecoder) start(src []byte) error {
	d.framed = bytes.HasPrefix(src, xerial)
	if d.framed {
		if len(src) < 16 {
			return io.ErrUnexpectedEOF
		}
		src = src[16:]
	}
	d.src, d.rest = src, nil
	return nil
}

func (d *snappyDecoder) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		if len(d.src) == 0 {
			return 0, io.EOF
		}
		if err := d.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// next decompresses one block.
func (d *snappyDecoder) next() error {
	block := d.src
	if d.framed {
		if len(d.src) < 4 {
			return io.ErrUnexpectedEOF
		}
		n := int64(binary.BigEndian.Uint32(d.src))
		if n > int64(len(d.src)-4) {
			return io.ErrUnexpectedEOF
		}
		block = d.src[4 : 4+n]
		d.src = d.src[4+n:]
	} else {
		d.src = nil
	}
	// The format makes at most 64 bytes of 3, so a larger promise is a lie;
	// it is not worth an allocation.
	size, err := s2.DecodedLen(block)
	if err != nil {
		return err
	}
	if size > 22*len(block)+64 {
		return s2.ErrCorrupt
	}
	d.block, err = s2.Decode(d.block[:cap(d.block)], block)
	d.rest = d.block
	return err
}
