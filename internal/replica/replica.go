// Package replica hosts many raft groups on one node: it proposes, persists,
// commits and applies for each of them, and drives them from one shard per
// core. The consensus itself is go.etcd.io/raft.
//
// # The promise
//
// A machine's Apply sees an entry only when it is committed: fsynced on a
// majority of the group's voters, this one included when it leads (and on
// more, see Group.SetMinCopies). Everything that answers a client does so from Apply.
//
// What a replica promises to others, a vote, or that it has entries, leaves
// only after the sync that covers it (write.go). Nothing that another replica
// sends can stop this node, or have it acknowledge what is not on its disk
// (validate.go, peer.go).
//
// # Threads and locks
//
// A group belongs to one shard for life. All that touches it happens on the
// shard's goroutine: raft, the machine, the group's fields. Others talk to a
// group by posting to its shard's inbox, which the shard's mutex guards, and read
// an immutable view of it. That mutex, the host's of its groups (Host.mu), and that of the
// snapshots it serves are the only locks; they are never held together, except that
// Host.Peer sets up its items under Host.mu, and no call leaves the package under any of them.
//
// What may wait for the disk or the network, fetching a snapshot or reading
// old entries for a follower, is a job of its own goroutine, which posts its result.
//
// # One turn of a shard
//
// A shard takes its whole inbox, hands every item to its group, lets those
// that are awake tick when it is time, and then advances each group that was touched:
//
//	Build → propose → Ready → storage.Append … (the WAL syncs, meanwhile the inbox fills)
//	AppendDone → step raft's responses → Ready → Apply → the next Build
//
// What they have to say to other replicas is sent at the end of the turn, one
// frame for each (outbox.go, codec.go).
//
// While an append of a group is in flight, nothing more is built for it, so
// what arrives meanwhile becomes one entry, or a few: batches grow with the
// load and with the latency of the disk. Only what is large already (see Hoarder) does not
// wait: it is built and written while the disk syncs what came before it. At a low rate, where that leaves a sync
// for every message, the shard rests between proposals (pace.go). The followers may be some
// entries behind.
//
// The turn is a function of the time and the inbox alone; the goroutine around
// it is the only thing that knows real clocks. A Manual host has none: Step does what there
// is to do, and so a simulation drives it.
//
// # Where things are
//
//	clock.go     ticks, sleep, elections      leader.go    who leads
//	member.go    changes of the membership    transfer.go  handing over
//	read.go      read points                  copies.go    min copies, who is in sync
//	catchup.go   old entries for followers    fetch.go, serve.go  snapshots
//
// docs/cluster.md tells the why.
package replica

import (
	"errors"
	"time"

	"waybill/internal/record"
	"waybill/internal/storage"
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

// Sharer is a Machine whose entries may hold what entries of other groups hold, too.
type Sharer interface {
	// Shared is called after Build and returns which parts of its data that are,
	// in order; the store writes them once.
	Shared() []storage.Span
}

// Hoarder is a Machine that can tell how much waits for it to Build: where that is much,
// the next entry does not wait for the one before it.
type Hoarder interface {
	// Waiting is about the number of bytes that wait.
	Waiting() int
}

// Machine is what a raft group replicates, together with what its leader does
// beside. The group's shard makes all calls, one at a time, and a Machine needs
// no lock for what only these calls touch. No call may block.
type Machine interface {
	// Restore replaces the state by a snapshot: before any Apply, and again on a
	// replica that follows and is so far behind that it has to begin anew from another
	// replica's state. What it did not apply in between it will never see.
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
