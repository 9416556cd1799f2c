package server

import "testing"

func TestGCPercent(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		what       string
		live, scan uint64
		want       int
	}{
		{"nothing yet", 0, 0, 400},
		{"a small node", 4 * mib, 3 * mib, 400},
		{"memtables", 256 * mib, 4 * mib, 12},
		{"memtables beyond measure", 8192 * mib, 4 * mib, 10},
		{"many queues", 100 * mib, 80 * mib, 80},
	} {
		if got := gcPercent(c.live, c.scan); got != c.want {
			t.Errorf("%s: GOGC=%d, want %d", c.what, got, c.want)
		}
	}
	if differs(100, 95) || !differs(100, 50) || !differs(50, 100) {
		t.Error("what is worth a change")
	}
}

func TestMemoryLook(t *testing.T) {
	m := newMemory()
	m.ownGOGC = true // leave the test's process alone
	m.look()
	for i := range m.samples {
		if m.samples[i].Value.Kind() == 0 {
			t.Errorf("the runtime does not know %s", m.samples[i].Name)
		}
	}
}
