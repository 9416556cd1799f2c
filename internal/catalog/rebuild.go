package catalog

import "slices"

// A replica whose copy of a log is damaged may have forgotten what it has
// acknowledged, so it must not go on under the identity that it had in the raft
// group. It takes three steps, each of them decided here:
//
//	Rebuild      it is to leave: the others go on without its vote
//	ReplicaGone  the raft group has let it go: it deletes its copy
//	Return       it has done so, and begins as one that was never a member:
//	             it learns, and votes when the log has told it that it does
//
// The raft group carries out the first step only with a majority of the other
// replicas, each of which writes that down. A copy without which the others
// are too few is never deleted.

// rebuildable is the least number of replicas of which the others are a
// majority when one of them is no use.
const rebuildable = 3

// rebuild has a replica leave in order to come back.
func (c *Catalog) rebuild(cmd *Rebuild) Result {
	p := c.placements[cmd.Log]
	if p == nil {
		return Result{Err: errorf(NotFound, "log %d is not replicated", cmd.Log)}
	}
	place := slices.Index(p.Replicas, cmd.Replica)
	switch {
	case cmd.Log == LogID:
		return Result{Err: errorf(Refused, "the catalog's copy is rebuilt with its node")}
	case p.Rebuilding != nil && p.Rebuilding.Replica == cmd.Replica, place < 0:
		return Result{} // done before
	case p.Rebuilding != nil || len(p.Leaving) > 0:
		return Result{Err: errorf(InUse, "another replica of log %d is being moved", cmd.Log)}
	case len(p.Replicas) < rebuildable:
		return Result{Err: errorf(InUse, "log %d has %d replicas: without this one the others are no majority", cmd.Log, len(p.Replicas))}
	}
	n := *p
	n.Replicas = slices.Delete(slices.Clone(p.Replicas), place, place+1)
	n.Leaving = []uint64{cmd.Replica}
	n.Rebuilding = &Rebuilding{Replica: cmd.Replica, Place: place}
	c.setPlacement(&n)
	return Result{Changes: []Change{{Placement: &n}}}
}

// returnReplica puts a replica back that has deleted its damaged copy.
func (c *Catalog) returnReplica(cmd *Return) Result {
	p := c.placements[cmd.Log]
	if p == nil || p.Rebuilding == nil || p.Rebuilding.Replica != cmd.Replica || slices.Contains(p.Leaving, cmd.Replica) {
		return Result{} // done before, decided otherwise, or it has not left yet
	}
	return Result{Changes: []Change{c.move(p, p.rebuilt(cmd.Replica))}}
}

// rebuilt is the list of replicas with the one that is rebuilt in its place.
func (p *Placement) rebuilt(replica uint64) []uint64 {
	return slices.Insert(slices.Clone(p.Replicas), min(p.Rebuilding.Place, len(p.Replicas)), replica)
}

// notNow are the replicas that the log cannot get at the moment: they hold a copy that
// has to go first.
func (p *Placement) notNow() []uint64 {
	if p.Rebuilding == nil || slices.Contains(p.Leaving, p.Rebuilding.Replica) {
		return p.Leaving
	}
	return append(slices.Clone(p.Leaving), p.Rebuilding.Replica)
}

// giveUpRebuilding has the replicas that were to come back on a node do so under
// another id, or elsewhere when by is 0: theirs is given up.
func (c *Catalog) giveUpRebuilding(replica, by uint64) (changes []Change) {
	for _, log := range c.placed() {
		p := c.placements[log]
		if p.Rebuilding == nil || p.Rebuilding.Replica != replica {
			continue
		}
		replicas := c.fill(slices.Clone(p.Replicas), p.notNow(), len(p.Replicas)+1)
		if by != 0 {
			replicas = p.rebuilt(by)
		}
		n := *p
		n.Rebuilding = nil
		changes = append(changes, c.move(&n, replicas))
	}
	return changes
}
