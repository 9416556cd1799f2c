package server

import (
	"context"
	"os"
	"runtime"
	"syscall"
	"time"
)

// A message at a low rate passes through half a dozen goroutines that each do
// little. With several processors the runtime wakes a thread for every one of
// them, on another core, and that costs more than their work. So a node that
// needs much less than a core gets along with one processor.
const (
	lookAtCores = 100 * time.Millisecond
	needsMore   = 0.6 // of a core: all processors are given back at once
	needsOne    = 0.4 // of a core: one processor will do
	calmAfter   = 10  // looks in a row at which one would do
)

// cores decides how many processors the runtime uses.
type cores struct {
	one  bool // the runtime has one
	calm int
}

// watchCores runs until ctx ends. Like watchMemory it is for a process that is
// a node and nothing else. An operator who set GOMAXPROCS has decided.
func watchCores(ctx context.Context) {
	if _, set := os.LookupEnv("GOMAXPROCS"); set || runtime.GOMAXPROCS(0) == 1 {
		return
	}
	tick := time.NewTicker(lookAtCores)
	defer tick.Stop()
	last, used := time.Now(), cpuTime()
	for c := (cores{}); ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, sum := time.Now(), cpuTime()
		if c.look(float64(sum-used) / float64(now.Sub(last))) {
			if c.one {
				runtime.GOMAXPROCS(1)
			} else {
				runtime.SetDefaultGOMAXPROCS()
			}
		}
		last, used = now, sum
	}
}

// look takes the share of a core that was used since the last look, and reports
// whether c.one has changed.
func (c *cores) look(used float64) bool {
	if used > needsOne {
		c.calm = 0
	} else {
		c.calm++
	}
	was := c.one
	switch {
	case used > needsMore:
		c.one = false
	case c.calm >= calmAfter:
		c.one = true
	}
	return c.one != was
}

// cpuTime is what the process has used of all cores.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
