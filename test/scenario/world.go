package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"waybill/test/check"
	clustertest "waybill/test/cluster"
	"waybill/test/stock"
)

// world is what one scenario is about.
type world struct {
	t       testing.TB
	binary  string
	cluster *clustertest.Cluster
	targets map[string]target
	names   []string            // of the targets, in the order of their declaration
	it      []*clustertest.Node // whom the last line meant
	loads   map[string]*load
	nextID  uint32 // of producers
	unread  bool   // something was acknowledged after the last "expect lost"
}

// target is a queue or a topic, with all that was done to it.
type target interface {
	// words are in the description of its raft group.
	words() []string
	// publish publishes until n messages are acknowledged.
	publish(ctx context.Context, n int, v check.Value, through []*clustertest.Node) error
	// refused publishes n messages once; it returns what they were refused with.
	refused(ctx context.Context, n int, v check.Value, through []*clustertest.Node) (stock.Count, error)
	// load returns what publishes until ctx ends, through the nodes that there are now.
	load(v check.Value) (run func(ctx context.Context))
	// consume takes n messages and says that it is done with them.
	consume(ctx context.Context, n int, through []*clustertest.Node) error
	// drain reads what is left.
	drain(ctx context.Context) error
	report() *check.Report
	// twice is how often a consumer got what a consumer had got before.
	twice() int
}

// errWorld is returned when a line does not fit what was there before.
var errWorld = errors.New("this scenario")

func (w *world) started() error {
	if w.cluster == nil {
		return fmt.Errorf("%w has no cluster yet: begin with start 3", errWorld)
	}
	return nil
}

// producer gives out an id for the numbers of messages.
func (w *world) producer() check.Value {
	w.nextID++
	return check.Value{Producer: w.nextID}
}

// target finds what a line names.
func (w *world) target(p *phrase) (target, error) {
	name := p.word("the name of a queue or topic")
	if p.err != nil {
		return nil, p.err
	}
	if t, ok := w.targets[name]; ok {
		return t, nil
	}
	return nil, fmt.Errorf("%w has declared no %s", errWorld, name)
}

// declared adds a queue or topic.
func (w *world) declared(name string, t target) {
	if w.targets == nil {
		w.targets = map[string]target{}
	}
	w.targets[name] = t
	w.names = append(w.names, name)
}

// who finds the nodes that a line means, and keeps them as "it".
func (w *world) who(ctx context.Context, p *phrase) ([]*clustertest.Node, error) {
	if err := w.started(); err != nil {
		return nil, err
	}
	nodes, err := w.whoIs(ctx, p)
	if err != nil {
		return nil, err
	}
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%w has nobody who is meant there", errWorld)
	}
	w.it = nodes
	return nodes, nil
}

func (w *world) whoIs(ctx context.Context, p *phrase) ([]*clustertest.Node, error) {
	word := p.word("WHO")
	if p.err != nil {
		return nil, p.err
	}
	switch word {
	case "all":
		return slices.Clone(w.cluster.Nodes), nil
	case "it":
		return w.it, nil
	case "survivors", "dead":
		return slices.DeleteFunc(slices.Clone(w.cluster.Nodes), func(n *clustertest.Node) bool { return n.Running() == (word == "dead") }), nil
	case "others":
		return w.cluster.Others(w.it...), nil
	case "controller":
		return w.one(w.leaderOf(ctx, "the catalog"))
	case "coordinator":
		return w.one(w.coordinator(ctx, p.word("the name of a topic")))
	case "leader", "follower":
		t, err := w.target(p)
		if err != nil {
			return nil, err
		}
		leader, err := w.leader(ctx, t)
		if err == nil && word == "follower" {
			return w.one(w.follower(ctx, t, leader))
		}
		return w.one(leader, err)
	}
	if id, err := strconv.ParseUint(word, 10, 64); err == nil {
		for _, n := range w.cluster.Nodes {
			if n.ID == id {
				return []*clustertest.Node{n}, nil
			}
		}
		return nil, fmt.Errorf("%w has no node %d", errWorld, id)
	}
	return nil, fmt.Errorf("%q is nobody: WHO is a node's number, leader NAME, follower NAME, coordinator NAME, controller, it, others, survivors, dead or all", word)
}

func (w *world) one(n *clustertest.Node, err error) ([]*clustertest.Node, error) {
	if err != nil {
		return nil, err
	}
	return []*clustertest.Node{n}, nil
}

// leader waits until somebody leads.
func (w *world) leader(ctx context.Context, t target) (*clustertest.Node, error) {
	return w.leaderOf(ctx, t.words()...)
}

func (w *world) leaderOf(ctx context.Context, words ...string) (*clustertest.Node, error) {
	group, err := w.group(ctx, words...)
	if err != nil {
		return nil, err
	}
	return w.cluster.Node(group.Leader), nil
}

// group waits until somebody leads. Who was told of the death of a leader meanwhile knows none for a moment.
func (w *world) group(ctx context.Context, words ...string) (group clustertest.Group, err error) {
	err = await(ctx, func() (err error) {
		group, err = w.cluster.GroupOf(ctx, words...)
		return err
	})
	return group, err
}

// follower is never a node that is dead: after "kill leader NAME" the lead may have passed on already, or not yet.
func (w *world) follower(ctx context.Context, t target, leader *clustertest.Node) (*clustertest.Node, error) {
	group, err := w.group(ctx, t.words()...)
	if err != nil {
		return nil, err
	}
	for _, n := range w.cluster.Others(leader) {
		if n.Running() && slices.Contains(group.Replicas, n.ID) {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%q has no follower", t.words())
}

// coordinator asks, as clients do, who coordinates the group of a topic.
func (w *world) coordinator(ctx context.Context, topic string) (*clustertest.Node, error) {
	cl, err := stock.Kafka(w.cluster.Kafka(), stock.Connect)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	var found kadm.FindCoordinatorResponse
	err = await(ctx, func() error { // the group of its offsets may have no leader yet
		found = kadm.NewClient(cl).FindGroupCoordinators(ctx, groupOf(topic))[groupOf(topic)]
		return found.Err
	})
	if err != nil {
		return nil, err
	}
	return w.cluster.Node(uint64(found.NodeID)), nil
}

// through finds the nodes after the word "through"; nil: any.
func (w *world) through(ctx context.Context, p *phrase) ([]*clustertest.Node, error) {
	if !p.takes("through") {
		return nil, nil
	}
	before := w.it
	nodes, err := w.who(ctx, p)
	w.it = before // clients are not what "it" is about
	return nodes, err
}

// await tries until there is no error or ctx ends.
func await(ctx context.Context, try func() error) error {
	var last error
	for {
		err := try()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // what was cut off says less
			last = err
		}
		select {
		case <-ctx.Done():
			return last
		case <-time.After(20 * time.Millisecond):
		}
	}
}
