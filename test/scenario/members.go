package scenario

import (
	"context"
	"fmt"

	clustertest "waybill/test/cluster"
)

// memberVerbs are what an operator does with waybill cluster.
var memberVerbs = map[string]verb{
	"add": {
		args: "", summary: "add a node to the cluster and wait until it is ready; it is meant by \"it\" then",
		run: func(_ context.Context, w *world, p *phrase) error {
			if err := w.started(); err != nil {
				return err
			}
			if err := p.end(); err != nil {
				return err
			}
			n, err := w.cluster.Add()
			if err != nil {
				return err
			}
			w.it = []*clustertest.Node{n}
			return n.WaitReady()
		},
	},
	"remove": {
		args: "WHO", summary: "remove nodes from the cluster, wait until they hold nothing, and end them",
		run: func(ctx context.Context, w *world, p *phrase) error {
			nodes, err := w.whoEnd(ctx, p)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if err := w.remove(ctx, n); err != nil {
					return err
				}
			}
			return nil
		},
	},
	"replace": change("replace", "have the cluster give up what is on a node's lost disk", nil),
	"drain": {
		args: "WHO", summary: "have a node lead nothing, and wait until it does not",
		run: func(ctx context.Context, w *world, p *phrase) error {
			nodes, err := w.whoEnd(ctx, p)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if err := w.change(ctx, n, "drain", map[string]any{"node": n.ID}); err != nil {
					return err
				}
				if err := w.awaitMember(ctx, n, func(m clustertest.NodeStatus) bool { return m.Leaders == 0 }); err != nil {
					return err
				}
			}
			return nil
		},
	},
	"undrain": change("drain", "let a node that was drained lead again", map[string]any{"undo": true}),
	"transfer": {
		args: "NAME to WHO", summary: "hand over the lead of a queue, or of a topic's first partition, and wait for it",
		run: func(ctx context.Context, w *world, p *phrase) error {
			t, err := w.target(p)
			if err != nil {
				return err
			}
			if !p.takes("to") {
				return p.miss("to")
			}
			nodes, err := w.whoEnd(ctx, p)
			if err != nil {
				return err
			}
			return w.transfer(ctx, t, nodes[0])
		},
	},
	"rebalance": {
		args: "", summary: "spread replicas and leaders evenly over the nodes, and wait until all have their replicas",
		run: func(ctx context.Context, w *world, p *phrase) error {
			if err := w.started(); err != nil {
				return err
			}
			if err := p.end(); err != nil {
				return err
			}
			if err := w.change(ctx, nil, "rebalance", map[string]any{}); err != nil {
				return err
			}
			return w.cluster.AwaitHealth(ctx, nil)
		},
	},
}

// change makes a verb that asks the cluster to change something about a node.
func change(verbName, summary string, args map[string]any) verb {
	return verb{args: "WHO", summary: summary, run: func(ctx context.Context, w *world, p *phrase) error {
		nodes, err := w.whoEnd(ctx, p)
		if err != nil {
			return err
		}
		for _, n := range nodes {
			all := map[string]any{"node": n.ID}
			for k, v := range args {
				all[k] = v
			}
			if err := w.change(ctx, n, verbName, all); err != nil {
				return err
			}
		}
		return nil
	}}
}

// change asks a node other than the one it is about, if there is one.
func (w *world) change(ctx context.Context, about *clustertest.Node, verbName string, args map[string]any) error {
	for _, n := range append(w.cluster.Others(about), w.cluster.Nodes...) {
		if n.Running() {
			return n.Change(ctx, verbName, args)
		}
	}
	return fmt.Errorf("%w: no node runs", errWorld)
}

// awaitMember waits until one of the others says something about a node.
func (w *world) awaitMember(ctx context.Context, about *clustertest.Node, done func(clustertest.NodeStatus) bool) error {
	return w.awaitView(ctx, w.cluster.Others(about)[0], about, done)
}

// awaitView waits until the node that is asked says something about another one.
func (w *world) awaitView(ctx context.Context, asked, about *clustertest.Node, done func(clustertest.NodeStatus) bool) error {
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	return await(ctx, func() error {
		status, err := asked.Status(ctx)
		if err != nil {
			return err
		}
		for _, m := range status.Nodes {
			if m.ID == about.ID && !done(m) {
				return fmt.Errorf("node %d says of node %d: %+v", asked.ID, about.ID, m)
			}
		}
		return nil
	})
}

func (w *world) remove(ctx context.Context, n *clustertest.Node) error {
	if err := w.change(ctx, n, "remove", map[string]any{"node": n.ID}); err != nil {
		return err
	}
	left := func(clustertest.NodeStatus) bool { return false } // it is shown until it has
	if err := w.awaitMember(ctx, n, left); err != nil {
		return err
	}
	w.cluster.Forget(n)
	return nil
}

func (w *world) transfer(ctx context.Context, t target, to *clustertest.Node) error {
	return await(ctx, func() error {
		group, err := w.cluster.GroupOf(ctx, t.words()...)
		if err != nil || group.Leader == to.ID {
			return err
		}
		if err := to.Change(ctx, "transfer", map[string]any{"log": group.Log, "to": to.ID}); err != nil {
			return err
		}
		return fmt.Errorf("node %d leads", group.Leader)
	})
}
