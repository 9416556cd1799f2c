package prove

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	brokertest "waybill/test/broker"
	"waybill/test/powercut"
)

var (
	prove = flag.Bool("prove", false, "run the cells; without it only what needs no cluster is tested")
	cells = flag.String("cells", "", "which: patterns of faults, or of mode/fault, with commas; all when empty")
	runs  = flag.Int("runs", 1, "how often")
	nodes = flag.Int("nodes", 3, "how many nodes")
	seed  = flag.Uint64("seed", rand.Uint64(), "of the random choices")
	page  = flag.String("page", "", "page to write the results to, with the results beside it; none when empty")
)

func TestMain(m *testing.M) { os.Exit(brokertest.Main(m)) }

// TestProve runs the cells that -cells names.
func TestProve(t *testing.T) {
	if !*prove {
		t.Skip("make prove runs the cells")
	}
	p, err := ReadPromise()
	if err != nil {
		t.Fatal(err)
	}
	kept := Results{}
	if *page != "" {
		if *page, err = filepath.Abs(*page); err == nil {
			kept, err = ReadResults(*page)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	binary := brokertest.Build(t)
	t.Logf("seed %d", *seed)
	for _, fault := range p.Faults.Names {
		modes := p.chosen(*cells, fault)
		if len(modes) == 0 || p.Faults.Of[fault].Elsewhere != "" {
			continue
		}
		t.Run(fault, func(t *testing.T) {
			found := Results{}
			for n := range *runs {
				one(t, p, fault, Settings{Nodes: *nodes, Binary: binary, Modes: modes, Seed: *seed + uint64(n)}, found)
			}
			for cell, res := range found {
				kept[cell] = res
			}
		})
		if *page != "" {
			if err := kept.Write(p, *page); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// The rig finds out when nodes ack before they sync, which the tag waybill_broken_ack
// makes them do: then a power cut of all of them loses what was acknowledged.
func TestFindsAckBeforeSync(t *testing.T) {
	if err := powercut.Unavailable(); *prove && err != nil {
		t.Skip(err)
	}
	finds(t, "-tags=waybill_broken_ack", "power-all", Settings{Env: []string{"WAYBILL_BROKEN_SYNC=500ms"}})
}

// The rig finds out when leaders ack what only they have, which the tag waybill_broken_majority
// makes them do: then one that is parted from the others goes on acknowledging what nobody will know.
func TestFindsAckOnMinority(t *testing.T) {
	finds(t, "-tags=waybill_broken_majority", "stall-leader", Settings{Whole: 5 * time.Second})
}

// finds runs a fault with nodes that are broken on purpose until acknowledged messages are lost. Such a
// cluster may also not come back at all, which proves nothing: then it is tried again.
func finds(t *testing.T, tags, fault string, s Settings) {
	if !*prove {
		t.Skip("make prove runs it")
	}
	p, err := ReadPromise()
	if err != nil {
		t.Fatal(err)
	}
	const attempts = 6
	s.Nodes, s.Binary, s.Modes = *nodes, brokertest.Build(t, tags), []string{"amqp-confirms", "kafka-idempotent"}
	for n := range uint64(attempts) {
		s.Seed = *seed + n
		results, _, err := p.Run(t, fault, s)
		t.Logf("seed %d: %v %v", s.Seed, results, err)
		for _, mode := range s.Modes {
			if results[mode].Lost > 0 && results[mode].Failed > 0 {
				return
			}
		}
	}
	t.Errorf("in %d attempts no loss is found of nodes that were built with %s", attempts, tags)
}

// attempts is how often a run is begun. One that ends before its fault, as the machine was too
// slow or a port was taken, is no run, and is begun again with a new cluster.
const attempts = 3

// one runs a fault once, prints its cells and adds them to found.
func one(t *testing.T, p *Promise, fault string, s Settings, found Results) {
	results, notes, err := p.Run(t, fault, s)
	for n := 1; n < attempts && errors.Is(err, errEarly); n++ {
		fmt.Printf("%-16s not run: %v\n", fault, err)
		t.Logf("clients met:\n  %s", strings.Join(notes, "\n  "))
		results, notes, err = p.Run(t, fault, s)
	}
	if errors.Is(err, errNotRun) {
		t.Logf("%s: unproven: %v", fault, err)
		return
	}
	if err != nil {
		t.Errorf("%s, seed %d: %v\nclients met:\n  %s", fault, s.Seed, err, strings.Join(notes, "\n  "))
		return
	}
	failed := false
	for _, mode := range s.Modes {
		res, ok := results[mode]
		if !ok {
			continue
		}
		fmt.Printf("%-16s %-17s %-3s acked %6d  lost %4d  twice %4d  refused %4d  recovered %6d ms  %s %s\n", fault, mode,
			p.Modes.Of[mode].Expect[p.Faults.Of[fault].Class], res.Acked, res.Lost, res.Duplicated, res.Refused, res.RecoverMS, verdict(res), strings.Join(res.Named, ", "))
		for _, why := range res.Why {
			t.Errorf("%s/%s, seed %d: %s", mode, fault, s.Seed, why)
			failed = true
		}
		cell := mode + "/" + fault
		found[cell] = found[cell].add(res)
	}
	if failed || testing.Verbose() {
		t.Logf("%s: clients met:\n  %s", fault, strings.Join(notes, "\n  "))
	}
}

func verdict(r Result) string {
	if r.Failed > 0 {
		return "BROKEN"
	}
	return "ok"
}

// chosen lists the modes of a fault that are chosen, and can be run.
func (p *Promise) chosen(cells, fault string) (modes []string) {
	for _, name := range p.Modes.Names {
		if selects(cells, name, fault) && p.Modes.Of[name].Elsewhere == "" {
			modes = append(modes, name)
		}
	}
	return modes
}

// TestPromise: the table is whole, and everything in it is written.
func TestPromise(t *testing.T) {
	p, err := ReadPromise()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, promise: p}
	for _, name := range p.Modes.Names {
		if there := r.newMode(name) != nil; there == (p.Modes.Of[name].Elsewhere != "") {
			t.Errorf("mode %s: there is one: %v", name, there)
		}
	}
	for _, name := range p.Faults.Names {
		if _, there := injectors[name]; there == (p.Faults.Of[name].Elsewhere != "") {
			t.Errorf("fault %s: it can be made: %v", name, there)
		}
	}
	for name := range injectors {
		if _, there := p.Faults.Of[name]; !there {
			t.Errorf("fault %s does not stand in promise.yaml", name)
		}
	}
}

// TestPage: docs/promise.md is what make prove made of docs/promise.json.
func TestPage(t *testing.T) {
	const name = "../../docs/promise.md"
	p, err := ReadPromise()
	if err != nil {
		t.Fatal(err)
	}
	r, err := ReadResults(name)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := r.insert(p, string(text)); err != nil || again != string(text) {
		t.Errorf("docs/promise.md is not what its results make (%v): run go test ./test/prove -run TestPage -page docs/promise.md", err)
		if *page != "" {
			if err := r.writePage(p, name); err != nil {
				t.Error(err)
			}
		}
	}
	if !strings.Contains((Results{}).Markdown(p), "*unproven*") {
		t.Error("a cell without a run is not printed as unproven")
	}
}

func TestSelects(t *testing.T) {
	for _, c := range []struct {
		cells, mode, fault string
		want               bool
	}{
		{"", "m", "f", true},
		{"f", "m", "f", true},
		{"kill-*", "m", "kill-all", true},
		{"kill-*, none", "m", "none", true},
		{"amqp-*/none", "kafka-acks-1", "none", false},
		{"amqp-*/none", "amqp-tx", "none", true},
		{"g", "m", "f", false},
	} {
		if got := selects(c.cells, c.mode, c.fault); got != c.want {
			t.Errorf("%q chooses %s/%s: %v", c.cells, c.mode, c.fault, got)
		}
	}
}
