package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	foundingPause = 200 * time.Millisecond // between two rounds of asking
	foundingLog   = 5 * time.Second        // between two lines about who is missing
	askTimeout    = 3 * time.Second
	admitTimeout  = 10 * time.Second
)

// founding finds out which node of which cluster an empty data directory is to
// be. It asks the nodes of --join, again and again, until one of three things is so:
//
//   - One is a member of a cluster that names this data directory among its
//     founders: then it is one of them.
//   - One is a member of another cluster: it is asked to have this node admitted.
//   - All answer, all are empty, and all have found the same nodes behind their
//     lists: then the one with the lowest number founds the cluster. It makes its
//     file durable, and is a member from then on; the others find that out, as above.
//
// A cluster is never founded while a node of the list does not answer: it might
// be a member of one.
type founding struct {
	self member // Replica is not known yet
	list []string
	ask  func(ctx context.Context, addr string, q joinRequest) (joinAnswer, error)
	// save makes the outcome durable.
	save func(*clusterFile) error
	// waits is told what is waited for.
	waits func(string)
	log   *slog.Logger
	pause time.Duration
	// joins says that there is a cluster, so that none is to be founded.
	joins bool

	mu   sync.Mutex // guards view
	view []member   // whom this node has found behind its list; nil: not all yet
}

// joinRequest is what an empty node asks, as JSON.
type joinRequest struct {
	Node  uint64 `json:"node"`
	Store string `json:"store"`
	Addr  string `json:"addr"`
	Admit bool   `json:"admit"`          // have it admitted; else it only wants to know
	Lost  string `json:"lost,omitempty"` // instead: give up the node's data directory with that id
}

// joinAnswer is the answer, as JSON.
type joinAnswer struct {
	Node  uint64   `json:"node"`
	Store string   `json:"store"`
	Addr  string   `json:"addr"`
	View  []member `json:"view,omitempty"` // of an empty node

	Cluster  string   `json:"cluster,omitempty"` // of a member, as is what follows
	Founders []member `json:"founders,omitempty"`
	Members  []member `json:"members,omitempty"`
	Replica  uint64   `json:"replica,omitempty"`  // that the asking node gets
	Refused  string   `json:"refused,omitempty"`  // why it never will
	Wait     string   `json:"wait,omitempty"`     // why it is not yet
	GivenUp  bool     `json:"given_up,omitempty"` // Lost was
}

// errRefused: the cluster does not want this node.
var errRefused = errors.New("the cluster does not admit this node")

