package transport

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"reflect"
	"runtime"
	"testing"
	"testing/iotest"
)

// FuzzHello reads anything as a hello; one that is understood comes out the
// same after it was written and read again.
func FuzzHello(f *testing.F) {
	f.Add((&hello{version: 1, oldest: 1, kind: kindStream, who: Identity{"c", 1, 2, "s"}, to: 3, service: "queues"}).encode())
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\x00\x01\x00\x01\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		h, err := readHello(iotest.HalfReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		again, err := readHello(bytes.NewReader(h.encode()))
		if len(h.who.Cluster)+len(h.who.Store)+len(h.service) > maxHello/4 {
			return // it is shortened when it is written
		}
		if err != nil || !reflect.DeepEqual(h, again) {
			t.Errorf("%+v became %+v, %v", h, again, err)
		}
		h.common()
	})
}

// FuzzFrames reads anything as frames, and as calls. Memory grows with what is
// there, not with what is declared.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x03abc\x00\x00\x00\x00"))
	f.Add([]byte("\x0b\xff\xff\xffabc"))
	f.Add([]byte("\xff\xff\xff\xffabc"))
	f.Add(append([]byte("\x00\x00\x00\x0f"), "\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x01x"...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := bufio.NewReader(iotest.HalfReader(bytes.NewReader(data)))
		var again []byte
		for {
			frame, err := readFrame(r)
			if err != nil {
				break
			}
			again = append(binary.BigEndian.AppendUint32(again, uint32(len(frame))), frame...)
		}
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used > 8*uint64(len(data))+2*frameStep+1<<20 {
			t.Errorf("%d bytes of input took %d bytes of memory", len(data), used)
		}
		if !bytes.HasPrefix(data, again) {
			t.Errorf("%q was read as %q", data, again)
		}
		r = bufio.NewReader(bytes.NewReader(data))
		for {
			if _, _, _, err := readCall(r); err != nil {
				break
			}
		}
	})
}
