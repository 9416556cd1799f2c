package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"time"
)

// Most of a node's heap is memtables: hundreds of megabytes without a
// pointer in them. The runtime's default lets as much garbage gather as there is
// live data, which doubles them, although a collection costs next to nothing:
// its work is what there is to scan. So the garbage that may gather is
// measured by that.
//
// A node that writes much fills and drops memtables several times a second. A heap that follows them
// gives each of them back to the system and takes it again, which clears it, page by page: up to a fifth of what such a
// node needs of the processors. So its heap is held at what it had most, and a little more, until there is less to do: without
// GOGC, and with the runtime's memory limit as the size at which it collects.
const (
	minGarbage = 32 << 20 // bytes that may always gather
	minPercent = 10       // GOGC, however large the heap
	maxPercent = 400      // GOGC, however small

	lookAtMemory = 250 * time.Millisecond
	quietAfter   = 20       // looks in a row at which a node is quiet
	quietAlloc   = 1 << 20  // bytes: who allocates less between two looks does nothing much
	worthIt      = 32 << 20 // bytes of heap below which there is nothing to give back

	holdAlloc  = 16 << 20  // bytes: who allocates more between two looks is taken to write much
	holdMargin = 128 << 20 // bytes that may be live besides, before the next look
	holdShare  = 4         // part of the machine's memory, at most

	cacheShare = 4 // part of the machine's memory in which the system is taken to keep what consumers have not read yet
)

// ownMemoryLimit is the runtime's memory limit as the operator set it (GOMEMLIMIT), in bytes; math.MaxInt64: there is none. What a
// heap is held at is none.
var ownMemoryLimit = debug.SetMemoryLimit(-1)

// memory keeps the heap close to what is live, or holds it, and gives what is
// free back to the operating system when the node has become quiet.
type memory struct {
	samples  []metrics.Sample
	ownGOGC  bool // the operator said how
	ownLimit int64
	machine  uint64 // its memory, in bytes
	percent  int
	allocs   uint64
	quiet    int
	returned bool // since the node was busy last

	held   uint64             // bytes at which the runtime's memory is held; 0: it is not
	calm   int                // looks since the node wrote much
	live   [quietAfter]uint64 // at the last looks
	looked int
}

const (
	sampleLive = iota
	sampleScan
	sampleAllocs
	sampleObjects
	sampleFree
	sampleUnused
	sampleReleased
	sampleTotal
	samples
)

func newMemory() *memory {
	m := &memory{samples: make([]metrics.Sample, samples), percent: 100, ownLimit: ownMemoryLimit, machine: memoryOfMachine()}
	_, m.ownGOGC = os.LookupEnv("GOGC")
	for i, name := range [...]string{
		sampleLive:     "/gc/heap/live:bytes",
		sampleScan:     "/gc/scan/heap:bytes",
		sampleAllocs:   "/gc/heap/allocs:bytes",
		sampleObjects:  "/memory/classes/heap/objects:bytes",
		sampleFree:     "/memory/classes/heap/free:bytes",
		sampleUnused:   "/memory/classes/heap/unused:bytes",
		sampleReleased: "/memory/classes/heap/released:bytes",
		sampleTotal:    "/memory/classes/total:bytes",
	} {
		m.samples[i].Name = name
	}
	metrics.Read(m.samples)
	m.allocs = m.value(sampleAllocs)
	return m
}

// watchMemory runs until ctx ends. The settings are the process's, so this is
// for one that is a node and nothing else.
func watchMemory(ctx context.Context) {
	tick := time.NewTicker(lookAtMemory)
	defer tick.Stop()
	m := newMemory()
	defer m.letGo()
	for {
		select {
		case <-tick.C:
			m.look()
		case <-ctx.Done():
			return
		}
	}
}

func (m *memory) value(i int) uint64 { return m.samples[i].Value.Uint64() }

func (m *memory) look() {
	metrics.Read(m.samples)
	live := m.value(sampleLive)
	allocs := m.value(sampleAllocs)
	did := allocs - m.allocs
	m.allocs = allocs
	if !m.ownGOGC {
		heap := m.value(sampleObjects) + m.value(sampleFree) + m.value(sampleUnused) + m.value(sampleReleased)
		scan := m.value(sampleScan)
		m.set(m.hold(live, scan, did, m.value(sampleTotal)-heap), gcPercent(live, scan))
	}
	if did >= quietAlloc {
		m.quiet, m.returned = 0, false
		return
	}
	m.quiet++
	if m.quiet >= quietAfter && !m.returned {
		m.returned = true
		if m.value(sampleObjects)+m.value(sampleFree)+m.value(sampleUnused) >= worthIt {
			debug.FreeOSMemory()
		}
	}
}

// hold returns at how many bytes the runtime's memory is to be held, 0: it is not. So many are live, would have to be scanned, were
// allocated since the last look, and are not the heap's.
func (m *memory) hold(live, scan, did, beside uint64) uint64 {
	m.live[m.looked%len(m.live)] = live
	m.looked++
	if m.calm++; did >= holdAlloc {
		m.calm = 0
	}
	if m.calm >= quietAfter || m.held == 0 && m.calm > 0 {
		return 0
	}
	most := slices.Max(m.live[:])
	hold := most + max(most/4+holdMargin, scan) + beside
	limit := min(m.machine/holdShare, uint64(m.ownLimit))
	if hold > limit && (m.held == 0 || hold > limit+limit/8) {
		return 0
	}
	hold = min(hold, limit)
	if m.held != 0 && m.held <= limit && !differs(int(hold>>20), int(m.held>>20)) {
		return m.held
	}
	return hold
}

// letGo has the runtime follow what is live.
func (m *memory) letGo() {
	if m.held != 0 {
		m.set(0, 100)
	}
}

// set has the runtime hold its memory at so many bytes, or follow what is live with a GOGC of percent.
func (m *memory) set(hold uint64, percent int) {
	if hold != 0 {
		percent = -1
	}
	if hold > m.held { // without GOGC there is a limit, always
		debug.SetMemoryLimit(int64(hold))
	}
	if percent != m.percent && (percent < 0 || m.percent < 0 || differs(percent, m.percent)) {
		m.percent = percent
		debug.SetGCPercent(percent)
	}
	switch {
	case hold == 0 && m.held != 0:
		debug.SetMemoryLimit(m.ownLimit)
	case hold < m.held:
		debug.SetMemoryLimit(int64(hold))
	}
	m.held = hold
}

// gcPercent is the GOGC for a heap with so many bytes live, and so many to scan.
func gcPercent(live, scan uint64) int {
	garbage := max(minGarbage, scan)
	return int(max(minPercent, min(maxPercent, garbage*100/max(live, 1))))
}

// differs reports whether a change is worth stopping the world for.
func differs(p, q int) bool { return p > q+q/8 || q > p+p/8 }
