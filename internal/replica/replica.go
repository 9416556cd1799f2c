// Package replica hosts many raft groups on one node: it proposes, persists,
// commits and applies for each of them, and drives them from one shard per
// core. The consensus itself is go.etcd.io/raft.
//
// # The promise
//
// A machine's Apply sees an entry only when it is committed: fsynced on a
// majority of the group's voters, this one included when it leads. Everything
// that answers a client does so from Apply.
//
// # Threads and locks
//
// A group belongs to one shard for life. All that touches it happens on the
// shard's goroutine: raft, the machine, the group's fields. Others talk to a
// group by posting to its shard's inbox, which the shard's mutex guards; that and the host's map of
// groups (Host.mu) are the only locks, they are never held together, and no
// call leaves the package under either.
//
// # One turn of a shard
//
// A shard takes its whole inbox, hands every item to its group, and then
// advances each group that was touched:
//
//	Build → propose → Ready → storage.Append … (the WAL syncs, meanwhile the inbox fills)
//	AppendDone → step raft's responses → Ready → Apply → the next Build
//
// While an append of a group is in flight, nothing more is built for it, so
// what arrives meanwhile becomes one entry, or a few: batches grow with the
// load and with the latency of the disk, without a timer.
//
// The turn is a function of the time and the inbox alone; the goroutine around
// it is the only thing that knows real clocks.
package replica

import (
	"errors"
	"time"

	"waybill/internal/record"
)

var (
	// ErrNotLeader: this replica does not lead the group; nothing was proposed.
	ErrNotLeader = errors.New("replica: not the leader")
	// ErrUnknown: leadership was lost while the proposal was in flight; it
	// may or may not take effect.
	ErrUnknown = errors.New("replica: outcome unknown, leadership was lost")
	// ErrRemoved: the group was removed from this node.
	ErrRemoved = errors.New("replica: group removed")
	// ErrClosed: the host is closed.
	ErrClosed = errors.New("replica: host closed")
)

// Entry is a committed entry.
type Entry struct {
	Index record.Index
	Term  uint64
	Data  []byte // shared with the log: read only; may be kept
}

// Machine is what a raft group replicates, together with what its leader does
// beside. The group's shard makes all calls, one at a time, and a Machine needs
// no lock for what only these calls touch. No call may block.
type Machine interface {
	// Restore replaces the state by a snapshot; it is called before any Apply.
	Restore(state []byte) error
	// Snapshot appends the state to b. live is Checkpoint.Live of package
	// storage: a frozen view of which offsets are still needed.
	Snapshot(b []byte) (state []byte, live func(from, to record.Offset) bool)
	// Apply takes the next committed entry that has data. On the leader it
	// answers whoever proposed it.
	Apply(e Entry)

	// Lead tells that this replica now leads in term, and that all entries of
	// earlier terms are applied. Proposals may be built from now on.
	Lead(term uint64)
	// Follow tells that it leads no longer, or that the group was removed or the
	// host closed (reason is ErrNotLeader, ErrRemoved or ErrClosed): every
	// proposal that was built but not applied is answered with ErrUnknown, the
	// others with reason.
	Follow(reason error)

	// Handle takes one event that was posted to the group.
	Handle(event any)
	// Build is called on the leader when the group may propose: it returns the
	// data of the next entry, beginning with a record.Header, made from as much
	// of what waits as fits into about limit bytes (at least one command); nil
	// when nothing waits. What Build returned will be applied in this order
	// or be given up by Follow; the data must not be changed afterwards.
	Build(limit int) []byte
	// Timer is called when the time given to Group.SetTimer has come.
	Timer(now time.Time)
}
