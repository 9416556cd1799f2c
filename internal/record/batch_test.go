package record_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"testing"

	"waybill/internal/record"
	"waybill/internal/record/recordtest"
)

var codecs = []record.Codec{record.CodecNone, record.CodecGzip, record.CodecSnappy, record.CodecLZ4, record.CodecZstd}

func TestBatchOfEachCodec(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			b := recordtest.Batch{Codec: codec, Time: 1000, Times: []int64{1000, 5000, 900},
				Values: [][]byte{bytes.Repeat([]byte("x"), 100_000), {}, []byte("z")}}.Encode()
			got, err := record.ParseBatch(b)
			if err != nil {
				t.Fatal(err)
			}
			got.Stamp(77, 5)
			if got, err = record.ParseBatch(got); err != nil {
				t.Fatalf("after stamping: %v", err)
			}
			if got.BaseOffset() != 77 || got.End() != 80 || got.LeaderEpoch() != 5 || got.Codec() != codec {
				t.Fatalf("base %d, end %d, epoch %d, codec %v", got.BaseOffset(), got.End(), got.LeaderEpoch(), got.Codec())
			}
			s, err := got.Survey()
			if err != nil || s.MinTimestamp != 900 || s.MaxTimestamp != 5000 || s.AllKeyed {
				t.Fatalf("%+v, %v", s, err)
			}
			off, ms, ok, err := got.FirstAt(1001, 0)
			if off != 78 || ms != 5000 || !ok || err != nil {
				t.Fatal(off, ms, ok, err)
			}
			if _, _, ok, err = got.FirstAt(5001, 0); ok || err != nil {
				t.Fatal(ok, err)
			}
			got.SetLogAppendTime(9999)
			if got, err = record.ParseBatch(got); err != nil {
				t.Fatal(err)
			}
			if s, err = got.Survey(); err != nil || s.MinTimestamp != 9999 {
				t.Fatalf("%+v, %v", s, err)
			}
		})
	}
}

func TestXerialSnappy(t *testing.T) {
	plain := recordtest.New("one", "two")
	b := append([]byte(nil), plain[:record.BatchHeaderLen]...)
	b = append(b, 130, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1)
	for _, part := range [][]byte{plain[61:66], plain[66:]} {
		block := recordtest.Compress(record.CodecSnappy, part)
		b = binary.BigEndian.AppendUint32(b, uint32(len(block)))
		b = append(b, block...)
	}
	b[22] = byte(record.CodecSnappy)
	if _, err := recordtest.Seal(b).Survey(); err != nil {
		t.Fatal(err)
	}
}

func TestParseBatchRefuses(t *testing.T) {
	good := func() []byte { return recordtest.New("one", "two", "three") }
	change := func(at int, v byte) []byte { b := good(); b[at] = v; return b }
	sealed := func(at int, v byte) []byte { return recordtest.Seal(change(at, v)) }
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"nothing":          {nil, record.ErrBatch},
		"a header cut off": {good()[:60], record.ErrBatch},
		"cut off":          {good()[:70], record.ErrBatch},
		"two batches":      {append(good(), good()...), record.ErrBatch},
		"negative length":  {change(8, 0x80), record.ErrBatch},
		"length too small": {change(11, 3), record.ErrBatch},
		"magic 1":          {change(16, 1), record.ErrBatchMagic},
		"magic 3":          {change(16, 3), record.ErrBatchMagic},
		"a flipped bit":    {change(70, 0xff), record.ErrBatchCRC},
		"count":            {sealed(60, 4), record.ErrBatch},
		"no records":       {recordtest.Batch{}.Encode(), record.ErrBatch},
		"last delta":       {sealed(26, 1), record.ErrBatch},
	} {
		if _, err := record.ParseBatch(c.b); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func TestSurveyRefuses(t *testing.T) {
	good := func() []byte { return recordtest.New("one", "two", "three") }
	sealed := func(at int, v byte) record.Batch { b := good(); b[at] = v; return recordtest.Seal(b) }
	for name, b := range map[string]record.Batch{
		"a record's length":      sealed(61, 2),
		"an offset delta":        sealed(64, 8),
		"a key length of -2":     sealed(65, 3),
		"a value beyond the end": sealed(66, 0x7e),
		"a record too few":       recordtest.Seal(good()[:70]),
		"a byte too many":        recordtest.Seal(append(good(), 0)),
		"codec 5":                sealed(22, 5),
		"not gzip":               sealed(22, 1),
		"not snappy":             sealed(22, 2),
		"not lz4":                sealed(22, 3),
		"not zstd":               sealed(22, 4),
	} {
		if _, err := b.Survey(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestDecompressionBombs(t *testing.T) {
	for _, codec := range []record.Codec{record.CodecGzip, record.CodecZstd} {
		b := recordtest.Batch{Codec: codec, Values: [][]byte{make([]byte, 40<<20)}}.Encode()
		if _, err := b.Survey(); !errors.Is(err, record.ErrBomb) {
			t.Errorf("%v, %d bytes: %v", codec, len(b), err)
		}
	}
}

func TestAddSequenceWraps(t *testing.T) {
	for _, c := range [][3]int32{{0, 1, 1}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 3, 1}} {
		if got := record.AddSequence(c[0], c[1]); got != c[2] {
			t.Errorf("%d + %d = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

func FuzzBatch(f *testing.F) {
	for _, codec := range codecs {
		f.Add([]byte(recordtest.Batch{Codec: codec, Values: [][]byte{[]byte("v"), nil}}.Encode()))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= record.BatchHeaderLen {
			b = recordtest.Seal(bytes.Clone(b)) // or the checksum keeps everything out
		}
		batch, err := record.ParseBatch(b)
		if err != nil {
			return
		}
		if s, err := batch.Survey(); err == nil {
			if _, ms, ok, err := batch.FirstAt(s.MaxTimestamp, batch.BaseOffset()); !ok || err != nil || ms != s.MaxTimestamp {
				t.Fatalf("largest timestamp %d is not found: %d %v %v", s.MaxTimestamp, ms, ok, err)
			}
		}
	})
}

func BenchmarkSurvey(b *testing.B) {
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			batch := recordtest.Batch{Codec: codec}
			for i := range 100 {
				batch.Values = append(batch.Values, fmt.Appendf(nil, "%01024d", i))
			}
			enc := batch.Encode()
			b.SetBytes(100 << 10)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := enc.Survey(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
