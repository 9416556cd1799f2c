package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"waybill/internal/record"
)

type progress = tracker.Progress

const (
	stateReplicate = tracker.StateReplicate
	stateSnapshot  = tracker.StateSnapshot
)

// syncTicks is how old the commit index may be that a voter must have to count as in sync.
const syncTicks = 10

// copies is what a leader knows of who has what.
type copies struct {
	min       int          // an entry is applied with so many copies, if that is more than a majority
	termStart record.Index // of the empty entry that began the term
	inSync    []uint64
	since     uint64 // the commit index some time ago, which those in sync have
	sinceNext uint64
}

// SetMinCopies has the leader apply an entry of its term only when so many
// voters have it on disk, which matters when it is more than a majority of them.
func (g *Group) SetMinCopies(n int) { g.do(func() { g.copies.min = n }) }

// holdsBack reports whether a majority is not enough.
func (g *Group) holdsBack() bool {
	return g.copies.min > len(g.conf.GetVoters())/2+1 && g.leads.Load()
}

// released returns how many of the committed entries may be applied: those of
// earlier terms, and those of which there are copies enough. An entry without
// data, of raft itself, is never waited for.
func (g *Group) released(entries []*raftpb.Entry) int {
	if !g.holdsBack() {
		return len(entries)
	}
	limit := g.copied()
	for i, e := range entries {
		if e.GetTerm() == g.raftTerm && e.GetIndex() > limit && e.GetType() == raftpb.EntryNormal && len(e.GetData()) > 0 {
			return i
		}
	}
	return len(entries)
}

// copied is the highest index that enough voters have on disk.
func (g *Group) copied() uint64 {
	if g.copies.min > len(g.conf.GetVoters()) {
		return 0
	}
	var match []uint64
	g.node.WithProgress(func(_ uint64, typ raft.ProgressType, pr progress) {
		if typ == raft.ProgressTypePeer {
			match = append(match, pr.Match)
		}
	})
	slices.Sort(match)
	return match[len(match)-g.copies.min]
}

// send hands a message for another replica to the shard. A follower must not
// apply, either, what the leader holds back.
func (g *Group) send(m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat:
		if g.holdsBack() {
			m.Commit = new(min(m.GetCommit(), max(g.copied(), uint64(g.copies.termStart))))
		}
	case raftpb.MsgSnap:
		g.catchUp.offered(m.GetTo())
	}
	g.shard.out.add(g.id, m)
}

// InSync returns the voters, this one included, that have the newest entries
// or nearly, and whose nodes are up; nil when this replica does not lead. It
// must not be changed.
func (g *Group) InSync() []uint64 { return g.view.Load().inSync }

// Live is the number of replicas that InSync returns.
func (g *Group) Live() int { return len(g.InSync()) }

func (g *Group) tickSync() {
	if g.clock.ticks%syncTicks == 0 {
		g.copies.since, g.copies.sinceNext = g.copies.sinceNext, g.commit
	}
	g.updateSync()
}

// updateSync finds out who is in sync, and publishes it when it changed.
func (g *Group) updateSync() {
	var ids []uint64
	if g.leads.Load() {
		g.node.WithProgress(func(id uint64, typ raft.ProgressType, pr progress) {
			if typ != raft.ProgressTypePeer {
				return
			}
			if id == g.host.cfg.ReplicaID || !g.host.isDown(id) && pr.State == stateReplicate && pr.Match >= g.copies.since {
				ids = append(ids, id)
			}
		})
		slices.Sort(ids)
	} else {
		g.copies.since, g.copies.sinceNext = 0, 0
	}
	if !slices.Equal(ids, g.copies.inSync) {
		g.copies.inSync = ids
		g.publish()
		if len(ids) > 0 && g.host.cfg.OnInSync != nil {
			g.host.cfg.OnInSync(g.id, g.raftTerm, ids)
		}
	}
}
