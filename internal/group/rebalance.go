package group

import (
	"slices"
	"time"
)

// rebalance begins the join phase, if it is not running.
func (m *Machine) rebalance(now time.Time, g *group) {
	if g.phase == preparing {
		return
	}
	if g.phase == completing {
		for _, mem := range g.members {
			if mem.sync != nil {
				m.reply(mem.sync, &SyncResponse{Code: RebalanceInProgress})
				mem.sync = nil
				mem.touch(now)
			}
			mem.owes = false
		}
	}
	timeout := g.rebalanceTimeout()
	g.initial, g.newcomers = g.phase == empty, false
	g.joinLast = now.Add(max(timeout, m.cfg.InitialRebalanceDelay))
	g.joinEnds = now.Add(timeout)
	if g.initial {
		g.joinEnds = now.Add(m.cfg.InitialRebalanceDelay)
	}
	g.phase = preparing
}

// settle ends every step that changed g: the join phase is over when nobody is
// waited for, and the timer follows the deadlines.
func (m *Machine) settle(now time.Time, g *group) {
	if g.pos < 0 {
		return // deleted
	}
	m.live -= g.bytes
	g.bytes = g.weight()
	m.live += g.bytes
	if g.phase == preparing && g.allJoined(now) {
		m.completeJoin(now, g)
	}
	if g.phase == empty && len(g.handedOut) == 0 && g.flying == 0 {
		m.close(g)
		return
	}
	m.arm(g)
}

// allJoined reports whether the join phase needs no more waiting.
func (g *group) allJoined(now time.Time) bool {
	if len(g.members) == 0 {
		return true
	}
	if len(g.handedOut) > 0 || g.initial && now.Before(g.joinEnds) {
		return false
	}
	return !slices.ContainsFunc(g.members, func(mem *member) bool { return mem.join == nil })
}

// joinTimeout ends the join phase by time.
func (m *Machine) joinTimeout(now time.Time, g *group) {
	if g.initial && g.newcomers && now.Before(g.joinLast) {
		g.newcomers = false
		g.joinEnds = now.Add(m.cfg.InitialRebalanceDelay)
		if g.joinEnds.After(g.joinLast) {
			g.joinEnds = g.joinLast
		}
		return
	}
	m.completeJoin(now, g)
}

// completeJoin begins a generation with those who joined, and with the static
// members, who keep their place until their session ends.
func (m *Machine) completeJoin(now time.Time, g *group) {
	for _, mem := range slices.Clone(g.members) {
		if mem.join == nil && mem.instance == "" {
			g.drop(mem)
		}
	}
	joined := slices.IndexFunc(g.members, func(mem *member) bool { return mem.join != nil })
	if len(g.members) > 0 && joined < 0 {
		g.initial = false
		g.joinEnds = now.Add(g.rebalanceTimeout())
		return // only absent static members are left: wait on
	}
	g.generation = max(g.generation, g.highest) + 1
	g.highest = g.generation
	m.rebalances++
	g.initial, g.announced, g.assigning, g.syncEnds = false, false, false, time.Time{}
	if joined < 0 {
		g.phase, g.protocol, g.leader = empty, "", ""
		m.propose(g, g.outcome(now), nil)
		return
	}
	if leader := g.byID[g.leader]; leader == nil || leader.join == nil {
		g.leader = g.members[joined].id
	}
	g.phase, g.protocol = completing, g.choose()
	gen := g.generation
	m.propose(g, &generation{g.name, gen}, func(now time.Time) {
		if g.phase == completing && g.generation == gen {
			m.announce(now, g)
		}
	})
}

// announce tells the members of the generation, which is now committed.
func (m *Machine) announce(now time.Time, g *group) {
	g.announced = true
	g.syncEnds = now.Add(g.rebalanceTimeout())
	for _, mem := range g.members {
		if mem.join == nil {
			continue
		}
		m.reply(mem.join, g.joined(mem))
		mem.join, mem.isNew, mem.owes = nil, false, true
		mem.touch(now)
	}
}

// evict removes a member whose time is up or that leaves.
func (m *Machine) evict(now time.Time, g *group, mem *member) {
	m.dismiss(mem, UnknownMemberID, UnknownMemberID)
	g.drop(mem)
	m.rebalance(now, g)
}
