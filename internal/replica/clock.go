package replica

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

const (
	defaultTick = 100 * time.Millisecond
	// electionTicks is how long a follower waits at least for a leader; raft
	// adds up to as much again by chance.
	electionTicks = 10
	// sleepAfter is how many ticks a leader sees everything done and everybody
	// up to date before it lets the group sleep.
	sleepAfter = 20
	// standTries is how often a replica stands for election on its own accord;
	// after that raft's timeout does it.
	standTries = 10
)

// clock is a group's part in time. A group that is awake ticks: its leader
// sends heartbeats, its followers count how long they heard none. It sleeps when
// everything is done, so that thousands of idle groups cost nothing; then the connection
// between the nodes stands for the heartbeats, see Host.Peer.
type clock struct {
	place   int // in the shard's list of those that are awake, 1-based; 0: asleep
	quiet   int // ticks since the leader had something to do
	standIn int // ticks until the group stands for election; 0: it does not
	tries   int
	ticks   int
	seen    record.Index // g.last at the last tick
}

// wake lets the group tick. Any message, proposal or news of a node does.
func (g *Group) wake() {
	if g.clock.place == 0 && g.started && !g.stopped && !g.alone() {
		g.shard.addAwake(g)
	}
}

func (g *Group) sleep() {
	if g.clock.place != 0 {
		g.shard.removeAwake(g)
	}
}

// tick is called every Config.Tick while the group is awake.
func (g *Group) tick() {
	if g.stopped || g.busyInstalling() {
		return
	}
	g.clock.ticks++
	if g.tickSleep() { // before a heartbeat is sent, which would wake the others
		return
	}
	g.guard("tick", g.node.Tick)
	if g.stopped {
		return
	}
	g.tickElection()
	g.tickReads()
	g.tickMembers()
	if g.state == raft.StateLeader {
		g.tickCatchUp() // a leader may need it to begin its term
	}
	if g.leads.Load() {
		g.tickTransfer()
		g.tickSync()
		g.reconfigure()
	}
}

// guard runs a call of raft that may read the log: when raft panics, the group
// is held offline instead of the node.
func (g *Group) guard(what string, call func()) {
	defer func() {
		if p := recover(); p != nil {
			g.halt("cannot go on", panicError{what, p})
		}
	}()
	call()
}

// tickElection stands for election when the time for it has come.
func (g *Group) tickElection() {
	if g.clock.standIn == 0 {
		if g.lead != raft.None && g.clock.ticks%5 == 0 && g.host.isDown(g.lead) {
			g.leaderGone(g.lead) // something of it came late
		}
		return
	}
	if g.clock.standIn--; g.clock.standIn == 0 {
		g.stand()
	}
}

// stand asks the other voters whether they would vote for this replica, and
// asks again a little later. They refuse while they hear a leader.
func (g *Group) stand() {
	if g.lead != raft.None || g.state == raft.StateLeader || !g.votes() || g.stopped {
		return
	}
	if g.clock.tries++; g.clock.tries >= standTries {
		return
	}
	g.clock.standIn = 1 + g.clock.tries
	if g.state != raft.StateCandidate { // then the votes are on their way
		g.host.metrics.campaigns.Inc()
		g.guard("stand for election", func() { _ = g.node.Campaign() })
	}
}

// standAtStart lets the preferred leader of a new group, the first of its
// voters, begin at once, and those of a group that is opened again one after the other.
func (g *Group) standAtStart() {
	g.clock.tries = 0
	if g.last > 1 || g.raftTerm > 1 {
		g.clock.standIn = 2 + 3*g.rank(raft.None)
		return
	}
	if i := slices.Index(g.conf.GetVoters(), g.host.cfg.ReplicaID); i == 0 {
		g.stand()
	} else if i > 0 {
		g.clock.standIn = 2 + 4*i
	}
}

