package group

import (
	"strings"
	"time"
	"unicode/utf8"
)

func (m *Machine) join(now time.Time, to any, r *JoinRequest) {
	if code := m.checkJoin(r); code != None {
		m.reply(to, r.refuse(code))
		return
	}
	g := m.groups[r.Group]
	if g == nil {
		g = m.open(r.Group)
	}
	join := m.joinKnown
	if r.MemberID == "" {
		join = m.joinNew
	}
	if code := join(now, g, to, r); code != None {
		m.reply(to, r.refuse(code))
	}
	m.settle(now, g)
}

func (m *Machine) checkJoin(r *JoinRequest) Code {
	switch {
	case r.Group == "", !validName(r.Group):
		return InvalidGroupID
	case r.SessionTimeout < m.cfg.MinSessionTimeout, r.SessionTimeout > m.cfg.MaxSessionTimeout, r.SessionTimeout <= 0:
		return InvalidSessionTimeout
	case r.ProtocolType == "", len(r.Protocols) == 0:
		return InconsistentGroupProtocol
	case r.MemberID != "" && m.groups[r.Group] == nil:
		return UnknownMemberID
	}
	return None
}

// validName reports whether a group may be called so.
func validName(s string) bool { return len(s) <= maxName && utf8.ValidString(s) }

// joinNew takes a join without member id. A code other than None is the answer.
func (m *Machine) joinNew(now time.Time, g *group, to any, r *JoinRequest) Code {
	var old *member
	if r.InstanceID != "" {
		old = g.byInstance[r.InstanceID]
	}
	switch {
	case !g.supports(r.ProtocolType, r.Protocols, old):
		return InconsistentGroupProtocol
	case g.size(old)+r.size() > maxGroup:
		return GroupMaxSizeReached
	case old != nil:
		m.replace(now, g, old, to, r)
		return None
	case m.cfg.MaxSize > 0 && len(g.members)+len(g.handedOut) >= m.cfg.MaxSize, m.isFull():
		return GroupMaxSizeReached
	case r.NeedsMemberID && r.InstanceID == "":
		g.handedOut[strings.Clone(r.NewMemberID)] = now.Add(r.SessionTimeout)
		m.reply(to, &JoinResponse{Code: MemberIDRequired, Generation: -1, MemberID: r.NewMemberID})
		return None
	}
	m.enlist(now, g, r.NewMemberID, to, r)
	return None
}

// joinKnown takes a join with a member id that was handed out before.
func (m *Machine) joinKnown(now time.Time, g *group, to any, r *JoinRequest) Code {
	if _, ok := g.handedOut[r.MemberID]; ok && r.InstanceID == "" {
		switch {
		case !g.supports(r.ProtocolType, r.Protocols, nil):
			return InconsistentGroupProtocol
		case g.size(nil)+r.size() > maxGroup, m.isFull():
			return GroupMaxSizeReached
		}
		delete(g.handedOut, r.MemberID)
		m.enlist(now, g, r.MemberID, to, r)
		return None
	}
	mem, code := g.find(r.MemberID, r.InstanceID)
	switch {
	case code != None:
		return code
	case !g.supports(r.ProtocolType, r.Protocols, mem):
		return InconsistentGroupProtocol
	case g.size(mem)+r.size() > maxGroup:
		return GroupMaxSizeReached
	}
	// An unchanged member may have missed the answer; the leader of a stable
	// group joins again because it wants a new assignment.
	unchanged := mem.hasProtocols(r.Protocols)
	switch {
	case unchanged && g.phase == completing && !g.announced:
		m.await(now, mem, to, r)
	case unchanged && (g.phase == completing || g.phase == stable && mem.id != g.leader):
		mem.touch(now)
		m.reply(to, g.joined(mem))
	default:
		mem.update(r)
		g.protocolType = strings.Clone(r.ProtocolType)
		m.await(now, mem, to, r)
		m.rebalance(now, g)
	}
	return None
}

// enlist adds a member.
func (m *Machine) enlist(now time.Time, g *group, id string, to any, r *JoinRequest) {
	mem := &member{id: strings.Clone(id), instance: strings.Clone(r.InstanceID), isNew: true}
	mem.update(r)
	g.add(mem)
	g.protocolType = strings.Clone(r.ProtocolType)
	m.await(now, mem, to, r)
	g.newcomers = true // unless this one begins the rebalance
	m.rebalance(now, g)
}

// replace puts a static member that was started again in the place of its
// former self. Its assignment stays as it is if the protocol does.
func (m *Machine) replace(now time.Time, g *group, mem *member, to any, r *JoinRequest) {
	former := mem.id
	m.dismiss(mem, FencedInstanceID, FencedInstanceID)
	delete(g.byID, former)
	mem.id = r.NewMemberID
	g.index(mem)
	if g.leader == former {
		g.leader = mem.id
	}
	mem.update(r)
	g.protocolType = strings.Clone(r.ProtocolType)
	m.await(now, mem, to, r)
	if g.phase != stable || g.choose() != g.protocol {
		m.rebalance(now, g)
		return
	}
	gen := g.generation
	m.propose(g, g.outcome(now), func(now time.Time) {
		if mem.join != to || g.phase != stable || g.generation != gen {
			return // it left, or a rebalance answers it
		}
		response := g.joined(mem)
		if mem.id == g.leader {
			if mem.canSkip {
				response.SkipAssignment = true
			} else {
				// Named as leader it would make a new assignment, which
				// nobody asked for.
				response.Leader, response.Members = former, nil
			}
		}
		mem.join = nil
		mem.touch(now)
		m.reply(to, response)
	})
}

// await keeps who waits for the end of the join phase. It takes the place of
// an earlier join of the member, whose client has given up on it.
func (m *Machine) await(now time.Time, mem *member, to any, r *JoinRequest) {
	if mem.join != nil {
		m.reply(mem.join, &JoinResponse{Code: RebalanceInProgress, Generation: -1, MemberID: mem.id})
	}
	mem.join, mem.canSkip = to, r.CanSkipAssignment
	mem.deadline = time.Time{}
	if mem.isNew {
		mem.deadline = now.Add(newMemberTimeout)
	}
}

// dismiss answers whoever waits for the member with an error.
func (m *Machine) dismiss(mem *member, join, sync Code) {
	if mem.join != nil {
		m.reply(mem.join, &JoinResponse{Code: join, Generation: -1, MemberID: mem.id})
		mem.join = nil
	}
	if mem.sync != nil {
		m.reply(mem.sync, &SyncResponse{Code: sync})
		mem.sync = nil
	}
}

// joined is the answer to a join of the present generation.
func (g *group) joined(mem *member) *JoinResponse {
	r := &JoinResponse{
		Generation: g.generation, ProtocolType: g.protocolType, Protocol: g.protocol,
		Leader: g.leader, MemberID: mem.id,
	}
	if mem.id == g.leader {
		for _, x := range g.members {
			r.Members = append(r.Members, JoinMember{x.id, x.instance, x.metadata(g.protocol)})
		}
	}
	return r
}
