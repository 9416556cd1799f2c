package group

import (
	"maps"
	"slices"
	"strings"
)

// state is what is replicated: it changes by commands alone, the same way on
// every replica.
type state struct {
	groups map[string]*stored
}

// stored is the replicated part of one group.
type stored struct {
	generation int32   // the highest that was handed out
	outcome    outcome // of the last finished rebalance; the zero value before the first
	offsets    map[TopicPartition]Offset
}

func newState() *state { return &state{groups: make(map[string]*stored)} }

// group returns the group, which it makes when there is none.
func (s *state) group(name string) *stored {
	g := s.groups[name]
	if g == nil {
		g = &stored{offsets: make(map[TopicPartition]Offset)}
		s.groups[name] = g
	}
	return g
}

// names lists the groups in order.
func (s *state) names() []string { return slices.Sorted(maps.Keys(s.groups)) }

// snapshot appends the commands that lead from nothing to this state.
func (s *state) snapshot(b []byte) []byte {
	for _, name := range s.names() {
		g := s.groups[name]
		b = appendCommand(b, &generation{name, g.generation})
		if g.outcome.group != "" {
			b = appendCommand(b, &g.outcome)
		}
		if len(g.offsets) > 0 {
			b = appendCommand(b, &commit{name, g.sorted()})
		}
	}
	return b
}

// sorted lists the offsets by topic and partition.
func (g *stored) sorted() []committed {
	all := make([]committed, 0, len(g.offsets))
	for p, o := range g.offsets {
		all = append(all, committed{p, o})
	}
	slices.SortFunc(all, func(a, b committed) int { return a.TopicPartition.compare(b.TopicPartition) })
	return all
}

// all lists the offsets of a group, none if there is no such group.
func (s *state) all(name string) []FetchedOffset {
	g := s.groups[name]
	if g == nil {
		return nil
	}
	list := make([]FetchedOffset, 0, len(g.offsets))
	for _, o := range g.sorted() {
		list = append(list, FetchedOffset{o.TopicPartition, o.Offset, true})
	}
	return list
}

func (p TopicPartition) compare(q TopicPartition) int {
	if c := strings.Compare(p.Topic, q.Topic); c != 0 {
		return c
	}
	return int(p.Partition) - int(q.Partition)
}

func (c *generation) apply(s *state) {
	g := s.group(c.group)
	g.generation = max(g.generation, c.number)
}

func (c *outcome) apply(s *state) {
	g := s.group(c.group)
	g.generation = max(g.generation, c.generation)
	g.outcome = *c
}

func (c *commit) apply(s *state) {
	g := s.group(c.group)
	for _, o := range c.offsets {
		g.offsets[o.TopicPartition] = o.Offset
	}
}

func (c *forget) apply(s *state) {
	if g := s.groups[c.group]; g != nil {
		for _, p := range c.partitions {
			delete(g.offsets, p)
		}
	}
}

func (c *remove) apply(s *state) { delete(s.groups, c.group) }
