package sim

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/cryptotest"
	"time"
)

var (
	seed = flag.Uint64("seed", 0, "run this seed alone, and print its trace with -v")
	runs = flag.Int("runs", 0, "new seeds to run; without it, and without -soak, the same ten as ever")
	soak = flag.Duration("soak", 0, "run new seeds for so long")
)

// run runs one simulation with the randomness that belongs to its seed.
func run(t *testing.T, cfg Config) (r Result, trace *bytes.Buffer) {
	trace = new(bytes.Buffer)
	cfg.Trace = trace
	t.Run(fmt.Sprint(cfg.Seed), func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, cfg.Seed)
		r = Run(cfg)
	})
	return r, trace
}

// config says what a seed is: the mode too.
func config(seed uint64) Config { return Config{Seed: seed, Live: seed%3 == 0} }

// tail is the end of a trace.
func tail(b []byte) []byte {
	if len(b) > 6000 {
		b = b[len(b)-6000:]
	}
	return b
}

// everySeeds is how many seeds a run of all tests has: the first ones, so that
// it does not fail by chance over what nobody has changed. New ones are for make sim.
const everySeeds = 10

// TestSeeds runs the first seeds, new ones, or the one that -seed names.
func TestSeeds(t *testing.T) {
	if *seed != 0 {
		r, trace := run(t, config(*seed))
		t.Logf("%s\nhash %s, %d acked, %d reads, faults %v", trace, r.Hash, r.Acked, r.Reads, r.Faults)
		for _, v := range r.Found {
			t.Error(v)
		}
		return
	}
	began := time.Now()
	faults := make(map[string]int)
	var seeds []uint64
	acked, reads := 0, 0
	known := *runs == 0 && *soak == 0
	for n := 0; n < *runs || known && n < everySeeds || time.Since(began) < *soak; n++ {
		s := 1 + rand.Uint64N(1<<40)
		if known {
			s = uint64(1 + n)
		}
		seeds = append(seeds, s)
		r, trace := run(t, config(s))
		acked, reads = acked+r.Acked, reads+r.Reads
		for f, k := range r.Faults {
			faults[f] += k
		}
		for _, v := range r.Found {
			t.Errorf("seed %d: %s\n… %s\nreplay: go test ./internal/sim -run TestSeeds -seed=%d -v", s, v, tail(trace.Bytes()), s)
		}
		if t.Failed() {
			break
		}
	}
	t.Logf("%d seeds in %v: %d messages acknowledged, %d reads, faults %v; seeds %v", len(seeds), time.Since(began).Round(time.Second), acked, reads, faults, seeds)
}

// TestOneSeedIsOneRun: a seed gives the same run twice.
func TestOneSeedIsOneRun(t *testing.T) {
	s := 1 + rand.Uint64N(1<<40)
	a, _ := run(t, config(s))
	b, _ := run(t, config(s))
	if a.Hash != b.Hash {
		t.Errorf("seed %d: %s and %s", s, a.Hash, b.Hash)
	}
}

// TestPlantedBugsAreFound: each within so many seeds. It takes minutes.
func TestPlantedBugsAreFound(t *testing.T) {
	if *runs < 100 {
		t.Skip("only with -runs=100 or more")
	}
	for _, bug := range []Bug{AckBeforeSync, AckOnMinority, TruncateOnRot, ReusedReplica, StaleRead, ForgottenFlags} {
		t.Run(string(bug), func(t *testing.T) {
			const limit = 60
			for n := range limit {
				s := 1 + rand.Uint64N(1<<40)
				cfg := config(s)
				cfg.Bug = bug
				if r, _ := run(t, cfg); len(r.Found) > 0 {
					t.Logf("found by the seed number %d, %d: %.300s", n+1, s, r.Found[0])
					return
				}
			}
			t.Errorf("not found in %d seeds", limit)
		})
	}
}
