package amqp

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

func frameOf(kind byte, channel uint16, payload string) []byte {
	b, at := beginFrame(nil, kind, channel)
	return endFrame(append(b, payload...), at)
}

func readerOf(r io.Reader) *frameReader {
	f := newFrameReader(r, newBlocks(1024), minFrameMax)
	return &f
}

func TestFrameReaderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
		code uint16
	}{
		"end of stream":       {in: "", want: io.EOF},
		"cut off in header":   {in: "\x01\x00", want: io.ErrUnexpectedEOF},
		"cut off in payload":  {in: "\x01\x00\x00\x00\x00\x00\x05ab", want: io.ErrUnexpectedEOF},
		"cut off at end":      {in: "\x01\x00\x00\x00\x00\x00\x02ab", want: io.ErrUnexpectedEOF},
		"other end mark":      {in: "\x01\x00\x00\x00\x00\x00\x02abX", code: spec.FrameError},
		"other end of a body": {in: "\x03\x00\x00\x00\x00\x00\x02abX", code: spec.FrameError},
		"unknown type":        {in: "\x09\x00\x00\x00\x00\x00\x00\xce", code: spec.FrameError},
		"4 GiB":               {in: "\x01\x00\x00\xff\xff\xff\xff", code: spec.FrameError},
		"2 GiB body":          {in: "\x03\x00\x00\x80\x00\x00\x00", code: spec.FrameError},
		"above 8 KiB":         {in: "\x01\x00\x00\x00\x00\x1f\xf9", code: spec.FrameError},
	} {
		f := readerOf(strings.NewReader(c.in))
		h, err := f.next()
		if err == nil {
			if h.kind == spec.FrameBody {
				_, err = f.appendBody(nil, h, h.size, nil)
			} else {
				_, err = f.payload(h)
			}
		}
		var x *exception
		switch {
		case c.want != nil && !errors.Is(err, c.want):
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		case c.code != 0 && (!errors.As(err, &x) || x.code != c.code):
			t.Errorf("%s: error %v, want code %d", name, err, c.code)
		}
	}
}

func TestFrameReaderMemoryFollowsReceivedBytes(t *testing.T) {
	f := readerOf(strings.NewReader("\x03\x00\x01\x00\xff\xff\x00" + strings.Repeat("x", 5000)))
	f.maxBody = 1 << 24
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	h, err := f.next()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.appendBody(nil, h, 1<<24, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("error %v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<10 {
		t.Errorf("%d bytes allocated for 5000 that were received", n)
	}
}

func TestContentIsSplit(t *testing.T) {
	m := record.Message{Properties: []byte{0, 0}, Body: bytes.Repeat([]byte("0123456789"), 1000)}
	f := readerOf(bytes.NewReader(appendContent(nil, 7, 4096, &m)))
	h, err := f.next()
	if err != nil || h.kind != spec.FrameHeader || h.channel != 7 {
		t.Fatalf("header frame: %+v, %v", h, err)
	}
	if err := f.skip(h); err != nil {
		t.Fatal(err)
	}
	var body []byte
	for len(body) < len(m.Body) {
		h, err := f.next()
		if err != nil || h.kind != spec.FrameBody || h.size+frameOverhead > 4096 {
			t.Fatalf("body frame: %+v, %v", h, err)
		}
		if body, err = f.appendBody(body, h, len(m.Body)-len(body), nil); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(body, m.Body) {
		t.Error("the body changed on its way")
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(frameOf(spec.FrameMethod, 0, "\x00\x0a\x00\x32"))
	f.Add(append(frameOf(spec.FrameHeader, 1, strings.Repeat("h", 2000)), frameOf(spec.FrameBody, 1, "body")...))
	f.Add(heartbeat)
	f.Fuzz(func(t *testing.T, b []byte) {
		// The same bytes at once and one by one are the same frames.
		want, wantErr := readAll(readerOf(bytes.NewReader(b)))
		got, gotErr := readAll(readerOf(iotest.OneByteReader(bytes.NewReader(b))))
		if !bytes.Equal(got, want) || gotErr.Error() != wantErr.Error() {
			t.Fatalf("%q %v, then %q %v", want, wantErr, got, gotErr)
		}
	})
}

// readAll reads frames until the first error and returns them, encoded again.
func readAll(f *frameReader) (all []byte, err error) {
	for {
		h, err := f.next()
		if err != nil {
			return all, err
		}
		var p []byte
		if h.kind == spec.FrameBody {
			p, err = f.appendBody(nil, h, h.size, nil)
		} else {
			p, err = f.payload(h)
		}
		if err != nil {
			return all, err
		}
		all = append(all, frameOf(h.kind, h.channel, string(p))...)
	}
}
