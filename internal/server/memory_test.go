package server

import (
	"math"
	"os"
	"runtime/debug"
	"testing"
)

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

// TestHold: the heap of a node that writes much is held at what it had most, and goes on following what is live when it does
// not write much any more, or where that would take too much of the machine.
func TestHold(t *testing.T) {
	const mib = 1 << 20
	m := &memory{ownLimit: math.MaxInt64, machine: 8 << 30}
	look := func(what string, live, did, want uint64) {
		t.Helper()
		if m.held = m.hold(live*mib, 10*mib, did, 20*mib); m.held != want*mib {
			t.Errorf("%s: held at %d MiB, want %d", what, m.held/mib, want)
		}
	}
	look("it writes little", 400, holdAlloc-1, 0)
	m.live = [quietAfter]uint64{}
	look("it writes much", 200, holdAlloc, 250+128+20)
	look("a memtable was dropped", 80, holdAlloc, 250+128+20)
	look("a little more is live", 220, holdAlloc, 250+128+20)
	look("much more is live", 400, holdAlloc, 500+128+20)
	for range quietAfter - 1 {
		look("a pause", 100, 0, 500+128+20)
	}
	look("the end", 100, 0, 0)
	look("less is live now", 100, holdAlloc, 125+128+20)
	look("a little more than a quarter of the machine", 1600, holdAlloc, 2048)
	look("much more than that", 2000, holdAlloc, 0)
	m.machine, m.live = math.MaxUint64, [quietAfter]uint64{}
	look("a larger machine", 1600, holdAlloc, 2000+128+20)
	if n := m.hold(1600*mib, 900*mib, holdAlloc, 20*mib); n != 2520*mib {
		t.Errorf("much to scan: held at %d MiB", n/mib)
	}
	m.ownLimit = 2000 * mib
	look("a little more than GOMEMLIMIT", 1600, holdAlloc, 2000)
	m.held = 0
	look("more than GOMEMLIMIT", 1600, holdAlloc, 0)
}

// TestHoldIsSet: there is always something that makes the runtime collect, and the operator's limit comes back.
func TestHoldIsSet(t *testing.T) {
	if _, set := os.LookupEnv("GOGC"); set {
		t.Skip("GOGC is set")
	}
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	t.Cleanup(func() {
		debug.SetGCPercent(percent)
		debug.SetMemoryLimit(limit)
	})
	m := newMemory()
	check := func(wantLimit int64, wantPercent int) {
		t.Helper()
		got := debug.SetGCPercent(wantPercent)
		if limit := debug.SetMemoryLimit(-1); limit != wantLimit || got != wantPercent {
			t.Fatalf("limit %d, GOGC %d; want %d, %d", limit, got, wantLimit, wantPercent)
		}
	}
	for range 2 {
		m.set(1<<30, 50)
		check(1<<30, -1)
		m.set(2<<30, 50)
		check(2<<30, -1)
		m.set(1<<30, 50)
		check(1<<30, -1)
		m.set(0, 50)
		check(limit, 50)
		m.set(0, 200)
		check(limit, 200)
		m.set(1<<30, 50)
		m.letGo()
		check(limit, 100)
	}
}
