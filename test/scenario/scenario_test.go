package scenario

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rsc.io/script"

	brokertest "waybill/test/broker"
)

var (
	scenarios = flag.String("scenarios", "dead-leader", "which to run: a pattern of the names in testdata; make scenarios runs all")
	update    = flag.Bool("update", false, "write LANGUAGE.md")
)

func TestMain(m *testing.M) { os.Exit(brokertest.Main(m)) }

// TestScenarios runs the scenarios that -scenarios names.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", *scenarios+".txt"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenario is named %s (%v)", *scenarios, err)
	}
	binary := brokertest.Build(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			play(t, binary, file, text)
		})
	}
}

// A scenario fails when the broker does not do what it says: here leaders acknowledge
// what only they have, and the node that was parted from the others goes on doing so.
func TestScenariosFindAckOnMinority(t *testing.T) {
	if *scenarios != "*" {
		t.Skip("make scenarios runs it")
	}
	t.Parallel()
	const name = "testdata/minority.txt"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, binary: brokertest.Build(t, "-tags=waybill_broken_majority")}
	if err := w.play(t, name, text); err == nil || !strings.Contains(err.Error(), acknowledged) {
		t.Errorf("the scenario ends with %v", err)
	}
}

// TestMistakes: what does not fit is refused, with words that help.
func TestMistakes(t *testing.T) {
	for line, want := range map[string]string{
		"publish orders 10":      "has declared no orders",
		"kill 2":                 "has no cluster yet: begin with start 3",
		"start three":            `"three" stands where a number should; it is: start N [with disks]`,
		"start 3 with fans":      `"fans" stands where disks should`,
		"declare queue":          "has no cluster yet",
		"expect lost":            "has no cluster yet",
		"within soon heal":       `"soon" stands where a duration should`,
		"within 1s":              "a command is missing",
		"within 1s conquer":      `there is no command "conquer"`,
		"conquer 2":              "unknown command",
		"[moon] start 3":         `unknown condition "moon"`,
		"unload orders":          "does not load orders",
		"transfer orders 2":      "has declared no orders",
		"heal everything at all": "has no cluster yet",
	} {
		w := &world{t: t}
		if err := w.play(t, "mistakes", []byte(line)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
}

// play runs a scenario and prints how it went.
func play(t *testing.T, binary, name string, text []byte) {
	w := &world{t: t, binary: binary}
	if err := w.play(t, name, text); err != nil {
		if reason := skipped(""); errors.As(err, &reason) {
			t.Skip(reason)
		}
		t.Error(err)
	}
}

func (w *world) play(t *testing.T, name string, text []byte) error {
	var log bytes.Buffer
	defer func() { t.Logf("\n%s", log.String()) }() // also when a part of the rig gives up
	state, err := script.NewState(t.Context(), t.TempDir(), []string{})
	if err != nil {
		return err
	}
	if err := w.engine().Execute(state, name, bufio.NewReader(bytes.NewReader(text)), &log); err != nil {
		return err
	}
	if w.unread {
		return errors.New("it publishes after the last expect lost, and so proves nothing: end it with expect lost 0")
	}
	return nil
}

// TestLanguage: LANGUAGE.md is what the language says of itself.
func TestLanguage(t *testing.T) {
	const name = "LANGUAGE.md"
	if *update {
		if err := os.WriteFile(name, []byte(Describe()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Describe() {
		t.Errorf("%s is not what the language is: go test ./test/scenario -run TestLanguage -update", name)
	}
}
