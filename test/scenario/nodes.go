package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	clustertest "waybill/test/cluster"
)

// diskSize is that of a disk that can lose its power; it takes what is written.
const diskSize = 1 << 30

// nodeVerbs start, end and break nodes.
var nodeVerbs = map[string]verb{
	"start": {
		args: "N [with disks]", summary: "start a cluster of N new nodes and wait until they are ready",
		detail: []string{"With disks, each node has a disk of its own that can lose its power; that needs root."},
		run:    startCluster,
	},
	"kill":   each("end a node with SIGKILL", func(n *clustertest.Node) error { n.Kill(); return nil }),
	"pause":  each("stop a node without ending it (SIGSTOP): it keeps its connections, and answers nothing", func(n *clustertest.Node) error { n.Pause(); return nil }),
	"resume": each("let a paused node go on", func(n *clustertest.Node) error { n.Resume(); return nil }),
	"stop": each("end a node in order (SIGTERM); it must succeed in that", func(n *clustertest.Node) error {
		if err := n.Stop(); err != nil {
			return fmt.Errorf("node %d did not stop in order: %w", n.ID, err)
		}
		return nil
	}),
	"restart": {
		args: "WHO", summary: "start nodes that do not run and wait until they are ready",
		run: func(ctx context.Context, w *world, p *phrase) error {
			nodes, err := w.launch(ctx, p)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if err := n.WaitReady(); err != nil {
					return fmt.Errorf("node %d: %w", n.ID, err)
				}
			}
			return nil
		},
	},
	"launch": {
		args: "WHO", summary: "start nodes that do not run, and do not wait",
		detail: []string{"For a node that must not come up; \"ended\" says why."},
		run: func(ctx context.Context, w *world, p *phrase) error {
			_, err := w.launch(ctx, p)
			return err
		},
	},
	"power-cut": {
		args: "WHO", summary: "cut the power of nodes: what they have not synced is gone, and they are down",
		detail: []string{"The disks are cut before the processes are, which so have time to acknowledge what is lost. After it, restart."},
		run: func(ctx context.Context, w *world, p *phrase) error {
			nodes, err := w.whoEnd(ctx, p)
			if err != nil {
				return err
			}
			return powerCut(nodes)
		},
	},
	"wipe": each("remove everything from the data directory of a node that does not run", (*clustertest.Node).Wipe),
	"swap": {
		args: "WHO WHO", summary: "exchange the data directories of two nodes that do not run",
		run: func(ctx context.Context, w *world, p *phrase) error {
			one, err := w.who(ctx, p)
			if err != nil {
				return err
			}
			other, err := w.whoEnd(ctx, p)
			if err != nil {
				return err
			}
			return swap(one[0].DataDir, other[0].DataDir)
		},
	},
	"ended": {
		args: "WHO TEXT", summary: "wait until a node has ended by itself, with that text in its log",
		run: func(ctx context.Context, w *world, p *phrase) error {
			nodes, err := w.who(ctx, p)
			if err != nil {
				return err
			}
			text := p.word("a text")
			if err := p.end(); err != nil {
				return err
			}
			return ended(ctx, nodes[0], text)
		},
	},
}

// each makes a verb that does something to every node that is meant.
func each(summary string, do func(*clustertest.Node) error) verb {
	return verb{args: "WHO", summary: summary, run: func(ctx context.Context, w *world, p *phrase) error {
		nodes, err := w.whoEnd(ctx, p)
		if err != nil {
			return err
		}
		var errs []error
		for _, n := range nodes {
			errs = append(errs, do(n))
		}
		return errors.Join(errs...)
	}}
}

// whoEnd finds the nodes that end a line.
func (w *world) whoEnd(ctx context.Context, p *phrase) ([]*clustertest.Node, error) {
	nodes, err := w.who(ctx, p)
	if err == nil {
		err = p.end()
	}
	return nodes, err
}

func startCluster(_ context.Context, w *world, p *phrase) error {
	o := clustertest.Options{Nodes: p.number(), Grows: true, Binary: w.binary, Env: []string{
		// Small files, so that every kind of file is there within seconds.
		"WAYBILL_DISK_WAL_FILE_SIZE=1MiB", "WAYBILL_DISK_SEGMENT_SIZE=256KiB",
		"WAYBILL_KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0",
	}}
	if p.takes("with") {
		if !p.takes("disks") {
			return p.miss("disks")
		}
		o.Disks = diskSize
	}
	if err := p.end(); err != nil {
		return err
	}
	if w.cluster != nil {
		return fmt.Errorf("%w has a cluster already", errWorld)
	}
	w.cluster = clustertest.New(w.t, o)
	return errors.Join(w.cluster.Launch(), w.cluster.WaitReady())
}

func (w *world) launch(ctx context.Context, p *phrase) ([]*clustertest.Node, error) {
	nodes, err := w.whoEnd(ctx, p)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, n := range nodes {
		if n.Running() {
			errs = append(errs, fmt.Errorf("node %d runs", n.ID))
			continue
		}
		errs = append(errs, n.Launch())
	}
	return nodes, errors.Join(errs...)
}

// powerCut cuts all disks at the same time: a node must not sync what another one has
// lost. The disks are mounted again, for the restart.
func powerCut(nodes []*clustertest.Node) error {
	for _, n := range nodes {
		if n.Disk == nil {
			return fmt.Errorf("node %d has no disk of its own: start 3 with disks", n.ID)
		}
	}
	clustertest.PowerCut(nodes...)
	for _, n := range nodes {
		n.Repower()
	}
	return nil
}

func swap(a, b string) error {
	aside := a + "-aside"
	return errors.Join(os.Rename(a, aside), os.Rename(b, a), os.Rename(aside, b))
}

func ended(ctx context.Context, n *clustertest.Node, text string) error {
	select {
	case <-n.Exited():
	case <-ctx.Done():
		return fmt.Errorf("node %d goes on", n.ID)
	}
	if log := n.Log(); !strings.Contains(log, text) {
		return fmt.Errorf("node %d ended, and its log does not say %q; its end is:\n%s", n.ID, text, log[max(0, len(log)-1000):])
	}
	return nil
}
