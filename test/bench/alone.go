package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// demand is something that is measured of Waybill alone, because it is not held
// against a peer, and what it must be.
type demand struct {
	Name  string
	more  bool    // at least the limit; else at most
	limit float64 // 0: it is only told
}

// alone measures the figures of one row on a node of its own, which was just started.
type alone func(ctx context.Context, r *runner, n *node) (map[string]float64, error)

// node is Waybill, measured alone: one node or, for some rows, a cluster of which one node
// is looked at.
type node struct {
	*broker
	looked int // its place in procs
}

// measureAlone does a row without peers.
func (r *runner) measureAlone(ctx context.Context, w row) (*rowResult, error) {
	disk, err := probeDisk(r.dir)
	if err != nil {
		return nil, err
	}
	result := &rowResult{
		Row: w.Name, Date: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Disk: disk,
		Duration: r.duration.String(), Command: w.protocol, Figures: map[string][]float64{},
	}
	for range min(r.rounds, w.most) {
		figures, err := r.aloneOnce(ctx, w)
		if err != nil {
			return nil, err
		}
		for _, f := range w.demands {
			result.Figures[f.Name] = append(result.Figures[f.Name], figures[f.Name])
			fmt.Printf("%-14s %-60s %s\n", w.Name, f.Name, figure(figures[f.Name]))
		}
	}
	return result, nil
}

// aloneOnce starts a node on an empty directory; the other brokers rest meanwhile.
func (r *runner) aloneOnce(ctx context.Context, w row) (map[string]float64, error) {
	home := filepath.Join(r.dir, "alone")
	launch := launchWaybill
	if w.three {
		launch = launchWaybill3
	}
	n := &node{broker: &broker{name: waybill, launch: launch(home, r.binary)}}
	defer os.RemoveAll(home) //nolint:errcheck // it lies below the directory that is removed at the end
	defer n.stop()           //nolint:errcheck // what it did is measured already
	if err := n.start(ctx); err != nil {
		return nil, err
	}
	return w.alone(ctx, r, n)
}

// memory is the resident memory in bytes.
func (n *node) memory() (float64, error) {
	kib, err := n.status("VmRSS:")
	return kib * 1024, err
}

func (n *node) pid() int { return n.procs[n.looked].cmd.Process.Pid }

// status reads a line of /proc/PID/status.
func (n *node) status(label string) (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.pid()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, label); ok {
			return strconv.ParseFloat(strings.Fields(rest)[0], 64)
		}
	}
	return 0, fmt.Errorf("process %d has no %s", n.pid(), label)
}

// cores is the share of a core that the node uses during d.
func (n *node) cores(ctx context.Context, d time.Duration) (float64, error) {
	before, err := n.cpu()
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, d); err != nil {
		return 0, err
	}
	after, err := n.cpu()
	return (after - before).Seconds() / d.Seconds(), err
}

func (n *node) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.pid()))
	if err != nil {
		return 0, err
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var sum time.Duration
	for _, i := range []int{14 - 3, 15 - 3} { // utime, stime
		ticks, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(ticks) * 10 * time.Millisecond
	}
	return sum, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// quiet waits until a node that has nothing to do gave back the memory it does not need.
func (n *node) quiet(ctx context.Context) error { return pause(ctx, 8*time.Second) }

// metric reads one of the node's metrics.
func (n *node) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.http+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	req.SetBasicAuth("guest", "guest")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(rest, 64)
		}
	}
	return 0, fmt.Errorf("no metric %s (HTTP %d): %w", name, resp.StatusCode, lines.Err())
}

// restart kills the node, and returns how long it takes until it serves clients again.
func (n *node) restart(ctx context.Context) (time.Duration, error) {
	p := n.procs[0]
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return 0, err
	}
	<-p.exited
	n.procs = nil
	began := time.Now()
	err := n.start(ctx)
	return time.Since(began), err
}

// alone renders a row without peers.
func (r *rowResult) alone(b *strings.Builder, w row) {
	fmt.Fprintf(b, "### %s (`%s`)\n\n| | Waybill | asked for | |\n|---|---:|---:|---|\n", w.Title, w.Name)
	for _, f := range w.demands {
		s := metric{}.spread(r.Figures[f.Name])
		asked, verdict := "", ""
		if f.limit != 0 {
			word, reached := "at most", s.median <= f.limit
			if f.more {
				word, reached = "at least", s.median >= f.limit
			}
			asked, verdict = word+" "+figure(f.limit), "**missed**"
			if reached {
				verdict = "reached"
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", f.Name, s, asked, verdict)
	}
	fmt.Fprintf(b, "\n%s. %s\n\n", r.Command, r.where())
}
