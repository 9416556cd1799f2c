package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
)

// note takes over what a Ready says of leader and term.
func (g *Group) note(rd *raft.Ready) {
	if h := rd.HardState; h != nil {
		if h.GetTerm() != g.raftTerm && g.leads.Load() {
			g.follow(ErrNotLeader)
		}
		g.raftTerm, g.vote, g.commit = h.GetTerm(), h.GetVote(), h.GetCommit()
	}
	if rd.SoftState != nil {
		g.lead, g.state = rd.Lead, rd.RaftState
		if g.state != raft.StateLeader && g.leads.Load() {
			g.follow(ErrNotLeader)
		}
	}
	if rd.HardState != nil || rd.SoftState != nil {
		g.announce()
	}
}

// follow ends what this replica did as the leader.
func (g *Group) follow(reason error) {
	if g.leads.Swap(false) {
		g.host.count(-1, 0)
	}
	g.uncommitted = 0
	g.transfer = transfer{}
	g.members.proposed = 0
	g.catchUp.ahead = ahead{}
	g.raftLog.fresh = nil // without a quorum they may wait for long
	g.tellMembers()
	g.updateSync()
	g.machine.Follow(reason)
}

// announce tells who leads, when that has changed.
func (g *Group) announce() {
	leader := g.lead
	if leader == g.host.cfg.ReplicaID && !g.leads.Load() {
		leader = 0 // not before all of the earlier terms are applied
	}
	before := g.told
	if leader == before.leader && (leader == 0 || g.raftTerm == before.term) {
		return
	}
	g.told.leader, g.told.term = leader, g.raftTerm
	g.publish()
	switch {
	case leader != 0 && before.leader == 0:
		g.host.count(0, 1)
	case leader == 0 && before.leader != 0:
		g.host.count(0, -1)
	}
	if g.host.cfg.OnLeader != nil {
		g.host.cfg.OnLeader(g.id, leader, g.raftTerm)
	}
	if leader != 0 {
		g.clock.standIn = 0
		g.repeatReads()
		g.settle()
	}
}

// publish makes what the shard knows visible to others.
func (g *Group) publish() {
	v := &view{
		leader:   g.lead,
		term:     g.raftTerm,
		voters:   slices.Clone(g.members.told.GetVoters()),
		learners: slices.Clone(g.members.told.GetLearners()),
		inSync:   g.copies.inSync,
	}
	if v.leader == g.host.cfg.ReplicaID && !g.leads.Load() {
		v.leader = 0
	}
	g.view.Store(v)
}

// Leader returns the replica that leads the group, 0 when none is known, and the
// term. This replica is named once it has applied all of the earlier terms.
func (g *Group) Leader() (replica, term uint64) {
	v := g.view.Load()
	return v.leader, v.term
}

// peers calls f for every member but this replica.
func (g *Group) peers(f func(id uint64)) {
	for _, ids := range [][]uint64{g.conf.GetVoters(), g.conf.GetLearners()} {
		for _, id := range ids {
			if id != g.host.cfg.ReplicaID {
				f(id)
			}
		}
	}
}

// alone reports whether this replica is the only one of the group.
func (g *Group) alone() bool {
	return len(g.conf.GetVoters()) == 1 && g.conf.Voters[0] == g.host.cfg.ReplicaID && len(g.conf.GetLearners()) == 0
}

func (g *Group) votes() bool { return slices.Contains(g.conf.GetVoters(), g.host.cfg.ReplicaID) }
