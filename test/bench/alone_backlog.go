package main

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"waybill/internal/bench"
)

// backlogOf measures a queue or a partition with a large backlog: what it costs in
// memory, the restart, and whether consuming and publishing are slower for it.
func backlogOf(protocol string) alone {
	return func(ctx context.Context, r *runner, n *node) (map[string]float64, error) {
		load := func(args ...string) (*bench.Result, error) {
			return r.bench(ctx, protocol, n.broker, args)
		}
		if err := n.quiet(ctx); err != nil {
			return nil, err
		}
		idle, err := n.memory()
		if err != nil {
			return nil, err
		}
		usual, err := load("--duration", r.duration.String(), "--warmup", "2s", "--name", "usual")
		if err != nil {
			return nil, fmt.Errorf("without a backlog: %w", err)
		}
		if _, err := load("--phase", "build", "--messages", strconv.Itoa(r.large), "--name", "backlog"); err != nil {
			return nil, fmt.Errorf("build: %w", err)
		}
		memory, err := n.settledMemory(ctx)
		if err != nil {
			return nil, err
		}
		away, err := n.restart(ctx)
		if err != nil {
			return nil, err
		}
		// A consumer that takes what it gets takes the cores, too, that the publisher
		// and its client need; so there is one besides that is no faster than without a backlog.
		held, beside, err := drainAndPublish(load, r.duration, usual.ConsumedPS)
		if err != nil {
			return nil, err
		}
		drained, published, err := drainAndPublish(load, r.duration, 0)
		if err != nil {
			return nil, err
		}
		return map[string]float64{
			memoryAboveIdle: (memory - idle) / (1 << 20), restartTime: away.Seconds(),
			drainRate: drained.ConsumedPS / usual.ConsumedPS, publishRate: published.ConfirmedPS / usual.ConfirmedPS,
			heldDrainRate: held.ConsumedPS / usual.ConsumedPS, heldPublishRate: beside.ConfirmedPS / usual.ConfirmedPS,
		}, nil
	}
}

// settledMemory is the memory of a node that has nothing to do, without the
// memtables, which are as large as the WAL allows whatever is in the queues.
func (n *node) settledMemory(ctx context.Context) (float64, error) {
	if err := n.quiet(ctx); err != nil {
		return 0, err
	}
	memory, err := n.memory()
	if err != nil {
		return 0, err
	}
	tables, err := n.metric(ctx, "waybill_storage_memtable_bytes")
	return memory - tables, err
}

// drainAndPublish consumes the backlog while more is published to it. rate bounds the consuming,
// in messages per second; 0: as fast as it goes.
func drainAndPublish(load func(...string) (*bench.Result, error), d time.Duration, rate float64) (drained, published *bench.Result, err error) {
	var wait sync.WaitGroup
	var failed error
	wait.Go(func() {
		published, failed = load("--phase", "build", "--duration", d.String(), "--name", "backlog")
	})
	drained, err = load("--phase", "drain", "--duration", d.String(), "--keep", "--name", "backlog", "--rate", fmt.Sprint(rate))
	wait.Wait()
	if err == nil {
		err = failed
	}
	return drained, published, err
}
