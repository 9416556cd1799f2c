package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The brokers, by name.
const (
	waybill    = "Waybill"
	rabbit     = "RabbitMQ"
	kafka      = "Kafka"
	kafkaFlush = "Kafka, flushing"
)

// broker is a broker on this machine. It is started when it is needed first, and runs, idle,
// while others are measured.
type broker struct {
	name   string
	amqp   string // addresses; "": it does not speak that
	kafka  string
	http   string
	launch func(*broker) error // starts its processes
	procs  []*process

	cluster *cluster // nil: a single node
}

// process is a child with a process group of its own, so that its children end with it.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

// readyTime bounds the start of a broker.
const readyTime = 60 * time.Second

// start starts the broker, if it does not run, and waits until it takes connections.
func (b *broker) start(ctx context.Context) error {
	if len(b.procs) > 0 {
		return nil
	}
	if err := b.launch(b); err != nil {
		return fmt.Errorf("start %s: %w", b.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for _, addr := range []string{b.amqp, b.kafka} {
		if addr == "" {
			continue
		}
		if err := awaitListener(ctx, addr); err != nil {
			return fmt.Errorf("%s does not come up: %w", b.name, err)
		}
	}
	return nil
}

func awaitListener(ctx context.Context, addr string) error {
	for {
		var d net.Dialer
		c, err := d.DialContext(ctx, "tcp", addr)
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// run starts a process that belongs to the broker. What it prints goes to a file.
func (b *broker) run(dir string, env []string, name string, args ...string) error {
	log, err := os.OpenFile(filepath.Join(dir, "output.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // the child has its own
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	p := &process{cmd, make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended does not matter
		close(p.exited)
	}()
	b.procs = append(b.procs, p)
	return nil
}

// stop ends the broker's processes, the last one first.
func (b *broker) stop() error {
	var errs []error
	for i := len(b.procs) - 1; i >= 0; i-- {
		errs = append(errs, b.procs[i].stop())
	}
	b.procs = nil
	return errors.Join(errs...)
}

// stopTime is how long a process may take to end in order.
const stopTime = 20 * time.Second

func (p *process) stop() error {
	group := -p.cmd.Process.Pid
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if err := syscall.Kill(group, sig); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("%v to %v: %w", sig, p.cmd, err)
		}
		select {
		case <-p.exited:
			return nil
		case <-time.After(stopTime):
		}
	}
	return fmt.Errorf("%v does not end", p.cmd)
}

// stopOthers ends the brokers that none of the rows needs: an idle virtual machine
// takes a few percent of a core from those that are measured.
func stopOthers(all map[string]*broker, rows []row) error {
	var errs []error
	for name, b := range all {
		needs := func(w row) bool {
			return slices.ContainsFunc(w.contenders, func(c contender) bool { return c.broker == name })
		}
		if !slices.ContainsFunc(rows, needs) {
			errs = append(errs, b.stop())
		}
	}
	return errors.Join(errs...)
}

func stopAll(all map[string]*broker) error {
	var errs []error
	for _, b := range all {
		errs = append(errs, b.stop())
	}
	return errors.Join(errs...)
}

// pids returns the broker's processes with all their descendants.
func (b *broker) pids() []int {
	parents := map[int]int{}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is good
	for _, name := range stats {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it just ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		text := string(data)
		if fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:]); len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	var all []int
	for pid := range parents {
		for up := pid; up > 1; up = parents[up] {
			if b.owns(up) {
				all = append(all, pid)
				break
			}
		}
	}
	return all
}

func (b *broker) owns(pid int) bool {
	for _, p := range b.procs {
		if p.cmd.Process.Pid == pid {
			return true
		}
	}
	return false
}

// lowestPort and highestPort bound the brokers' ports. They are below those that the system
// gives to outgoing connections, so a node that was killed finds its own free when it is
// started again.
const (
	lowestPort  = 20_000
	highestPort = 32_000
)

// nextPort is the port to try next.
var nextPort = lowestPort + os.Getpid()%(highestPort-lowestPort)

// freePorts returns ports that nobody listens on. None is given twice.
func freePorts(n int) ([]string, error) {
	var ports []string
	for tries := 0; len(ports) < n; tries++ {
		if tries > highestPort-lowestPort {
			return nil, fmt.Errorf("there are no %d free ports between %d and %d", n, lowestPort, highestPort)
		}
		if nextPort++; nextPort >= highestPort {
			nextPort = lowestPort
		}
		port := strconv.Itoa(nextPort)
		l, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue // it is taken
		}
		if err := l.Close(); err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
