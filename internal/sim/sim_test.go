package sim

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"
)

var (
	seed    = flag.Uint64("seed", 0, "run this seed alone, and print its trace with -v")
	from    = flag.Uint64("from", 0, "with -runs: the first of the seeds; without it they are new ones")
	alone   = flag.Bool("alone", false, "with -runs and -soak: odd seeds only, which are replicas without brokers")
	runs    = flag.Int("runs", 0, "seeds to run; without it, and without -soak, the same ten as ever")
	soak    = flag.Duration("soak", 0, "run new seeds for so long")
	bug     = flag.String("bug", "", "with -seed: plant this one, by its name in Bug")
	planted = flag.Bool("planted", false, "show that planted bugs are found; takes minutes")
	traceTo = flag.String("trace", "", "write the trace to this file while it comes into being")
)

// run runs one simulation with the randomness that belongs to its seed.
func run(t *testing.T, cfg Config) (r Result, trace *bytes.Buffer) {
	trace = new(bytes.Buffer)
	cfg.Trace = trace
	if *traceTo != "" {
		f, err := os.Create(*traceTo)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = f.Close() }()
		cfg.Trace = io.MultiWriter(trace, f)
	}
	hangs := time.AfterFunc(patience, func() { panic(fmt.Sprintf("seed %d takes more than %v", cfg.Seed, patience)) })
	defer hangs.Stop()
	t.Run(fmt.Sprint(cfg.Seed), func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, cfg.Seed)
		if cfg.Broker {
			synctest.Test(t, func(*testing.T) { r = Run(cfg) })
			return
		}
		r = Run(cfg)
	})
	return r, trace
}

// config says what a seed is: even ones have brokers, and every third lives with a minority
// broken.
func config(seed uint64) Config {
	return Config{Seed: seed, Live: seed%3 == 0, Broker: seed%2 == 0}
}

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

// found are seeds that have found something once.
var found = []uint64{
	1062250505095, // a leader sent what it had read of entries in an earlier one of its terms
}

// patience is how long a seed may take, which needs about a second: one that hangs is a finding.
const patience = 5 * time.Minute

// TestSeeds runs the first seeds, new ones, or the one that -seed names.
func TestSeeds(t *testing.T) {
	switch {
	case *seed != 0:
		cfg := config(*seed)
		cfg.Bug = Bug(*bug)
		r, trace := run(t, cfg)
		t.Logf("%s\nhash %s, %d acked, %d reads, faults %v", trace, r.Hash, r.Acked, r.Reads, r.Faults)
		for _, v := range r.Found {
			t.Error(v)
		}
	case *runs == 0 && *soak == 0:
		runSeeds(t, share{From: 1, Count: everySeeds})
		for _, s := range found {
			runSeeds(t, share{From: s, Count: 1})
		}
	case os.Getenv(shareOf) != "":
		workOn(t)
	default:
		shareOut(t)
	}
}

// runSeeds runs a share of the seeds, until one of them finds something.
func runSeeds(t *testing.T, s share) (sum summary) {
	sum.Faults = make(map[string]int)
	began := time.Now()
	for next := s.From; (sum.Seeds < s.Count || time.Since(began) < s.For) && !t.Failed(); next += max(s.Step, 1) {
		r, trace := run(t, config(next))
		sum.add(r)
		for _, v := range r.Found {
			t.Errorf("seed %d: %s\n… %s\nreplay: go test ./internal/sim -run TestSeeds -seed=%d -v", next, v, tail(trace.Bytes()), next)
		}
	}
	return sum
}

// TestOneSeedIsOneRun: a seed gives the same run twice, where there is no broker.
func TestOneSeedIsOneRun(t *testing.T) {
	s := 1 + rand.Uint64N(1<<40) | 1
	a, _ := run(t, config(s))
	b, _ := run(t, config(s))
	if a.Hash != b.Hash {
		t.Errorf("seed %d: %s and %s", s, a.Hash, b.Hash)
	}
}

// TestPlantedBugsAreFound: each within so many seeds. It takes minutes.
func TestPlantedBugsAreFound(t *testing.T) {
	if !*planted {
		t.Skip("only with -planted")
	}
	for _, bug := range []Bug{AckBeforeSync, AckOnMinority, TruncateOnRot, ReusedReplica, StaleRead, ForgottenFlags} {
		t.Run(string(bug), func(t *testing.T) { findBug(t, bug, func(s uint64) uint64 { return s | 1 }) })
	}
	for _, bug := range []Bug{AckBeforeSync, ForgottenFlags} {
		t.Run(string(bug)+", with brokers", func(t *testing.T) { findBug(t, bug, func(s uint64) uint64 { return s &^ 1 }) })
	}
}

// findBug looks how many seeds it takes.
func findBug(t *testing.T, bug Bug, kind func(uint64) uint64) {
	const limit = 60
	for n := range limit {
		cfg := config(kind(2 + rand.Uint64N(1<<40)))
		cfg.Bug = bug
		if r, _ := run(t, cfg); len(r.Found) > 0 {
			t.Logf("found by the seed number %d, %d: %.300s", n+1, cfg.Seed, r.Found[0])
			return
		}
	}
	t.Errorf("not found in %d seeds", limit)
}
