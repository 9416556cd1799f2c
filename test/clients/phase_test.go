//go:build clients

package clients

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"syscall"
	"testing"
	"time"

	brokertest "waybill/test/broker"
)

// A phase is one run of an application.
type phase struct {
	arguments []string
	events    []event
	end       func(*testing.T) // waits, after it, until all is well again
	endless   bool             // runs until SIGTERM, which it gets once everything was received
}

// An event happens after that many of the application's lines, while it goes on.
type event struct {
	line int
	do   func(*testing.T)
}

const (
	phaseWithin = 4 * time.Minute // pika waits for every confirm: this allows a sync of 20 ms
	// An application that tells nothing for so long waits for something that is gone.
	stuck = 45 * time.Second
	// A consumer that has everything is watched this long for something that should not come.
	quiet = time.Second
)

// run runs the phase to its end while its events happen. It fails the test if the application
// fails or does not finish in time.
func (app application) run(t *testing.T, seen *ledger, p phase) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), phaseWithin)
	defer cancel()
	arguments := append(app.command[1:len(app.command):len(app.command)], p.arguments...)
	cmd := exec.CommandContext(ctx, app.command[0], arguments...)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v; the script run, beside this test, installs what is missing", err)
	}

	begin := time.Now()
	p.watch(t, cmd, stdout, seen)
	p.end(t)
	if err := cmd.Wait(); err != nil && !(p.endless && endedBySigterm(err)) {
		t.Errorf("%s: %v", p.arguments[0], errors.Join(err, ctx.Err()))
	}
	if t.Failed() {
		const last = 4096
		b := stderr.Bytes()
		t.Logf("%s: standard error ends with:\n%s", p.arguments[0], b[max(0, len(b)-last):])
	}
	var lines []int
	for _, e := range p.events {
		lines = append(lines, e.line)
	}
	t.Logf("%s: %.1f s, events after %v lines", p.arguments[0], time.Since(begin).Seconds(), lines)
}

// watch reads the application's lines to the end.
func (p phase) watch(t *testing.T, cmd *exec.Cmd, stdout io.Reader, seen *ledger) {
	t.Helper()
	stop := time.AfterFunc(stuck, func() { cmd.Process.Signal(syscall.SIGTERM) })
	defer stop.Stop()

	events := p.events
	scanner := bufio.NewScanner(stdout)
	for lines := 1; scanner.Scan(); lines++ {
		if err := seen.add(scanner.Text()); err != nil {
			t.Error(err)
		}
		if len(events) > 0 && lines >= events[0].line {
			events[0].do(t)
			events = events[1:]
		}
		if p.endless && len(seen.unreceived) == 0 {
			stop.Reset(quiet)
		} else {
			stop.Reset(stuck)
		}
	}
	if len(events) > 0 {
		t.Errorf("the application ended before the event after %d lines", events[0].line)
	}
}

// killedAt kills the broker after that many lines, and starts it again. It comes up while the application goes
// on, which so meets a closed port for a while.
func killedAt(broker *brokertest.Broker, lines []int) (events []event) {
	for _, line := range lines {
		events = append(events, event{line, func(t *testing.T) {
			waitReady(t, broker)
			broker.Kill()
			if err := broker.Launch(); err != nil {
				t.Error(err)
			}
		}})
	}
	return events
}

func waitReady(t *testing.T, broker *brokertest.Broker) {
	t.Helper()
	if err := broker.WaitReady(); err != nil {
		t.Error(err)
	}
}

// endedBySigterm reports whether a program ended as asked: a JVM that is stopped by SIGTERM exits
// with 128+15 even when all went well.
func endedBySigterm(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && exit.ExitCode() == 128+15
}
