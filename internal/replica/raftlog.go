package replica

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// raftLog shows a group's storage.Log to raft as its raft.Storage.
type raftLog struct {
	group *Group
	log   *storage.Log
	hard  *raftpb.HardState
	conf  *raftpb.ConfState

	// reading is set while raft reads what is to be applied, which it has to
	// get; what it reads at other times is for followers, and may come later.
	reading bool
	broken  error // what a read has met; raft can only panic about it
}

// newRaftLog prepares the state that raft starts from. The commit index on
// disk may lag behind what was applied, because it is written only together
// with something else; applied implies committed. It can never be ahead of the
// log, because an entry is durable before it is committed: then entries that
// were acknowledged are gone.
func newRaftLog(g *Group, hard *raftpb.HardState) (*raftLog, error) {
	if hard.GetCommit() > uint64(g.log.LastIndex()) {
		return nil, fmt.Errorf("%w: the log ends at index %d, but %d was committed: acknowledged entries are missing",
			storage.ErrDamaged, g.log.LastIndex(), hard.GetCommit())
	}
	return &raftLog{
		group: g,
		log:   g.log,
		conf:  g.conf,
		hard: &raftpb.HardState{
			Term:   new(max(hard.GetTerm(), 1)),
			Vote:   new(hard.GetVote()),
			Commit: new(max(hard.GetCommit(), uint64(g.applied))),
		},
	}, nil
}

// check reads all that raft may read, because raft has no answer to a damaged
// entry but to panic: one log would stop the node.
func (l *raftLog) check() error {
	const piece = 4 << 20
	if _, err := l.log.Term(l.log.LastIndex()); err != nil { // there may be no entry that tells of it
		return fmt.Errorf("the term at index %d: %w", l.log.LastIndex(), err)
	}
	for i, end := l.log.FirstIndex(), l.log.LastIndex()+1; i < end; {
		entries, err := l.log.Entries(i, end, piece, true)
		if err != nil {
			return fmt.Errorf("read from index %d: %w", i, err)
		}
		i += record.Index(len(entries))
	}
	return nil
}

// InitialState implements raft.Storage.
func (l *raftLog) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	return l.hard, l.conf, nil
}

// Entries implements raft.Storage. What a follower needs and is not in memory
// is read ahead, off the shard: until it is there raft hears that the entries are
// compacted and that no snapshot can be had at the moment, and asks again.
func (l *raftLog) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	g := l.group
	disk := l.reading || g.state != raft.StateLeader
	entries, err := l.log.Entries(record.Index(lo), record.Index(hi), maxSize, disk)
	switch {
	case errors.Is(err, storage.ErrCold):
		if entries := g.catchUp.ahead.at(g.raftTerm).take(lo, hi, maxSize); len(entries) > 0 {
			return entries, nil
		}
		g.readAhead(lo, hi)
		return nil, raft.ErrCompacted
	case errors.Is(err, storage.ErrNotFound):
		return nil, raft.ErrCompacted
	case err != nil:
		l.fail(err)
		return nil, nil
	}
	return entries, nil
}

func (l *raftLog) fail(err error) {
	if l.broken == nil {
		l.broken = err
	}
}

// Term implements raft.Storage.
func (l *raftLog) Term(i uint64) (uint64, error) {
	term, err := l.log.Term(record.Index(i))
	switch {
	case errors.Is(err, storage.ErrNotFound):
		if record.Index(i) < l.log.FirstIndex() {
			return 0, raft.ErrCompacted
		}
		return 0, raft.ErrUnavailable
	case err != nil:
		l.fail(err)
		return 0, raft.ErrUnavailable
	}
	return term, nil
}

// LastIndex implements raft.Storage.
func (l *raftLog) LastIndex() (uint64, error) { return uint64(l.log.LastIndex()), nil }

// FirstIndex implements raft.Storage.
func (l *raftLog) FirstIndex() (uint64, error) {
	return uint64(l.log.FirstIndex()), nil
}

// Snapshot implements raft.Storage. It tells only that there is one: the other
// replica fetches it, see fetch.go.
func (l *raftLog) Snapshot() (*raftpb.Snapshot, error) {
	g := l.group
	if len(g.catchUp.ahead.at(g.raftTerm).running) > 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{
		Index: new(uint64(g.applied)), Term: new(g.term), ConfState: g.conf,
	}}, nil
}
