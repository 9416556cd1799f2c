package replica

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

const (
	// proposedTicks is how long a proposed change of the membership may take until
	// it is proposed again.
	proposedTicks = 20
	// tellTicks is how long a leader waits until it tells of a change: heartbeats
	// have brought the commit index to the others by then. Who is removed deletes its copy when it
	// is told of, and no election may depend on its vote then.
	tellTicks = 3
)

// members is the way to the membership that is wanted.
type members struct {
	desired  []uint64 // nil: whatever it is
	proposed int      // ticks left for the change under way; 0: none is

	told   *raftpb.ConfState // what others know
	tell   *raftpb.ConfState // applied and durable here, to be told in some ticks; nil: nothing
	tellIn int
}

// Members returns the replica ids of the group. Who is not among them any more is not needed
// for anything, not for an election either. They must not be changed.
func (g *Group) Members() (voters, learners []uint64) {
	v := g.view.Load()
	return v.voters, v.learners
}

// Reconfigure says which replicas the group is to have as voters. It is told
// to every replica; whichever leads drives one change after the other: a new replica
// becomes a learner, when it has caught up a voter, and then those that are not
// wanted are removed, the leader last, after it has handed over.
func (g *Group) Reconfigure(desired []uint64) {
	desired = slices.Clone(desired)
	g.do(func() {
		g.members.desired = desired
		g.wake()
		g.reconfigure()
	})
}

// reconfigured: there is nothing to change, or nobody here to do it.
func (g *Group) reconfigured() bool {
	return len(g.members.desired) == 0 || len(g.conf.GetLearners()) == 0 && sameSet(g.members.desired, g.conf.GetVoters())
}

func sameSet(a, b []uint64) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(id uint64) bool { return !slices.Contains(b, id) })
}

// reconfigure takes the next step towards the wanted membership.
func (g *Group) reconfigure() {
	if !g.leads.Load() || g.stopped || g.reconfigured() || g.transfer.to != 0 {
		return
	}
	if g.members.proposed > 0 {
		if g.members.proposed--; g.members.proposed > 0 {
			return
		}
	}
	if len(g.toApply) > 0 {
		// What is held back would keep the change from being applied for ever.
		// Under another leader it is of an earlier term.
		g.handOver(0)
		return
	}
	next := g.nextChange()
	switch {
	case next.handOver:
		g.handOver(next.replica)
	case next.replica != 0:
		if next.typ != raftpb.ConfChangeRemoveNode && g.host.cfg.Transport == nil {
			g.host.cfg.Logger.Error("this node is not part of a cluster, so a raft group cannot have another replica", "group", g.id, "wanted", next.replica)
			g.members.desired = nil
			return
		}
		change := &raftpb.ConfChangeV2{Changes: []*raftpb.ConfChangeSingle{{Type: next.typ.Enum(), NodeId: &next.replica}}}
		if err := g.node.ProposeConfChange(change); err == nil {
			g.members.proposed = proposedTicks
		}
	}
}

// change is a step: to change the role of a replica, or to hand over to it.
type change struct {
	typ      raftpb.ConfChangeType
	replica  uint64 // 0: nothing can be done now
	handOver bool
}

// nextChange finds the next step. Whoever is to come comes before anybody has
// to go; and nobody goes without whom the others would be no majority of up-to-date
// replicas.
func (g *Group) nextChange() change {
	voters, learners, desired := g.conf.GetVoters(), g.conf.GetLearners(), g.members.desired
	ready := g.caughtUp()
	for _, id := range desired {
		switch {
		case slices.Contains(voters, id):
		case !slices.Contains(learners, id):
			return change{typ: raftpb.ConfChangeAddLearnerNode, replica: id}
		case ready[id]:
			return change{typ: raftpb.ConfChangeAddNode, replica: id}
		}
	}
	for _, id := range learners {
		if !slices.Contains(desired, id) {
			return change{typ: raftpb.ConfChangeRemoveNode, replica: id}
		}
	}
	self := g.host.cfg.ReplicaID
	if slices.ContainsFunc(desired, func(id uint64) bool { return !slices.Contains(voters, id) }) {
		return change{} // a learner catches up
	}
	var leave uint64
	for _, id := range voters {
		if slices.Contains(desired, id) || !enough(voters, id, ready) {
			continue
		}
		if id != self {
			return change{typ: raftpb.ConfChangeRemoveNode, replica: id}
		}
		leave = id
	}
	if leave == 0 {
		return change{}
	}
	for _, id := range desired {
		if ready[id] && id != self {
			return change{replica: id, handOver: true}
		}
	}
	return change{}
}

// enough reports whether a majority of the voters without one is ready.
func enough(voters []uint64, without uint64, ready map[uint64]bool) bool {
	n := 0
	for _, id := range voters {
		if id != without && ready[id] {
			n++
		}
	}
	return n > (len(voters)-1)/2
}

// caughtUp are the members that have nearly everything and can be reached.
func (g *Group) caughtUp() map[uint64]bool {
	const near = 64
	ready := map[uint64]bool{}
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
		ready[id] = id == g.host.cfg.ReplicaID ||
			!g.host.isDown(id) && pr.State == stateReplicate && pr.Match+near >= g.commit
	})
	return ready
}

// applyConfChange takes over a committed change of the membership. Whoever
// waits for it is told when the commit index is on disk: a replica that is removed deletes
// its copy then, and this one must not forget that its vote is needed no longer.
func (g *Group) applyConfChange(e *raftpb.Entry) {
	c, err := parseConfChange(e.GetData())
	if err != nil {
		panic(fmt.Sprintf("replica: group %d: entry %d: %v", g.id, e.GetIndex(), err))
	}
	g.conf = proto.Clone(g.node.ApplyConfChange(c)).(*raftpb.ConfState)
	g.members.proposed = 0
	g.joined = g.joined || g.isMember(g.host.cfg.ReplicaID)
	g.host.cfg.Logger.Info("the replicas of a raft group changed", "group", g.id, "voters", g.conf.GetVoters(), "learners", g.conf.GetLearners())
	if g.alone() {
		g.sleep()
	} else {
		g.wake()
	}
	w := g.newWrite()
	w.Sync = true
	w.membership = g.conf
	w.HardState = &raftpb.HardState{Term: new(g.raftTerm), Vote: new(g.vote), Commit: new(max(g.commit, e.GetIndex()))}
	g.submit(w)
}

// membersDurable: the membership at some index is applied, and stays so.
func (g *Group) membersDurable(conf *raftpb.ConfState) {
	g.updateSync()
	if g.members.tell, g.members.tellIn = conf, tellTicks; !g.leads.Load() || g.alone() {
		g.tellMembers()
	}
	g.reconfigure()
}

func (g *Group) tickMembers() {
	if g.members.tell == nil {
		return
	}
	if g.members.tellIn--; g.members.tellIn <= 0 {
		g.tellMembers()
	}
}

// tellMembers makes a change of the membership known.
func (g *Group) tellMembers() {
	conf := g.members.tell
	if conf == nil {
		return
	}
	g.members.told, g.members.tell = conf, nil
	g.publish()
	if g.host.cfg.OnMembers != nil {
		g.host.cfg.OnMembers(g.id, slices.Clone(conf.GetVoters()), slices.Clone(conf.GetLearners()))
	}
}
