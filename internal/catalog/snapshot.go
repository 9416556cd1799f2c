package catalog

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"waybill/internal/record"
)

// ErrSnapshot is returned for bytes that are not a snapshot of a catalog.
var ErrSnapshot = errors.New("catalog: not a snapshot")

const snapshotVersion = 1

// image is the JSON form of a snapshot.
type image struct {
	Version      int            `json:"version"`
	ClusterID    string         `json:"cluster_id"`
	NextLog      record.LogID   `json:"next_log"`
	NextProducer int64          `json:"next_producer"`
	Coordinators []record.LogID `json:"coordinators"`
	VHosts       []vhostImage   `json:"vhosts"`
	Topics       []*Topic       `json:"topics"`

	// A snapshot from before there were clusters has none of these.
	Nodes       []*Node      `json:"nodes,omitempty"`
	NextReplica uint64       `json:"next_replica,omitempty"`
	Placements  []*Placement `json:"placements,omitempty"`
	Index       record.Index `json:"index,omitempty"`
}

type vhostImage struct {
	Name      string      `json:"name"`
	Exchanges []*Exchange `json:"exchanges"`
	Queues    []*Queue    `json:"queues"`
	Bindings  []*Binding  `json:"bindings"`
}

// Snapshot appends the state to b, as JSON.
func (c *Catalog) Snapshot(b []byte) []byte {
	im := image{
		Version:      snapshotVersion,
		ClusterID:    c.clusterID,
		NextLog:      c.nextLog,
		NextProducer: c.nextProducer,
		Coordinators: c.coordinators,
		Nodes:        c.Nodes(),
		NextReplica:  c.nextReplica,
		Placements:   c.Placements(),
		Index:        c.index,
	}
	for _, name := range c.VHosts() {
		v := c.vhosts[name]
		vi := vhostImage{Name: name, Bindings: v.Bindings()}
		for _, x := range v.Exchanges() {
			vi.Exchanges = append(vi.Exchanges, v.exchanges[x])
		}
		for _, q := range v.Queues() {
			vi.Queues = append(vi.Queues, v.queues[q])
		}
		im.VHosts = append(im.VHosts, vi)
	}
	for _, name := range c.Topics() {
		im.Topics = append(im.Topics, c.topics[name])
	}
	text, err := json.Marshal(&im)
	if err != nil {
		panic("catalog: " + err.Error()) // no field can fail to encode
	}
	return append(b, text...)
}

// Restore replaces the state by a snapshot; on an error it is unchanged.
func (c *Catalog) Restore(snapshot []byte) error {
	var im image
	if err := json.Unmarshal(snapshot, &im); err != nil {
		return fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	if im.Version != snapshotVersion {
		return fmt.Errorf("%w: version %d, this node reads %d", ErrSnapshot, im.Version, snapshotVersion)
	}
	n := New()
	n.clusterID, n.nextLog, n.nextProducer, n.coordinators = im.ClusterID, im.NextLog, im.NextProducer, im.Coordinators
	for _, vi := range im.VHosts {
		v := newVHost(vi.Name)
		if slices.Contains(vi.Exchanges, nil) || slices.Contains(vi.Queues, nil) || slices.Contains(vi.Bindings, nil) {
			return fmt.Errorf("%w: an empty element in vhost '%s'", ErrSnapshot, vi.Name)
		}
		for _, x := range vi.Exchanges {
			v.exchanges[x.Name] = x
		}
		for _, q := range vi.Queues {
			v.queues[q.Name] = q
		}
		for _, b := range vi.Bindings {
			if r := v.bind(b); r.Err != nil {
				return fmt.Errorf("%w: binding %s: %w", ErrSnapshot, b.ID(), r.Err)
			}
		}
		n.vhosts[v.name] = v
	}
	if slices.Contains(im.Topics, nil) {
		return fmt.Errorf("%w: an empty topic", ErrSnapshot)
	}
	for _, t := range im.Topics {
		n.topics[t.Name] = t
	}
	if err := n.restorePlacements(&im); err != nil {
		return err
	}
	*c = *n
	return nil
}

// restorePlacements takes nodes and placements from a snapshot. One without
// nodes is of a single node: node 1, which is replica 1 of everything.
func (c *Catalog) restorePlacements(im *image) error {
	if slices.Contains(im.Nodes, nil) || slices.Contains(im.Placements, nil) {
		return fmt.Errorf("%w: an empty node or placement", ErrSnapshot)
	}
	c.index = im.Index
	if len(im.Nodes) == 0 && c.clusterID != "" {
		c.setNode(&Node{ID: 1, Replica: 1})
		alone := []uint64{1}
		c.setPlacement(&Placement{Log: LogID, Initial: alone, Replicas: alone})
		for _, log := range c.replicated() {
			c.setPlacement(&Placement{Log: log, Initial: alone, Replicas: alone})
		}
		return nil
	}
	for _, n := range im.Nodes {
		c.setNode(n)
	}
	for _, p := range im.Placements {
		c.setPlacement(p)
	}
	c.nextReplica = max(c.nextReplica, im.NextReplica)
	for _, p := range im.Placements {
		if len(p.Replicas) == 0 || len(p.Initial) == 0 {
			return fmt.Errorf("%w: log %d is placed nowhere", ErrSnapshot, p.Log)
		}
	}
	for _, log := range c.replicated() {
		if c.placements[log] == nil {
			return fmt.Errorf("%w: log %d has no placement", ErrSnapshot, log)
		}
	}
	return nil
}

// replicated lists the logs that have raft groups, but for the catalog's own.
func (c *Catalog) replicated() (logs []record.LogID) {
	for _, change := range c.Changes() {
		if q := change.Queue; q == nil || q.Replicated() {
			logs = append(logs, change.Logs()...)
		}
	}
	return logs
}

// Changes lists all that exists, as the changes that would make it.
func (c *Catalog) Changes() []Change {
	var all []Change
	for _, n := range c.Nodes() {
		all = append(all, Change{Node: n})
	}
	for _, id := range c.coordinators {
		all = append(all, Change{Coordinator: id})
	}
	for _, name := range c.VHosts() {
		v := c.vhosts[name]
		for _, x := range v.Exchanges() {
			all = append(all, Change{VHost: name, Exchange: v.exchanges[x]})
		}
		for _, q := range v.Queues() {
			all = append(all, Change{VHost: name, Queue: v.queues[q]})
		}
		for _, b := range v.Bindings() {
			all = append(all, Change{VHost: name, Binding: b})
		}
	}
	for _, name := range c.Topics() {
		all = append(all, Change{Topic: c.topics[name]})
	}
	return all
}
