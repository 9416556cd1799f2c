package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"waybill/internal/bench"
)

// runner measures rows.
type runner struct {
	settings
	dir     string
	binary  string
	brokers map[string]*broker
	warmed  map[string]bool
}

// warmTime is how long one warming run of a JVM takes.
const warmTime = 10 * time.Second

// rowResult is what came out of a row.
type rowResult struct {
	Row      string                     `json:"row"`
	Date     time.Time                  `json:"date"`
	Machine  machine                    `json:"machine"`
	Disk     diskProbe                  `json:"disk"`
	Duration string                     `json:"duration"`
	Command  string                     `json:"command"`
	Rounds   map[string][]*bench.Result `json:"rounds,omitempty"`  // by contender
	Figures  map[string][]float64       `json:"figures,omitempty"` // of a row without peers, by demand
}

// measure does the row's work to its contenders in turn, as many rounds as are set.
func (r *runner) measure(ctx context.Context, w row) (*rowResult, error) {
	if w.alone != nil {
		return r.measureAlone(ctx, w)
	}
	for _, c := range w.contenders {
		if err := r.ready(ctx, c, w); err != nil {
			return nil, err
		}
	}
	disk, err := probeDisk(r.dir)
	if err != nil {
		return nil, err
	}
	result := &rowResult{
		Row: w.Name, Date: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Disk: disk,
		Duration: r.duration.String(), Command: w.command(),
		Rounds: map[string][]*bench.Result{},
	}
	rounds := r.rounds
	if w.whole() {
		result.Duration = "the whole backlog"
	}
	if w.failover() {
		rounds = 1 // of many times
		result.Command, result.Duration = "a publisher of "+stock(w.protocol), fmt.Sprintf("up to %d times", failoverTimes())
	}
	for round := range rounds {
		for i := range w.contenders {
			c := w.contenders[(i+round)%len(w.contenders)] // each comes first once
			one, err := r.once(ctx, w, c)
			if err != nil {
				return nil, fmt.Errorf("%s, round %d: %w", c.Name, round+1, err)
			}
			result.Rounds[c.Name] = append(result.Rounds[c.Name], one)
			fmt.Printf("%-14s %-38s %9.0f/s confirmed %9.0f/s consumed  p99 %8.2f ms  %7.2f µs\n", w.Name, c.Name,
				one.ConfirmedPS, one.ConsumedPS, confirmP99.of(one), cpu.of(one))
		}
	}
	return result, nil
}

// command is what the row's work would be typed as.
func (w row) command() string {
	all := append([]string{"waybill bench", w.protocol}, w.prepare...)
	if w.prepare != nil {
		all = append(all, "&& waybill bench", w.protocol)
	}
	return strings.Join(append(all, w.args...), " ")
}

// whole reports whether the work ends with its messages rather than with the time.
func (w row) whole() bool { return slices.Contains(w.args, "--phase") }

// stock is the client library that applications use.
func stock(protocol string) string {
	if protocol == "kafka" {
		return "franz-go"
	}
	return "amqp091-go"
}

// ready starts a contender's broker and warms it up.
func (r *runner) ready(ctx context.Context, c contender, w row) error {
	b := r.brokers[c.broker]
	if err := b.start(ctx); err != nil {
		return err
	}
	if r.warmed[c.broker] {
		return nil
	}
	if r.warmed == nil {
		r.warmed = map[string]bool{}
	}
	r.warmed[c.broker] = true
	runs, d := 1, min(warmTime, r.duration)
	if b.amqp == "" { // a virtual machine that compiles what is hot
		runs = r.warm
	}
	for range runs {
		fmt.Printf("%-14s %s for %v\n", "warming", c.Name, d)
		if _, err := r.bench(ctx, w.protocol, b, append([]string{"--duration", d.String()}, c.args...)); err != nil {
			return fmt.Errorf("warm up %s: %w", c.Name, err)
		}
	}
	return nil
}

// once prepares and measures.
func (r *runner) once(ctx context.Context, w row, c contender) (*bench.Result, error) {
	b := r.brokers[c.broker]
	if w.failover() {
		return r.failover(ctx, w, b)
	}
	if w.prepare != nil {
		if _, err := r.bench(ctx, w.protocol, b, append(append([]string{}, w.prepare...), c.args...)); err != nil {
			return nil, fmt.Errorf("prepare: %w", err)
		}
	}
	args := append(append([]string{}, w.args...), c.args...)
	if !w.whole() {
		args = append(args, "--duration", r.duration.String(), "--warmup", min(2*time.Second, r.duration/2).String())
	}
	return r.bench(ctx, w.protocol, b, args)
}

// bench runs `waybill bench`.
func (r *runner) bench(ctx context.Context, protocol string, b *broker, args []string) (*bench.Result, error) {
	all := []string{"bench", protocol, "--json", "--disk", r.dir}
	if protocol == "amqp" {
		all = append(all, "--url", "amqp://guest:guest@"+b.amqp+"/")
	} else {
		all = append(all, "--bootstrap", b.kafka)
	}
	for _, pid := range b.pids() {
		all = append(all, "--pid", fmt.Sprint(pid))
	}
	cmd := exec.CommandContext(ctx, r.binary, append(all, args...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	var progress bytes.Buffer
	cmd.Stderr = &progress
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w\n%s", cmd, err, tail(progress.String(), 2000))
	}
	var result bench.Result
	if err := json.Unmarshal(out, &result); err != nil {
		return nil, fmt.Errorf("%v: %w", cmd, err)
	}
	return &result, nil
}

func tail(s string, n int) string { return s[max(0, len(s)-n):] }
