package record

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Record is what a broker has to know of one record in a batch.
type Record struct {
	OffsetDelta int32
	Timestamp   int64 // ms
	HasKey      bool
}

// Records walks the records of a batch. It decompresses them as a stream, in
// bounded memory, and checks all lengths.
type Records struct {
	batch Batch
	src   decompressor // nil when the records are not compressed
	buf   []byte       // what can be parsed; all of the records when src is nil
	room  []byte       // behind buf when src is set
	left  int64        // bytes that src may still produce
	eof   bool         // src has ended
	n     int32        // records walked
	err   error
}

// readAhead is how much is decompressed at a time.
const readAhead = 32 << 10

// rooms of readAhead bytes that are not in use.
var rooms = sync.Pool{New: func() any { return new([readAhead]byte) }}

// maxHeaders is the largest number of headers that a record may have.
const maxHeaders = 1 << 20

// Records starts a walk. Close ends it.
func (b Batch) Records() (*Records, error) {
	r := &Records{batch: b, buf: b[BatchHeaderLen:]}
	codec := b.Codec()
	if codec == CodecNone {
		return r, nil
	}
	if codec >= codecEnd {
		return nil, fmt.Errorf("%w %d", ErrCodec, int8(codec))
	}
	r.src = decompressors[codec].Get().(decompressor)
	r.left = bombLimit(len(r.buf))
	if err := r.src.start(r.buf); err != nil {
		decompressors[codec].Put(r.src)
		return nil, fmt.Errorf("%w: %s: %w", ErrBatch, codec, err)
	}
	r.room = rooms.Get().(*[readAhead]byte)[:]
	r.buf = r.room[:0]
	return r, nil
}

// Close gives the walk's resources back.
func (r *Records) Close() {
	if r.src != nil {
		decompressors[r.batch.Codec()].Put(r.src)
		rooms.Put((*[readAhead]byte)(r.room))
		r.src, r.room = nil, nil
	}
	r.buf = nil
}

// Next returns the next record; io.EOF after the last one, when nothing is
// left over. Any other error wraps ErrBatch or ErrBomb.
func (r *Records) Next() (Record, error) {
	if r.n == r.batch.Count() {
		if r.more(1) {
			return Record{}, fmt.Errorf("%w: bytes after the last record", ErrBatch)
		}
		if r.err != nil {
			return Record{}, r.failure()
		}
		return Record{}, io.EOF
	}
	size := r.varint()
	end := r.taken() + size
	r.skip(1) // attributes, unused
	rec := Record{Timestamp: r.batch.BaseTimestamp() + r.varint()}
	rec.OffsetDelta = int32(r.varint())
	rec.HasKey = r.bytes()
	r.bytes() // the value
	r.headers()
	if r.err == nil && (size < 0 || r.taken() != end) {
		r.err = fmt.Errorf("length %d does not fit its contents", size)
	}
	if r.err != nil {
		return Record{}, r.failure()
	}
	if r.batch.IsLogAppendTime() {
		rec.Timestamp = r.batch.MaxTimestamp()
	}
	r.n++
	return rec, nil
}

func (r *Records) failure() error {
	if r.err == ErrBomb {
		return r.err
	}
	return fmt.Errorf("%w: record %d: %w", ErrBatch, r.n, r.err)
}

// taken is the number of bytes that were parsed, up to a constant.
func (r *Records) taken() int64 {
	if r.src == nil {
		return -int64(len(r.buf))
	}
	return -r.left - int64(len(r.buf))
}

// more makes sure that n bytes (at most readAhead) can be parsed.
func (r *Records) more(n int) bool {
	if len(r.buf) >= n {
		return true
	}
	for tries := 0; r.src != nil && r.err == nil && !r.eof && len(r.buf) < n; tries++ {
		have := copy(r.room, r.buf)
		k, err := r.src.Read(r.room[have:])
		r.buf = r.room[:have+k]
		r.left -= int64(k)
		switch {
		case r.left < 0:
			r.err = ErrBomb
		case err == io.EOF:
			r.eof = true
		case err != nil:
			r.err = err
		case tries > 100:
			r.err = io.ErrNoProgress
		}
	}
	return len(r.buf) >= n
}

// fail notes the first error; everything reads as zero from then on.
func (r *Records) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
	r.buf = nil
}

func (r *Records) varint() int64 {
	r.more(binary.MaxVarintLen64)
	v, n := binary.Varint(r.buf)
	if n <= 0 {
		r.fail("cut off")
		return 0
	}
	r.buf = r.buf[n:]
	return v
}

func (r *Records) skip(n int64) {
	for n > int64(len(r.buf)) {
		n -= int64(len(r.buf))
		r.buf = r.buf[len(r.buf):]
		if r.err != nil || !r.more(1) {
			r.fail("cut off")
			return
		}
	}
	r.buf = r.buf[n:]
}

// bytes skips over a key or a value; false when it is null.
func (r *Records) bytes() bool {
	n := r.varint()
	if n < -1 {
		r.fail("length %d", n)
		return false
	}
	r.skip(max(n, 0))
	return n >= 0
}

func (r *Records) headers() {
	n := r.varint()
	if n < 0 || n > maxHeaders {
		r.fail("%d headers", n)
	}
	for ; n > 0 && r.err == nil; n-- {
		if !r.bytes() && r.err == nil {
			r.fail("a header without a key")
		}
		r.bytes()
	}
}

// Survey is what a walk over all records of a batch finds.
type Survey struct {
	MinTimestamp, MaxTimestamp int64 // ms
	AllKeyed                   bool  // every record has a key
}

// Survey walks all records and checks that they are sound and dense.
func (b Batch) Survey() (Survey, error) {
	r, err := b.Records()
	if err != nil {
		return Survey{}, err
	}
	defer r.Close()
	var s Survey
	for i := int32(0); ; i++ {
		rec, err := r.Next()
		if err == io.EOF {
			return s, nil
		}
		if err != nil {
			return s, err
		}
		if rec.OffsetDelta != i {
			return s, fmt.Errorf("%w: record %d has offset delta %d", ErrBatch, i, rec.OffsetDelta)
		}
		if i == 0 {
			s = Survey{MinTimestamp: rec.Timestamp, MaxTimestamp: rec.Timestamp, AllKeyed: true}
		}
		s.MinTimestamp = min(s.MinTimestamp, rec.Timestamp)
		s.MaxTimestamp = max(s.MaxTimestamp, rec.Timestamp)
		s.AllKeyed = s.AllKeyed && rec.HasKey
	}
}

// FirstAt returns the first record at or after the offset from with a timestamp at or after ms.
func (b Batch) FirstAt(ms int64, from Offset) (off Offset, timestamp int64, ok bool, err error) {
	r, err := b.Records()
	if err != nil {
		return 0, 0, false, err
	}
	defer r.Close()
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return 0, 0, false, nil
		}
		if err != nil {
			return 0, 0, false, err
		}
		if at := b.BaseOffset() + Offset(rec.OffsetDelta); at >= from && rec.Timestamp >= ms {
			return at, rec.Timestamp, true, nil
		}
	}
}
