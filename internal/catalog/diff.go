package catalog

import (
	"fmt"
	"reflect"
	"slices"
)

// Diff lists the changes that lead from an older state to this one, in an
// order in which they can be followed. It is for a replica that was too far
// behind, and got the state instead of the commands.
func (c *Catalog) Diff(old *Catalog) []Change {
	was, is := old.byKey(), c.byKey()
	var changes []Change
	for _, change := range old.Changes() {
		if _, ok := is[old.key(&change)]; !ok {
			change.Gone = true
			changes = append(changes, change)
		}
	}
	slices.Reverse(changes) // what depends on another thing goes before it
	for _, change := range c.Changes() {
		if before, ok := was[c.key(&change)]; !ok || !reflect.DeepEqual(before, change) {
			changes = append(changes, change)
		}
	}
	for _, p := range c.Placements() {
		if before := old.placements[p.Log]; before != nil && !reflect.DeepEqual(before, p) {
			changes = append(changes, Change{Placement: p})
		}
	}
	return changes
}

func (c *Catalog) byKey() map[string]Change {
	m := map[string]Change{}
	for _, change := range c.Changes() {
		m[c.key(&change)] = change
	}
	return m
}

// key identifies what a change is about. What was deleted and then made again
// under its name is another thing, where anyone can tell: its log, its id or its properties
// differ. A binding is one between those things, and not between names.
func (c *Catalog) key(change *Change) string {
	switch {
	case change.Node != nil:
		return fmt.Sprintf("node %d", change.Node.ID)
	case change.Exchange != nil:
		return fmt.Sprintf("exchange %q %+v", change.VHost, *change.Exchange)
	case change.Queue != nil:
		return fmt.Sprintf("queue %q %q %d", change.VHost, change.Queue.Name, change.Queue.Log)
	case change.Binding != nil:
		b, v := change.Binding, c.vhosts[change.VHost]
		var to any
		if b.ToExchange {
			to = *v.exchanges[b.Destination]
		} else {
			to = v.queues[b.Destination].Log
		}
		return fmt.Sprintf("binding %q %s %+v %+v", change.VHost, b.ID(), *v.exchanges[b.Source], to)
	case change.Topic != nil:
		return fmt.Sprintf("topic %q %x", change.Topic.Name, change.Topic.ID)
	default:
		return fmt.Sprintf("coordinator %d", change.Coordinator)
	}
}
