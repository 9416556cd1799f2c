package bench

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Backlog is what came out of a run in three phases.
type Backlog struct {
	Build   *Result `json:"build"`
	Restart float64 `json:"restart_seconds"` // from the last answer before to the first one after
	Drain   *Result `json:"drain"`
}

// pollInterval is how often a broker that restarts is asked whether it is there.
const pollInterval = 20 * time.Millisecond

// RunBacklog builds a backlog, waits until somebody has restarted the broker, and
// drains it.
func RunBacklog(ctx context.Context, load Load, open func(Load) (Target, error), progress io.Writer) (*Backlog, error) {
	var b Backlog
	phase := func(p Phase) (*Result, Target, error) {
		l := load
		l.Phase, l.Keep = p, p == Build || load.Keep
		t, err := open(l)
		if err != nil {
			return nil, nil, err
		}
		r, err := Run(ctx, l, t, progress)
		return r, t, err
	}
	built, target, err := phase(Build)
	if err != nil {
		return nil, err
	}
	b.Build = built
	_, err = fmt.Fprintf(progress, "%d messages are in the broker. Restart it now; the draining begins when it answers again.\n", built.Confirmed)
	if err != nil {
		return nil, err
	}
	away, err := awaitRestart(ctx, target)
	if err != nil {
		return nil, err
	}
	b.Restart = away.Seconds()
	load.PIDs = nil // they were those of the process that is gone
	load.Messages = 0
	b.Drain, _, err = phase(Drain)
	return &b, err
}

// awaitRestart returns how long the target was away.
func awaitRestart(ctx context.Context, t Target) (time.Duration, error) {
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	last, gone := time.Now(), false
	for {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-poll.C:
		}
		err := t.ping(ctx)
		switch {
		case err != nil:
			gone = true
		case gone:
			return time.Since(last), nil
		default:
			last = time.Now()
		}
	}
}
