package brokertest_test

import (
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
