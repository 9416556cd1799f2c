package brokertest_test

import (
	"net"
	"os"
	"testing"

	brokertest "waybill/test/broker"
)

func TestMain(m *testing.M) { os.Exit(brokertest.Main(m)) }

func TestLifecycle(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{})
	b.Kill()
	if b.Running() {
		t.Fatal("the broker outlives a kill")
	}
	b.Restart()
	if err := b.Stop(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if b.Log() == "" {
		t.Error("the broker logs nothing")
	}
}

// Another test process, which knows nothing of what this one has given out, must not take the port of a
// broker that is down.
func TestFreeAddrIsClaimed(t *testing.T) {
	var addr string
	t.Run("while the test runs", func(t *testing.T) {
		addr = brokertest.FreeAddr(t)
		if claim, err := net.ListenPacket("udp", addr); err == nil {
			_ = claim.Close() // the test has failed anyway
			t.Errorf("%s can be claimed once more", addr)
		}
	})
	claim, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatalf("the claim outlives its test: %v", err)
	}
	_ = claim.Close() // nothing was sent over it
}
