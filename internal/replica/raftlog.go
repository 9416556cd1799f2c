package replica

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// freshLimit is how many entries are kept for raft to apply.
const freshLimit = 128

// raftLog shows a group's storage.Log to raft as its raft.Storage.
type raftLog struct {
	group *Group
	log   *storage.Log
	hard  *raftpb.HardState
	conf  *raftpb.ConfState

	// fresh are the last entries that the store was given, as far as they are not applied:
	// what raft reads to apply it has just been written, and need not be looked up and
	// checked once more. Raft reads what is durable only, and no entry that the store
	// was told to replace is.
	fresh []*raftpb.Entry

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
	if l.reading {
		if entries := cut(l.fresh, lo, hi, maxSize); len(entries) > 0 {
			return entries, nil
		}
	}
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

// wrote notes entries that the store was given. They replace those from the first one on.
func (l *raftLog) wrote(entries []*raftpb.Entry) {
	first := entries[0].GetIndex()
	kept := len(l.fresh)
	for kept > 0 && l.fresh[kept-1].GetIndex() >= first {
		kept--
	}
	if kept > 0 && l.fresh[kept-1].GetIndex() != first-1 {
		kept = 0
	}
	if kept < len(l.fresh) { // raft may hold a part of the list
		l.fresh = l.fresh[:kept:kept]
	}
	if len(l.fresh)+len(entries) > freshLimit { // raft reads them from the log
		l.fresh = nil
		return
	}
	l.fresh = append(l.fresh, entries...)
}

// applied forgets the entries up to an index. Raft may still hold the list.
func (l *raftLog) applied(index record.Index) {
	n := 0
	for n < len(l.fresh) && record.Index(l.fresh[n].GetIndex()) <= index {
		n++
	}
	if l.fresh = l.fresh[n:]; len(l.fresh) == 0 {
		l.fresh = nil
	}
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
