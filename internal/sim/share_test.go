package sim

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"
)

// Many seeds are shared out among processes, one for each core: a seed decides what package
// crypto/rand gives, which a process has but once; and with one thread a run with
// brokers is replayed best.

// shareOf is the environment variable with a process's share, as JSON.
const shareOf = "SIM_SHARE"

// share is the seeds of one process.
type share struct {
	From  uint64
	Step  uint64 // 0: 1
	Count int
	For   time.Duration // more than Count, for so long
}

// summary is what a share has done.
type summary struct {
	Seeds, Acked, Reads int
	Faults              map[string]int
}

func (s *summary) add(r Result) {
	s.Seeds++
	s.Acked += r.Acked
	s.Reads += r.Reads
	for f, n := range r.Faults {
		s.Faults[f] += n
	}
}

const summaryMark = "SIM_SUMMARY "

// workOn runs the share of this process.
func workOn(t *testing.T) {
	var s share
	if err := json.Unmarshal([]byte(os.Getenv(shareOf)), &s); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(runSeeds(t, s))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(summaryMark + string(b))
}

// shareOut has one process for each core run a share of the seeds, and gathers what they find.
func shareOut(t *testing.T) {
	first, began := *from, time.Now()
	if first == 0 {
		first = 1 + rand.Uint64N(1<<40)
	}
	step := uint64(1)
	if *alone {
		first, step = first|1, 2
	}
	workers := max(1, min(runtime.NumCPU(), max(*runs, 1)))
	t.Logf("seeds from %d on, %d at a time; again: go test ./internal/sim -run TestSeeds -from=%d -runs=%d -alone=%v -v", first, workers, first, *runs, *alone)
	outputs := make([]bytes.Buffer, workers)
	errs := make(chan error, workers)
	for i := range workers {
		s := share{From: first + step*uint64(i**runs/workers), Step: step, Count: (i+1)**runs/workers - i**runs/workers, For: *soak}
		if *soak > 0 {
			s.From = first + uint64(i)<<32
		}
		go func() { errs <- work(s, &outputs[i]) }()
	}
	failed := false
	for range workers {
		if err := <-errs; err != nil {
			failed = true
		}
	}
	total := summary{Faults: make(map[string]int)}
	for i := range outputs {
		total.gather(t, outputs[i].String(), failed)
	}
	t.Logf("%d seeds, from %d to %d, in %v: %d messages acknowledged, %d reads, faults %v",
		total.Seeds, first, first+step*uint64(max(total.Seeds, 1)-1), time.Since(began).Round(time.Second), total.Acked, total.Reads, total.Faults)
}

func work(s share, output *bytes.Buffer) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestSeeds$", "-test.v", "-test.timeout=0", "-runs=1") //nolint:gosec // this test itself
	cmd.Env = append(os.Environ(), shareOf+"="+string(b), "GOMAXPROCS=1", "GOGC=400")
	cmd.Stdout, cmd.Stderr = output, output
	return cmd.Run()
}

// gather adds what a process tells, or shows its end when it has found something, or has died.
func (s *summary) gather(t *testing.T, output string, failed bool) {
	last := ""
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "=== RUN   TestSeeds/"); ok {
			last = name
		}
		text, ok := strings.CutPrefix(line, summaryMark)
		if !ok {
			continue
		}
		var part summary
		if err := json.Unmarshal([]byte(text), &part); err != nil {
			t.Errorf("%v: %s", err, text)
			continue
		}
		s.Seeds, s.Acked, s.Reads = s.Seeds+part.Seeds, s.Acked+part.Acked, s.Reads+part.Reads
		for f, n := range part.Faults {
			s.Faults[f] += n
		}
		if !strings.Contains(output, "--- FAIL") {
			return
		}
	}
	if failed || last == "" {
		t.Errorf("a process has ended with seed %s:\n… %s\nreplay: go test ./internal/sim -run TestSeeds -seed=%s -v", last, tail([]byte(output)), last)
	}
}
