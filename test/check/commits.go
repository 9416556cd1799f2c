package check

import (
	"slices"
	"sync"
)

// Commits checks the committed offsets of consumer groups. A group's offset of
// a partition must be committed by one client at a time.
type Commits struct {
	mu    sync.Mutex
	state map[commitKey]*committed
	found Report
}

type commitKey struct {
	group     string
	partition partitionKey
}

// committed is what may be found as a committed offset.
type committed struct {
	answered int64   // -1: none
	open     []int64 // attempts since, whose outcome is unknown
}

// NoCommit is the offset that is fetched where there is no commit.
const NoCommit = -1

func (c *Commits) of(group, topic string, partition int32) *committed {
	key := commitKey{group, partitionKey{topic, partition}}
	if c.state == nil {
		c.state = make(map[commitKey]*committed)
	}
	if c.state[key] == nil {
		c.state[key] = &committed{answered: NoCommit}
	}
	return c.state[key]
}

// Attempt tells that the group is about to commit offset.
func (c *Commits) Attempt(group, topic string, partition int32, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.of(group, topic, partition)
	s.open = append(s.open, offset)
	c.found.Attempted++
}

// Answered tells that the commit of offset, the last one attempted, was
// answered without an error.
func (c *Commits) Answered(group, topic string, partition int32, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.of(group, topic, partition)
	s.answered, s.open = offset, s.open[:0]
	c.found.Acked++
}

// Fetched tells what OffsetFetch answered while no commit was under way. It decides about the attempts
// that were not answered.
func (c *Commits) Fetched(group, topic string, partition int32, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.of(group, topic, partition)
	c.found.Received++
	switch {
	case offset == s.answered:
	case slices.Contains(s.open, offset):
		c.found.Recovered++
	case offset < s.answered:
		c.found.add(CommitLost, "group %s, %s/%d: %d was answered, and %d is committed",
			group, topic, partition, s.answered, offset)
	default:
		c.found.add(CommitUnexpected, "group %s, %s/%d: %d is committed, which nobody tried after %d was answered",
			group, topic, partition, offset, s.answered)
	}
	s.answered, s.open = offset, s.open[:0]
}

// Report tells what was found.
func (c *Commits) Report() *Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.found.clone()
}
