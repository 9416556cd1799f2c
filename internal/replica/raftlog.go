package replica

import (
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// raftLog shows a storage.Log to raft as its raft.Storage.
type raftLog struct {
	log  *storage.Log
	hard *raftpb.HardState
	conf *raftpb.ConfState
}

// newRaftLog prepares the state that raft starts from. The commit index on
// disk may lag behind what was applied, because it is written only together
// with something else; applied implies committed. It can never be ahead of the
// log, because an entry is durable before it is committed: then entries that
// were acknowledged are gone.
func newRaftLog(log *storage.Log, hard *raftpb.HardState, applied record.Index, conf *raftpb.ConfState) (*raftLog, error) {
	if hard.GetCommit() > uint64(log.LastIndex()) {
		return nil, fmt.Errorf("%w: the log ends at index %d, but %d was committed: acknowledged entries are missing",
			storage.ErrDamaged, log.LastIndex(), hard.GetCommit())
	}
	return &raftLog{
		log:  log,
		conf: conf,
		hard: &raftpb.HardState{
			Term:   new(max(hard.GetTerm(), 1)),
			Vote:   new(hard.GetVote()),
			Commit: new(max(hard.GetCommit(), uint64(applied))),
		},
	}, nil
}

// check reads all that raft may read, because raft has no answer to a damaged
// entry but to panic: one log would stop the node.
func (l *raftLog) check() error {
	const piece = 4 << 20
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

// Entries implements raft.Storage.
func (l *raftLog) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	entries, err := l.log.Entries(record.Index(lo), record.Index(hi), maxSize, true)
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return nil, raft.ErrCompacted
	case err != nil:
		return nil, fmt.Errorf("replica: log %d, entries %d to %d: %w", l.log.ID(), lo, hi, err)
	}
	return entries, nil
}

// Term implements raft.Storage.
func (l *raftLog) Term(i uint64) (uint64, error) {
	term, err := l.log.Term(record.Index(i))
	if errors.Is(err, storage.ErrNotFound) {
		if record.Index(i) < l.log.FirstIndex() {
			return 0, raft.ErrCompacted
		}
		return 0, raft.ErrUnavailable
	}
	return term, err
}

// LastIndex implements raft.Storage.
func (l *raftLog) LastIndex() (uint64, error) { return uint64(l.log.LastIndex()), nil }

// FirstIndex implements raft.Storage.
func (l *raftLog) FirstIndex() (uint64, error) { return uint64(l.log.FirstIndex()), nil }

// Snapshot implements raft.Storage. A group with one voter never sends one.
func (l *raftLog) Snapshot() (*raftpb.Snapshot, error) {
	return nil, raft.ErrSnapshotTemporarilyUnavailable
}
