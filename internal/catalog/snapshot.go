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
	*c = *n
	return nil
}

// Changes lists all that exists, as the changes that would make it.
func (c *Catalog) Changes() []Change {
	var all []Change
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
