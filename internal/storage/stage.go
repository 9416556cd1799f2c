package storage

import (
	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// Stage gathers what a replica that is too far behind lacks, beside what its
// log holds now: a machine's state, and the live entries at or below it.
//
//	st := store.Stage(log)
//	st.Append(entries) …      // straight to segments: bounded memory
//	st.Seal(checkpoint, keep) // all durable; the log is still the old one
//	store.Append(&Append{Log: l, Stage: st, HardState: …, Done: …}) // the switch
//
// Until the last step is done the old log is whole, and what it acknowledged counts; after it
// the new one is: one record of the WAL decides. A Stage belongs to one goroutine at a time.
type Stage struct {
	store *Store
	log   *Log
}

// Stage begins. There may be one at a time for a log.
func (s *Store) Stage(log record.LogID) *Stage { return &Stage{store: s, log: s.Log(log)} }

// Append adds live entries: indexes increase, with gaps where entries are dead.
// It writes to the disk as it goes, which is the back-pressure.
func (st *Stage) Append([]*raftpb.Entry) error { return errors.ErrUnsupported }

// Seal makes what was staged durable. keep is the index up to which the log's own live entries
// are part of the new log too: its commit index before the first staged entry
// was asked for. All staged entries lie in (keep, c.Applied].
func (st *Stage) Seal(Checkpoint, record.Index) error { return errors.ErrUnsupported }

// Install seals and switches, and waits. When it returns nil the new log is
// durable. Nothing else may be appended to the log meanwhile.
func (st *Stage) Install(Checkpoint, *raftpb.HardState, record.Index) error {
	return errors.ErrUnsupported
}

// Abort forgets what was staged, unless it was installed. It may be called at
// any time after the Append that was to install it is done, or was never made.
func (st *Stage) Abort() {}

// LiveEntries reads entries with index in (after, through] of which live needs
// an offset, in order, for a replica that is too far behind: about maxBytes of
// data. All up to next was looked at; the caller goes on from there until it is
// through. What a checkpoint dropped meanwhile, because it is dead by now, is left out.
func (l *Log) LiveEntries(_, _ record.Index, _ func(from, to record.Offset) bool, _ int) (entries []*raftpb.Entry, next record.Index, err error) {
	return nil, 0, errors.ErrUnsupported
}
