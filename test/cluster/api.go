package clustertest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Status is the answer of /api/cluster, as far as tests need it.
type Status struct {
	CatalogLeader        uint64       `json:"catalog_leader"`
	Nodes                []NodeStatus `json:"nodes"`
	Groups               int          `json:"groups"`
	Leaderless           []string     `json:"leaderless"`
	LeaderlessTotal      int          `json:"leaderless_total"`
	UnderReplicated      []string     `json:"under_replicated"`
	UnderReplicatedTotal int          `json:"under_replicated_total"`
}

// NodeStatus is a member.
type NodeStatus struct {
	ID       uint64 `json:"id"`
	Replica  uint64 `json:"replica"`
	State    string `json:"state"`
	Up       bool   `json:"up"`
	Leaders  int    `json:"leaders"`
	Replicas int    `json:"replicas"`
}

// Group is a raft group.
type Group struct {
	Log      uint64   `json:"log"`
	What     string   `json:"what"`
	Leader   uint64   `json:"leader"`
	Term     uint64   `json:"term"`
	Replicas []uint64 `json:"replicas"`
	Live     int      `json:"live"`
}

// ask sends a request to the node's HTTP API as guest.
func (n *Node) ask(ctx context.Context, method, path string, body, answer any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+n.HTTP+path, bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.SetBasicAuth("guest", "guest")
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode >= http.StatusBadRequest:
		return fmt.Errorf("node %d: %s %s: %s: %s", n.ID, method, path, resp.Status, bytes.TrimSpace(text))
	case answer == nil:
		return nil
	}
	return json.Unmarshal(text, answer)
}

// Status asks a node for the cluster's state.
func (n *Node) Status(ctx context.Context) (s Status, err error) {
	return s, n.ask(ctx, http.MethodGet, "/api/cluster", nil, &s)
}

// Groups asks a node for the raft groups.
func (n *Node) Groups(ctx context.Context) (list []Group, err error) {
	return list, n.ask(ctx, http.MethodGet, "/api/cluster/groups", nil, &list)
}

// Clock asks a node what time it is, to the second.
func (n *Node) Clock(ctx context.Context) (time.Time, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/healthz", http.NoBody)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	defer resp.Body.Close() //nolint:errcheck // nothing in it counts
	return http.ParseTime(resp.Header.Get("Date"))
}

// Queue is what a node says about a queue.
type Queue struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	Ready     int    `json:"messages_ready"`
	Unacked   int    `json:"messages_unacknowledged"`
	Consumers int    `json:"consumers"`
}

// Queue asks a node about a queue.
func (n *Node) Queue(ctx context.Context, name string) (Queue, error) {
	var all []Queue
	if err := n.ask(ctx, http.MethodGet, "/api/queues", nil, &all); err != nil {
		return Queue{}, err
	}
	for _, q := range all {
		if q.Name == name {
			return q, nil
		}
	}
	return Queue{}, fmt.Errorf("node %d knows no queue %s", n.ID, name)
}

// Change asks a node for a change of the cluster: a verb of the API and its arguments.
func (n *Node) Change(ctx context.Context, verb string, args map[string]any) error {
	return n.ask(ctx, http.MethodPost, "/api/cluster/"+verb, args, nil)
}

// GroupOf asks one node after the other for the raft group whose description holds all the words.
func (c *Cluster) GroupOf(ctx context.Context, words ...string) (Group, error) {
	errs := []error{fmt.Errorf("no node knows the leader of %q", words)}
	for _, n := range c.Nodes {
		if !n.Running() || n.paused {
			continue
		}
		g, err := n.GroupOf(ctx, words...)
		if err == nil {
			return g, nil
		}
		errs = append(errs, err)
	}
	return Group{}, errors.Join(errs...)
}

// GroupOf asks the node for the raft group whose description holds all the words, and who leads it.
func (n *Node) GroupOf(ctx context.Context, words ...string) (Group, error) {
	groups, err := n.Groups(ctx)
	if err != nil {
		return Group{}, err
	}
	for _, g := range groups {
		if containsAll(g.What, words) && g.Leader != 0 {
			return g, nil
		}
	}
	return Group{}, fmt.Errorf("node %d does not know the leader of %q", n.ID, words)
}

func containsAll(text string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return false
		}
	}
	return true
}

// LeaderOf returns the node that leads the group whose description holds all the words.
func (c *Cluster) LeaderOf(ctx context.Context, words ...string) (*Node, error) {
	g, err := c.GroupOf(ctx, words...)
	if err != nil {
		return nil, err
	}
	return c.Node(g.Leader), nil
}

// AwaitHealth waits until every node is up and every group is led and has all its replicas,
// as every running node sees it. Groups that ignore returns true for do not count, such as those that are
// being created all the time; nil: all count.
func (c *Cluster) AwaitHealth(ctx context.Context, ignore func(group string) bool) error {
	var last error
	for {
		err := c.unhealthy(ctx, ignore)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil || last == nil { // what was cut off says less
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the cluster does not become healthy: %w", last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (c *Cluster) unhealthy(ctx context.Context, ignore func(string) bool) error {
	for _, n := range c.Nodes {
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		s, err := n.Status(limited)
		cancel()
		if err != nil {
			return err
		}
		for _, m := range s.Nodes {
			if !m.Up {
				return fmt.Errorf("node %d sees node %d down", n.ID, m.ID)
			}
		}
		if ignore != nil {
			s.Leaderless, s.UnderReplicated = slices.DeleteFunc(s.Leaderless, ignore), slices.DeleteFunc(s.UnderReplicated, ignore)
		}
		if len(s.Leaderless)+len(s.UnderReplicated) > 0 {
			return fmt.Errorf("node %d sees groups without a leader %v, with too few replicas %v", n.ID, s.Leaderless, s.UnderReplicated)
		}
	}
	return nil
}

// Metric sums up the values of a metric of the node, over all labels.
func (n *Node) Metric(ctx context.Context, name string) (sum float64, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.HTTP+"/metrics", http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // it was read
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		series, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if bare, _, _ := strings.Cut(series, "{"); !ok || bare != name {
			continue
		}
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		sum += v
	}
	return sum, nil
}
