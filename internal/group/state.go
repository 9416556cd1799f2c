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
	bytes  int // about what they take in memory
}

// groupBytes is about what a group takes beside its name, members and offsets.
const groupBytes = 256

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
		s.bytes += groupBytes + len(name)
	}
	return g
}

// has reports whether an offset is committed.
func (s *state) has(name string, p TopicPartition) bool {
	g := s.groups[name]
	if g == nil {
		return false
	}
	_, ok := g.offsets[p]
	return ok
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
	s.bytes += c.size() - g.outcome.size()
	g.outcome = *c
}

// size is about what the members take in memory.
func (c *outcome) size() (n int) {
	for i := range c.members {
		mem := &c.members[i]
		n += memberBytes + len(mem.id) + len(mem.instance) + len(mem.clientID) + len(mem.clientHost) +
			sizeOf(mem.protocols) + len(mem.assignment)
	}
	return n
}

// size is about what an offset committed for p takes in memory.
func (o *Offset) size(p TopicPartition) int { return offsetBytes + len(p.Topic) + len(o.Metadata) }

func (c *commit) apply(s *state) {
	g := s.group(c.group)
	for _, o := range c.offsets {
		if old, ok := g.offsets[o.TopicPartition]; ok {
			s.bytes -= old.size(o.TopicPartition)
		}
		g.offsets[o.TopicPartition] = o.Offset
		s.bytes += o.Offset.size(o.TopicPartition)
	}
}

func (c *forget) apply(s *state) {
	if g := s.groups[c.group]; g != nil {
		for _, p := range c.partitions {
			if o, ok := g.offsets[p]; ok {
				s.bytes -= o.size(p)
				delete(g.offsets, p)
			}
		}
	}
}

func (c *remove) apply(s *state) {
	g := s.groups[c.group]
	if g == nil {
		return
	}
	s.bytes -= groupBytes + len(c.group) + g.outcome.size()
	for p, o := range g.offsets {
		s.bytes -= o.size(p)
	}
	delete(s.groups, c.group)
}
