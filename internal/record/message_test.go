package record

import (
	"bytes"
	"testing"
	"time"
)

// FuzzMessage: whatever is taken for a stored message is one, to the byte.
func FuzzMessage(f *testing.F) {
	m := Message{Time: 1, TTL: NoTTL, Exchange: []byte("x"), RoutingKey: []byte("key"), Properties: []byte{0, 0}, Body: []byte("body")}
	f.Add(m.Append(nil))
	m.TTL = time.Minute
	f.Add(append(m.Append(nil), "and more"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		rest, err := m.Parse(b)
		if err != nil {
			return
		}
		stored := b[:len(b)-len(rest)]
		if n, err := MessageLen(b); err != nil || n != len(stored) || n != m.EncodedLen() {
			t.Fatalf("length %d, %v, but %d bytes were taken, and %d would be stored", n, err, len(stored), m.EncodedLen())
		}
		if again := m.Append(nil); !bytes.Equal(again, stored) {
			t.Fatalf("%x becomes %x", stored, again)
		}
	})
}
