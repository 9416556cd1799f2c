package server

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCoarseTimers: the process is the same one afterwards, with its arguments,
// and its threads have the slack.
func TestCoarseTimers(t *testing.T) {
	const child = "WAYBILL_TEST_TIMERS"
	slack := func() int {
		n, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if os.Getenv(child) != "" {
		CoarseTimers()
		got := make(chan int)
		go func() { got <- slack() }()
		fmt.Printf("\nslack %d process %d arguments %d\n", <-got, os.Getpid(), len(os.Args))
		os.Exit(0)
	}
	if slack() != defaultSlack {
		t.Skip("the tests were started with another slack")
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestCoarseTimers$", "one", "two")
	cmd.Env = append(os.Environ(), child+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := fmt.Sprintf("\nslack %d process %d arguments 4\n", timerSlack, cmd.Process.Pid); string(out) != want {
		t.Errorf("it printed %q, want %q", out, want)
	}
}
