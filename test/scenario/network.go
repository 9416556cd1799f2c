package scenario

import (
	"context"
	"time"

	clustertest "waybill/test/cluster"
)

// networkVerbs break the network between nodes; clients reach every node at all times.
var networkVerbs = map[string]verb{
	"cut":   parting("reset the connections between nodes and refuse new ones, in both directions", clustertest.Cut),
	"stall": parting("drop what nodes send each other, in both directions, and tell nobody", clustertest.Stall),
	"silence": {
		args: "WHO", summary: "drop what a node sends the others; it hears them",
		run: func(ctx context.Context, w *world, p *phrase) error {
			nodes, err := w.whoEnd(ctx, p)
			if err != nil {
				return err
			}
			for _, n := range nodes {
				for _, other := range w.cluster.Others(nodes...) {
					w.cluster.Net.Set(n.ID, other.ID, clustertest.Stall)
				}
			}
			return nil
		},
	},
	"delay": {
		args: "DURATION", summary: "let everything between the nodes take so much longer, each way",
		run: func(_ context.Context, w *world, p *phrase) error {
			if err := w.started(); err != nil {
				return err
			}
			d := p.duration()
			if err := p.end(); err != nil {
				return err
			}
			w.pairs(func(a, b *clustertest.Node) { w.cluster.Net.Delay(a.ID, b.ID, d) })
			return nil
		},
	},
	"heal": {
		args: "", summary: "make the network whole",
		run: func(_ context.Context, w *world, p *phrase) error {
			if err := w.started(); err != nil {
				return err
			}
			w.cluster.Net.Heal()
			return p.end()
		},
	},
}

// parting makes a verb that parts nodes from others.
func parting(summary string, f clustertest.Fault) verb {
	return verb{args: "WHO [from WHO]", summary: summary, detail: []string{"Without from: from all others."},
		run: func(ctx context.Context, w *world, p *phrase) error {
			nodes, err := w.who(ctx, p)
			if err != nil {
				return err
			}
			from := w.cluster.Others(nodes...)
			if p.takes("from") {
				if from, err = w.who(ctx, p); err != nil {
					return err
				}
			}
			if err := p.end(); err != nil {
				return err
			}
			for _, n := range nodes {
				for _, other := range from {
					w.cluster.Net.Between(n.ID, other.ID, f)
				}
			}
			w.it = nodes
			return nil
		}}
}

// pairs calls do with every ordered pair of nodes.
func (w *world) pairs(do func(a, b *clustertest.Node)) {
	for _, a := range w.cluster.Nodes {
		for _, b := range w.cluster.Others(a) {
			do(a, b)
		}
	}
}

// soon is how long what an operator waits for may take.
const soon = 30 * time.Second
