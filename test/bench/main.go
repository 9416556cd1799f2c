// Command bench measures Waybill beside RabbitMQ and Kafka: in one run, on the same
// machine, with the same client (`waybill bench`), in turn, and writes what came out into
// docs/benchmarks.md. Its data is under a temporary directory and its processes
// end with it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// settings are what the command line says.
type settings struct {
	rows     []string
	rounds   int
	duration time.Duration
	warm     int // runs of each JVM before anything counts
	backlog  int // messages of the rows that build one; those of AMQP build a tenth
	large    int // of the rows that Waybill does alone
	kafka    string
	data     string
	page     string
}

func main() {
	var s settings
	var rows string
	var list, short bool
	flag.StringVar(&rows, "rows", "", "rows to measure, with commas; all when empty")
	flag.IntVar(&s.rounds, "rounds", 3, "how often each contender is measured")
	flag.DurationVar(&s.duration, "duration", 10*time.Second, "how long one measuring takes")
	flag.IntVar(&s.warm, "warm", 4, "runs that warm up each JVM")
	flag.IntVar(&s.backlog, "backlog", 5_000_000, "messages of the rows that build a backlog; those of AMQP build a tenth")
	flag.IntVar(&s.large, "large", 10_000_000, "messages of the backlogs that Waybill is measured with alone")
	flag.StringVar(&s.kafka, "kafka", ".tools/kafka", "directory with Kafka's jars")
	flag.StringVar(&s.data, "data", "", "where the brokers keep their data; a temporary directory when empty")
	flag.StringVar(&s.page, "page", "docs/benchmarks.md", "page to write into")
	flag.BoolVar(&short, "short", false, "one round of 3 s, little warming: to try the program")
	flag.BoolVar(&list, "list", false, "list the rows")
	flag.Parse()
	if short {
		s.rounds, s.duration, s.warm, s.backlog, s.large = 1, 3*time.Second, 1, 300_000, 300_000
	}
	if list {
		for _, r := range allRows(s) {
			fmt.Printf("%-14s %s\n", r.Name, r.Title)
		}
		return
	}
	s.rows = strings.FieldsFunc(rows, func(r rune) bool { return r == ',' || r == ' ' })
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "bench-peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings) (err error) {
	rows, err := choose(allRows(s), s.rows)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(s.data, "waybill-peers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := filepath.Join(dir, "waybill")
	build := exec.CommandContext(ctx, "go", "build", "-o", binary, "./cmd/waybill")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%v: %w\n%s", build, err, out)
	}
	brokers := newBrokers(dir, binary, s.kafka)
	defer func() { err = errors.Join(err, stopAll(brokers)) }()
	r := &runner{settings: s, dir: dir, binary: binary, brokers: brokers}
	store, err := readResults(s.page)
	if err != nil {
		return err
	}
	var failed error // of rows; the others are measured all the same
	for i, row := range rows {
		if err := stopOthers(brokers, rows[i:]); err != nil {
			return err
		}
		result, err := r.measure(ctx, row)
		if err != nil && ctx.Err() == nil {
			fmt.Printf("%-14s failed: %v\n", row.Name, err)
			failed = errors.Join(failed, fmt.Errorf("%s: %w", row.Name, err))
			continue
		}
		if err != nil {
			return err
		}
		store.put(result)
		if err := store.write(s.page, allRows(s)); err != nil { // after each row: a run may be cut short
			return err
		}
	}
	return failed
}

// choose returns the rows with the names, in the table's order.
func choose(all []row, names []string) ([]row, error) {
	if len(names) == 0 {
		return all, nil
	}
	var chosen []row
	for _, r := range all {
		if slices.Contains(names, r.Name) {
			chosen = append(chosen, r)
		}
	}
	if len(chosen) != len(names) {
		return nil, fmt.Errorf("not all of %v are rows; -list shows them", names)
	}
	return chosen, nil
}