// leaderGone stands for election when the leader is known to be gone, without
// waiting for the timeout: the voters one after the other, in an order that spreads the
// groups of a node over the others.
func (g *Group) leaderGone(leader uint64) {
	if g.lead != leader || g.state == raft.StateLeader {
		return
	}
	_ = g.node.ForgetLeader() // so that this replica votes for another
	g.lead = raft.None
	g.announce()
	g.wake()
	if !g.votes() {
		return
	}
	g.clock.tries = 0
	if rank := g.rank(leader); rank > 0 {
		g.clock.standIn = 3 * rank
	} else {
		g.stand()
	}
}

// rank is this replica's place in the group's order of voters whose nodes are
// up and which are not gone.
func (g *Group) rank(gone uint64) int {
	var ids []uint64
	for _, id := range g.conf.GetVoters() {
		if id == g.host.cfg.ReplicaID || id != gone && !g.host.isDown(id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	n := len(ids)
	i := slices.Index(ids, g.host.cfg.ReplicaID)
	if i < 0 {
		return n
	}
	return (i + n - int(uint64(g.id)%uint64(n))) % n
}

// peerChanged takes in that a node was found to be up or down.
func (g *Group) peerChanged(replica uint64, up bool) {
	if g.stopped || !g.started || g.busyInstalling() {
		return
	}
	switch {
	case g.state == raft.StateLeader:
		if !g.isMember(replica) {
			return
		}
		if !up {
			g.node.ReportUnreachable(replica)
		}
		g.wake()
		g.updateSync()
	case !up:
		g.leaderGone(replica)
	case g.lead == raft.None:
		g.wake()
	}
}

func (g *Group) isMember(id uint64) bool {
	return slices.Contains(g.conf.GetVoters(), id) || slices.Contains(g.conf.GetLearners(), id)
}

// tickSleep lets the group sleep when it is quiet.
func (g *Group) tickSleep() bool {
	if !g.quiet() || g.clock.seen != g.last {
		g.clock.quiet, g.clock.seen = 0, g.last
		return false
	}
	if g.clock.quiet++; g.clock.quiet < sleepAfter {
		return false
	}
	if g.leads.Load() {
		g.updateSync() // one that is back since the last tick stays in sync
		g.peers(func(id uint64) {
			if !g.host.isDown(id) {
				m := &raftpb.Message{Type: kindSleep.Enum(), To: &id, Term: &g.raftTerm, Index: new(uint64(g.last))}
				g.shard.out.add(g.id, m)
			}
		})
	}
	g.clock.quiet = 0
	g.catchUp.ahead = ahead{}
	g.sleep()
	return true
}

// quiet: nothing is to be done, and whoever can be reached has everything.
// A replica that does not vote needs no ticks at all.
func (g *Group) quiet() bool {
	if !g.votes() {
		return g.reads.none()
	}
	if !g.leads.Load() || !g.idle() || g.transfer != (transfer{}) || !g.reconfigured() || g.members.tell != nil {
		return false
	}
	voters := 1
	all := true
	g.node.WithProgress(func(id uint64, typ raft.ProgressType, pr progress) {
		if id == g.host.cfg.ReplicaID || g.host.isDown(id) {
			return
		}
		// One that has everything and has not answered since its node came back is not in sync.
		all = all && pr.Match == uint64(g.last) && pr.State == stateReplicate
		if typ == raft.ProgressTypePeer {
			voters++
		}
	})
	return all && voters > len(g.conf.GetVoters())/2
}

// idle: everything that this replica knows of is applied.
func (g *Group) idle() bool {
	return g.writes == 0 && len(g.toApply) == 0 && g.applied == g.last && g.reads.none()
}

// sleepWith lets a follower sleep when it has what its leader says it has.
func (g *Group) sleepWith(m *raftpb.Message) {
	if g.lead == m.GetFrom() && g.raftTerm == m.GetTerm() && uint64(g.last) == m.GetIndex() && g.idle() {
		g.sleep()
	}
}

// resign tells the followers that they need another leader.
func (g *Group) resign() {
	if g.state != raft.StateLeader {
		return
	}
	g.peers(func(id uint64) {
		g.shard.out.add(g.id, &raftpb.Message{Type: kindLeave.Enum(), To: &id, Term: new(g.raftTerm)})
	})
}
