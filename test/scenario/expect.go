package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"waybill/test/check"
	clustertest "waybill/test/cluster"
)

// expectVerbs say what must be seen. What may come about by itself is waited for.
var expectVerbs = map[string]verb{
	"expect": {
		args: "WHAT", summary: "say what must be so",
		detail: []string{"One of:\n\n" +
			"| WHAT | |\n|---|---|\n" +
			"| lost N | of all that was acknowledged in all queues and topics N messages are gone, what is left being read first; and there is nothing that was never sent, was refused, came twice without a mark, or is at two offsets |\n" +
			"| twice NAME N | consumers got N messages that a consumer had got before |\n" +
			"| ready NAME N | N messages wait in the queue |\n" +
			"| committed NAME N | the committed offsets of the topic's consumer group add up to N |\n" +
			"| leader NAME WHO | WHO leads the queue, or the topic's first partition; leader NAME not WHO: somebody else does |\n" +
			"| replicas NAME N | N nodes hold it |\n" +
			"| live NAME N | N of them keep up, as the leader says |\n" +
			"| members N | the cluster has N nodes |\n" +
			"| down WHO, up WHO | the other nodes see it so |\n\n" +
			"But for lost and twice it is waited for."},
		run: expect,
	},
	"healthy": {
		args: "", summary: "wait until every node runs and sees the others, and every queue and partition has its leader and all its replicas",
		run: func(ctx context.Context, w *world, p *phrase) error {
			if err := w.started(); err != nil {
				return err
			}
			if err := p.end(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, soon)
			defer cancel()
			return w.cluster.AwaitHealth(ctx, nil)
		},
	},
	"unready": {
		args: "WHO TEXT", summary: "wait until a node's /readyz says no, and that text",
		run: func(ctx context.Context, w *world, p *phrase) error {
			it := w.it
			defer func() { w.it = it }() // as with expect
			nodes, err := w.who(ctx, p)
			if err != nil {
				return err
			}
			text := p.word("a text")
			if err := p.end(); err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(ctx, soon)
			defer cancel()
			return await(ctx, func() error {
				err := nodes[0].Ready(ctx)
				if err != nil && strings.Contains(err.Error(), text) {
					return nil
				}
				return fmt.Errorf("node %d says: %w", nodes[0].ID, err)
			})
		},
	},
}

func expect(ctx context.Context, w *world, p *phrase) error {
	if err := w.started(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, soon)
	defer cancel()
	it := w.it
	defer func() { w.it = it }() // what is seen is not what the story is about
	switch what := p.word("what must be so"); what {
	case "lost":
		return w.expectLost(ctx, p)
	case "members":
		return w.expectMembers(ctx, p)
	case "down", "up":
		nodes, err := w.whoEnd(ctx, p)
		if err != nil {
			return err
		}
		for _, asked := range w.cluster.Others(nodes[0]) { // each sees it for itself, and not at the same time
			if !asked.Running() {
				continue
			}
			if err := w.awaitView(ctx, asked, nodes[0], func(m clustertest.NodeStatus) bool { return m.Up == (what == "up") }); err != nil {
				return err
			}
		}
		return nil
	default:
		return w.expectOf(ctx, what, p)
	}
}

// expectLost reads what is left and compares.
func (w *world) expectLost(ctx context.Context, p *phrase) error {
	want := p.number()
	if err := p.end(); err != nil {
		return err
	}
	if len(w.loads) > 0 {
		return fmt.Errorf("%w still loads: unload first", errWorld)
	}
	lost := 0
	var errs []error
	for _, name := range w.names {
		t := w.targets[name]
		if err := t.drain(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
			continue
		}
		r := t.report()
		n := r.Count(check.Lost) + r.Count(check.Unseen)
		if lost += n; n > 0 {
			errs = append(errs, fmt.Errorf("%s: %v", name, r))
		} else if err := r.Err(); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	w.unread = false
	if lost == want {
		return nil
	}
	return errors.Join(append(errs, fmt.Errorf("%d are lost", lost))...)
}

func (w *world) expectMembers(ctx context.Context, p *phrase) error {
	want := p.number()
	if err := p.end(); err != nil {
		return err
	}
	return await(ctx, func() error {
		for _, n := range w.cluster.Nodes {
			status, err := n.Status(ctx)
			if err != nil {
				return err
			}
			if len(status.Nodes) != want {
				return fmt.Errorf("node %d knows %d members", n.ID, len(status.Nodes))
			}
		}
		return nil
	})
}

// expectOf looks at one queue or topic.
func (w *world) expectOf(ctx context.Context, what string, p *phrase) error {
	t, err := w.target(p)
	if err != nil {
		return fmt.Errorf("expect %s: %w", what, err)
	}
	if what == "leader" {
		return w.expectLeader(ctx, t, p)
	}
	want := p.number()
	if err := p.end(); err != nil {
		return err
	}
	switch what {
	case "twice":
		if got := t.twice(); got != want {
			return fmt.Errorf("%d came twice", got)
		}
		return nil
	case "ready", "committed", "replicas", "live":
		return await(ctx, func() error {
			got, err := w.count(ctx, what, t)
			if err == nil && got != want {
				err = fmt.Errorf("there are %d", got)
			}
			return err
		})
	}
	return fmt.Errorf("%q is nothing that can be expected", what)
}

// count asks the cluster for a number.
func (w *world) count(ctx context.Context, what string, t target) (int, error) {
	switch t := t.(type) {
	case *queue:
		if what == "ready" {
			leader, err := w.leader(ctx, t)
			if err != nil {
				return 0, err
			}
			q, err := leader.Queue(ctx, t.name)
			return q.Ready, err
		}
	case *topic:
		if what == "committed" {
			n, err := t.committed(ctx)
			return int(n), err
		}
	}
	switch what {
	case "replicas":
		group, err := w.cluster.GroupOf(ctx, t.words()...)
		return len(group.Replicas), err
	case "live": // the others know what they were told last
		leader, err := w.leader(ctx, t)
		if err != nil {
			return 0, err
		}
		group, err := leader.GroupOf(ctx, t.words()...)
		return group.Live, err
	}
	return 0, fmt.Errorf("%w: there is no %s of that", errWorld, what)
}

func (w *world) expectLeader(ctx context.Context, t target, p *phrase) error {
	other := p.takes("not")
	nodes, err := w.whoEnd(ctx, p)
	if err != nil {
		return err
	}
	return await(ctx, func() error {
		leader, err := w.leader(ctx, t)
		if err == nil && slices.Contains(nodes, leader) == other {
			err = fmt.Errorf("node %d leads", leader.ID)
		}
		return err
	})
}
