package kafka

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"math"
	"runtime"
	"testing"
	"testing/iotest"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// FuzzRequest feeds a frame, in halves, through all that a connection does
// before a handler sees the request, in every API and version.
func FuzzRequest(f *testing.F) {
	for _, a := range apis() {
		for version := a.min; version <= a.max; version++ {
			req := kmsg.RequestForKey(a.key)
			req.SetVersion(version)
			f.Add(frameOf(req, 1))
		}
	}
	f.Add([]byte{0, 0, 0, 15, 0, 18, 0, 3, 0, 0, 0, 1, 0, 0, 255, 255, 255, 255, 15})
	s := NewServer(Config{Settings: DefaultSettings()})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r *request
		var err error
		// What other goroutines of the test allocate counts too, so the
		// least of a few tries is what this input takes.
		least := uint64(math.MaxUint64)
		for limit := 1<<20 + 300*uint64(len(b)); least > limit; {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r, err = decodeFrame(s, b)
			runtime.ReadMemStats(&after)
			grown := after.TotalAlloc - before.TotalAlloc
			if grown >= least && grown > limit {
				t.Fatalf("%d bytes of input took %d bytes of memory", len(b), grown)
			}
			least = min(least, grown)
		}
		if err != nil || r.body == nil {
			return
		}
		again := kmsg.RequestForKey(r.key)
		again.SetVersion(r.version)
		if err := again.ReadFrom(r.body.AppendTo(nil)); err != nil {
			t.Fatalf("%s version %d does not survive encoding: %v", kmsg.NameForKey(r.key), r.version, err)
		}
	})
}

func noLimit(int) error { return nil }

func decodeFrame(s *Server, b []byte) (*request, error) {
	br := bufio.NewReader(iotest.HalfReader(bytes.NewReader(b)))
	frame, err := readFrame(br, 1<<20, 0, new(frames), noLimit)
	if err != nil {
		return nil, err
	}
	return s.decode(&conn{s: s}, frame)
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte{0, 0, 0, 3, 1, 2, 3})
	f.Add([]byte{0x7f, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		br := bufio.NewReader(iotest.OneByteReader(bytes.NewReader(b)))
		frame, err := readFrame(br, 1<<30, 0, new(frames), noLimit)
		if err == nil && (len(frame) != int(binary.BigEndian.Uint32(b)) || !bytes.Equal(frame, b[4:4+len(frame)])) {
			t.Fatal("the frame is not what was sent")
		}
	})
}