// run returns the outcome, which is durable then.
func (f *founding) run(ctx context.Context) (*clusterFile, error) {
	tick := time.NewTicker(f.pause)
	defer tick.Stop()
	var logged time.Time
	for {
		file, wait, err := f.round(ctx)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		if file != nil {
			if err := f.save(file); err != nil {
				return nil, err
			}
			return file, nil
		}
		f.waits(wait)
		if now := time.Now(); now.Sub(logged) >= foundingLog {
			logged = now
			f.log.Info("waiting to found or to join a cluster", "why", wait)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// round asks everyone once. It returns the outcome, or what is missing for one.
func (f *founding) round(ctx context.Context) (file *clusterFile, wait string, err error) {
	answers, missing := f.askAll(ctx)
	members := slices.DeleteFunc(slices.Clone(answers), func(a joinAnswer) bool { return a.Cluster == "" })
	if len(members) > 0 {
		f.see(nil)
		return f.join(ctx, members)
	}
	if f.joins {
		return nil, "no node of --join is a member of a cluster, and this one was; no answer from " + strings.Join(missing, "; "), nil
	}
	if len(missing) > 0 {
		f.see(nil)
		return nil, "no answer from " + strings.Join(missing, "; "), nil
	}
	view, err := f.found(answers)
	f.see(view)
	if err != nil {
		return nil, err.Error(), nil //nolint:nilerr // it is the reason to wait
	}
	for _, a := range answers {
		if a.Store != f.self.Store && !sameNodes(a.View, view) {
			return nil, fmt.Sprintf("node %d at %s: %s", a.Node, a.Addr, disagreement(a.View, view)), nil
		}
	}
	if view[0].Store != f.self.Store {
		return nil, fmt.Sprintf("node %d founds the cluster", view[0].Node), nil
	}
	founders := slices.Clone(view) // others are being told of the view
	for i := range founders {
		founders[i].Replica = founders[i].Node
	}
	return f.outcome(newClusterID(), f.self.Node, founders, nil), "", nil
}

func newClusterID() string { return rand.Text()[:22] }

func (f *founding) outcome(cluster string, replica uint64, founders, members []member) *clusterFile {
	return &clusterFile{
		Cluster: cluster, Node: f.self.Node, Replica: replica, Store: f.self.Store, Founders: founders, Members: members,
	}
}

func (f *founding) see(view []member) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view = view
}

// seen is what this node answers to others while it is empty.
func (f *founding) seen() []member {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.view
}

// askAll asks the whole list; missing says who gave no answer, and why.
func (f *founding) askAll(ctx context.Context) (answers []joinAnswer, missing []string) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	all := make([]joinAnswer, len(f.list))
	errs := make([]error, len(f.list))
	var asking sync.WaitGroup
	for i, addr := range f.list {
		if addr == f.self.Addr {
			all[i] = joinAnswer{Node: f.self.Node, Store: f.self.Store, Addr: addr}
			continue
		}
		asking.Go(func() {
			all[i], errs[i] = f.ask(ctx, addr, joinRequest{Node: f.self.Node, Store: f.self.Store, Addr: f.self.Addr})
		})
	}
	asking.Wait()
	for i, addr := range f.list {
		if errs[i] != nil {
			missing = append(missing, fmt.Sprintf("%s (%v)", addr, errs[i]))
			continue
		}
		answers = append(answers, all[i])
	}
	return answers, missing
}

// found makes a view of the answers of empty nodes: each once, this one
// included, in the order of their numbers.
func (f *founding) found(answers []joinAnswer) ([]member, error) {
	view := []member{f.self}
	for _, a := range answers {
		switch i := slices.IndexFunc(view, func(m member) bool { return m.Node == a.Node }); {
		case i < 0:
			view = append(view, member{Node: a.Node, Store: a.Store, Addr: a.Addr})
		case view[i].Store != a.Store:
			return nil, fmt.Errorf("two nodes have the number %d, at %s and %s: give each its own --node-id", a.Node, view[i].Addr, a.Addr)
		}
	}
	slices.SortFunc(view, func(a, b member) int { return cmp.Compare(a.Node, b.Node) })
	return view, nil
}

func sameNodes(a, b []member) bool {
	return slices.EqualFunc(a, b, func(a, b member) bool { return a.Node == b.Node && a.Store == b.Store })
}

// disagreement says how the view of another node is not that of this one.
func disagreement(theirs, own []member) string {
	if theirs == nil {
		return "it has not reached all nodes of its --join list yet"
	}
	return fmt.Sprintf("its --join list names nodes %v, this one's %v: give all nodes the same", numbers(theirs), numbers(own))
}

func numbers(list []member) (nodes []uint64) {
	for _, m := range list {
		nodes = append(nodes, m.Node)
	}
	return nodes
}

// join makes this node a member of the cluster that others are in.
func (f *founding) join(ctx context.Context, members []joinAnswer) (file *clusterFile, wait string, err error) {
	for _, m := range members {
		if m.Cluster != members[0].Cluster {
			return nil, "", fmt.Errorf("%w: nodes %d and %d of --join are in two clusters, %s and %s",
				errRefused, members[0].Node, m.Node, members[0].Cluster, m.Cluster)
		}
	}
	for _, m := range members {
		for _, founder := range m.Founders {
			if founder.Node == f.self.Node && founder.Store == f.self.Store {
				return f.outcome(m.Cluster, founder.Replica, m.Founders, m.Members), "", nil
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	for _, m := range members {
		a, err := f.ask(ctx, m.Addr, joinRequest{Node: f.self.Node, Store: f.self.Store, Addr: f.self.Addr, Admit: true})
		switch {
		case err != nil:
			wait = fmt.Sprintf("node %d at %s: %v", m.Node, m.Addr, err)
		case a.Refused != "":
			return nil, "", fmt.Errorf("%w: %s", errRefused, a.Refused)
		case a.Replica == 0 || a.Cluster != m.Cluster:
			wait = fmt.Sprintf("node %d at %s: %s", m.Node, m.Addr, a.Wait)
		default:
			return f.outcome(a.Cluster, a.Replica, a.Founders, a.Members), "", nil
		}
	}
	return nil, wait, nil
}
