package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Most of a busy node's heap is memtables: hundreds of megabytes without a
// pointer in them. The runtime's default lets as much garbage gather as there is
// live data, which doubles them, although a collection costs next to nothing:
// its work is what there is to scan. So the garbage that may gather is
// measured by that.
const (
	minGarbage = 32 << 20 // bytes that may always gather
	minPercent = 10       // GOGC, however large the heap
	maxPercent = 400      // GOGC, however small

	lookAtMemory = time.Second
	quietAfter   = 5        // looks in a row at which a node is quiet
	quietAlloc   = 1 << 20  // bytes: who allocates less between two looks does nothing much
	worthIt      = 32 << 20 // bytes of heap below which there is nothing to give back
)

// memory keeps the heap close to what is live, and gives what is
// free back to the operating system when the node has become quiet.
type memory struct {
	samples  []metrics.Sample
	ownGOGC  bool // the operator said how
	percent  int
	allocs   uint64
	quiet    int
	returned bool // since the node was busy last
}

const (
	sampleLive = iota
	sampleScan
	sampleAllocs
	sampleObjects
	sampleFree
	sampleUnused
)

func newMemory() *memory {
	m := &memory{samples: make([]metrics.Sample, sampleUnused+1), percent: 100}
	_, m.ownGOGC = os.LookupEnv("GOGC")
	for i, name := range [...]string{
		sampleLive:    "/gc/heap/live:bytes",
		sampleScan:    "/gc/scan/heap:bytes",
		sampleAllocs:  "/gc/heap/allocs:bytes",
		sampleObjects: "/memory/classes/heap/objects:bytes",
		sampleFree:    "/memory/classes/heap/free:bytes",
		sampleUnused:  "/memory/classes/heap/unused:bytes",
	} {
		m.samples[i].Name = name
	}
	return m
}

// watchMemory runs until ctx ends. The settings are the process's, so this is
// for one that is a node and nothing else.
func watchMemory(ctx context.Context) {
	tick := time.NewTicker(lookAtMemory)
	defer tick.Stop()
	for m := newMemory(); ; {
		select {
		case <-tick.C:
			m.look()
		case <-ctx.Done():
			return
		}
	}
}

func (m *memory) look() {
	metrics.Read(m.samples)
	value := func(i int) uint64 { return m.samples[i].Value.Uint64() }
	live := value(sampleLive)
	if p := gcPercent(live, value(sampleScan)); !m.ownGOGC && differs(p, m.percent) {
		m.percent = p
		debug.SetGCPercent(p)
	}
	allocs := value(sampleAllocs)
	busy := allocs-m.allocs >= quietAlloc
	m.allocs = allocs
	if busy {
		m.quiet, m.returned = 0, false
		return
	}
	m.quiet++
	if m.quiet >= quietAfter && !m.returned {
		m.returned = true
		if value(sampleObjects)+value(sampleFree)+value(sampleUnused) >= worthIt {
			debug.FreeOSMemory()
		}
	}
}

// gcPercent is the GOGC for a heap with so many bytes live, and so many to scan.
func gcPercent(live, scan uint64) int {
	garbage := max(minGarbage, scan)
	return int(max(minPercent, min(maxPercent, garbage*100/max(live, 1))))
}

// differs reports whether a change is worth stopping the world for.
func differs(p, q int) bool { return p > q+q/8 || q > p+p/8 }
