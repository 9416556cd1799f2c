// Package brokertest runs real waybill processes for tests: it builds the
// binary once, starts it on ports of its own, waits until it is ready, and
// kills or stops it.
//
//	b := brokertest.Start(t, brokertest.Options{})
//	conn, err := amqp091.Dial("amqp://guest:guest@" + b.AMQP)
//	...
//	b.Kill()    // SIGKILL
//	b.Restart() // same data, same addresses
//
// A package whose tests use it calls [Main] from its TestMain, which removes
// the binaries.
package brokertest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Options say how to start a broker. The zero value is a broker with an empty
// data directory of its own.
type Options struct {
	Binary  string        // "": what [Build] makes without flags
	DataDir string        // "": a new one, removed after the test
	Args    []string      // more arguments of serve
	Env     []string      // more environment, "NAME=value"
	Ready   time.Duration // how long to wait until it is ready; 0: 60 s
}

// Broker is a waybill process. Its methods belong to the test's goroutine.
type Broker struct {
	AMQP, Kafka, HTTP string // addresses, the same after a restart
	DataDir           string

	t      testing.TB
	opts   Options
	log    *tail
	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	status error         // how it ended; after exited is closed
}

// Start starts a broker and waits until it is ready. It is killed at the
// end of the test; when the test failed, the end of its log is printed.
func Start(t testing.TB, o Options) *Broker {
	t.Helper()
	b := New(t, o)
	b.Restart()
	return b
}

// New prepares a broker without starting it; Restart does.
func New(t testing.TB, o Options) *Broker {
	t.Helper()
	if o.Binary == "" {
		o.Binary = Build(t)
	}
	if o.DataDir == "" {
		o.DataDir = t.TempDir()
	}
	if o.Ready == 0 {
		o.Ready = time.Minute
	}
	b := &Broker{
		AMQP: FreeAddr(t), Kafka: FreeAddr(t), HTTP: FreeAddr(t),
		DataDir: o.DataDir, t: t, opts: o, log: &tail{max: 1 << 20},
	}
	t.Cleanup(func() {
		b.Kill()
		if t.Failed() {
			t.Logf("log of the broker on %s:\n%s", b.AMQP, b.Log())
		}
	})
	return b
}

// Restart starts the broker, which must not be running, and waits until it is ready.
func (b *Broker) Restart() {
	b.t.Helper()
	if err := b.Launch(); err != nil {
		b.t.Fatal(err)
	}
	if err := b.WaitReady(); err != nil {
		b.t.Fatal(err)
	}
}

// Launch starts the process and does not wait until it is ready.
func (b *Broker) Launch() error {
	if b.Running() {
		return errors.New("brokertest: the broker is still running")
	}
	args := []string{"serve", "--data-dir", b.DataDir, "--amqp", b.AMQP, "--kafka", b.Kafka, "--http", b.HTTP}
	b.cmd = exec.Command(b.opts.Binary, append(args, b.opts.Args...)...)
	own := func(setting string) bool { return strings.HasPrefix(setting, binaryEnv+"=") }
	b.cmd.Env = append(slices.DeleteFunc(os.Environ(), own), b.opts.Env...)
	b.cmd.Stdout, b.cmd.Stderr = b.log, b.log
	b.cmd.SysProcAttr = dieWithParent()
	if err := b.cmd.Start(); err != nil {
		return fmt.Errorf("brokertest: start: %w", err)
	}
	b.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) {
		b.status = cmd.Wait()
		close(exited)
	}(b.cmd, b.exited)
	return nil
}

// WaitReady waits until /readyz answers 200.
func (b *Broker) WaitReady() error {
	ctx, cancel := context.WithTimeout(context.Background(), b.opts.Ready)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		last := b.Ready(ctx)
		if last == nil {
			return nil
		}
		select {
		case <-b.exited:
			return fmt.Errorf("brokertest: the broker ended before it was ready: %w", b.status)
		case <-ctx.Done():
			return fmt.Errorf("brokertest: not ready after %v: %w", b.opts.Ready, last)
		case <-time.After(wait):
		}
	}
}

// Ready asks /readyz once; the error says what it answers when that is not 200.
func (b *Broker) Ready(ctx context.Context) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.HTTP+"/readyz", http.NoBody)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	if body, _ := io.ReadAll(io.LimitReader(resp.Body, 1024)); resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", resp.Status, body)
	}
	return nil
}

// Running reports whether the process runs.
func (b *Broker) Running() bool {
	if b.cmd == nil {
		return false
	}
	select {
	case <-b.exited:
		return false
	default:
		return true
	}
}

// Exited is closed when the process that was started last has ended.
func (b *Broker) Exited() <-chan struct{} { return b.exited }

// Kill ends the process with SIGKILL, if it runs, and waits until it is gone.
func (b *Broker) Kill() {
	if b.Running() {
		_ = b.cmd.Process.Kill() // an error means that it just ended
		<-b.exited
	}
}

// stopping is how long a broker may take to stop in order: its own bounds add up to 15 s.
const stopping = 40 * time.Second

// Stop ends the process with SIGTERM and returns how it ended: nil for exit
// code 0. It fails the test when that takes longer than stopping.
func (b *Broker) Stop() error {
	b.t.Helper()
	b.Signal(syscall.SIGTERM)
	select {
	case <-b.exited:
	case <-time.After(stopping):
		b.Signal(syscall.SIGQUIT) // for the stacks in its log
		<-b.exited
		b.t.Fatal("brokertest: the broker does not stop on SIGTERM")
	}
	return b.status
}

// Signal sends a signal to the process, which must run.
func (b *Broker) Signal(sig os.Signal) {
	b.t.Helper()
	if err := b.cmd.Process.Signal(sig); err != nil {
		b.t.Fatalf("brokertest: %v: %v", sig, err)
	}
}

// Pid is the process id of the process that was started last.
func (b *Broker) Pid() int { return b.cmd.Process.Pid }

// Log returns what the process wrote to its standard output and error, the
// last megabyte of it, over all restarts.
func (b *Broker) Log() string { return b.log.String() }
