package server

import "testing"

// TestMemoryOfMachine: without it nothing is ever held.
func TestMemoryOfMachine(t *testing.T) {
	if n := memoryOfMachine(); n < 64<<20 {
		t.Errorf("%d bytes", n)
	}
}
