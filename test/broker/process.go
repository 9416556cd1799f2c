package brokertest

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// given are the addresses that FreeAddr has returned.
var given sync.Map

// FreeAddr returns a loopback address that nobody listens on, and never the same one
// twice. Its port is below those that the system gives to outgoing connections, and other
// test processes are not given it before the test ends, so that it is still free when a
// broker is restarted.
func FreeAddr(t testing.TB) string {
	t.Helper()
	var last error
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(22_000))
		if _, taken := given.LoadOrStore(addr, true); taken {
			continue
		}
		var claim net.PacketConn
		if claim, last = free(addr); last == nil {
			t.Cleanup(func() { _ = claim.Close() }) // nothing was sent over it
			return addr
		}
	}
	t.Fatalf("brokertest: no free port: %v", last)
	return ""
}

// free fails when somebody listens on an address, or another process has claimed it. The claim is the UDP
// port of the same number: no broker uses it, and it stays taken while the broker is down.
func free(addr string) (claim net.PacketConn, err error) {
	claim, err = net.ListenPacket("udp", addr)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		_ = claim.Close() // nothing was sent over it
		return nil, err
	}
	return claim, nil
}

// tail keeps the last max bytes written to it, and up to as many before.
type tail struct {
	max int
	mu  sync.Mutex
	buf []byte
}

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	if len(w.buf) > 2*w.max {
		w.buf = append(w.buf[:0], w.buf[len(w.buf)-w.max:]...)
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.buf)
}
