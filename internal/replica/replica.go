// Package replica hosts many raft groups on one node: it proposes, persists,
// commits and applies for each of them, and drives them from one shard per
// core.
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
	// Follow tells that it leads no longer, or that the group was removed
	// (reason is ErrNotLeader or ErrRemoved): every proposal that was built but
	// not applied is answered with ErrUnknown, the others with reason.
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

// Host runs the raft groups of a node.
type Host struct{}

// Group is one raft group on this node.
type Group struct{}

// ID names the group and its log.
func (g *Group) ID() record.LogID { panic("replica") }

// Log is where the group's committed entries can be read.
func (g *Group) Log() *storage.Log { panic("replica") }

// Post hands an event to the machine's Handle, on the group's shard, in the
// order of the calls. It never blocks and may be called from any goroutine,
// the shard's own included. Events posted after the group's removal are dropped
// after Follow(ErrRemoved), so a poster must be ready for the machine to answer it there.
func (g *Group) Post(event any) { panic("replica") }

// SetTimer asks for one call of Timer at or shortly after t; it replaces the
// previous request; the zero time cancels. Only from the group's shard.
func (g *Group) SetTimer(t time.Time) { panic("replica") }

// Open starts the group with that id: it restores the machine from the log's checkpoint, and then
// applies what the log holds. voters are the replica ids of a group that has
// no state yet.
func (h *Host) Open(id record.LogID, m Machine) (*Group, error) { panic("replica") }

// Remove stops the group and deletes its log. Only after the catalog says so.
func (h *Host) Remove(id record.LogID) { panic("replica") }
