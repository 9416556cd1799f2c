package group

import (
	"bytes"
	"time"
)

func (m *Machine) sync(now time.Time, to any, r *SyncRequest) {
	g, mem, code := m.member(r.Group, r.MemberID, r.InstanceID, r.Generation)
	switch {
	case code != None:
	case r.ProtocolType != "" && r.ProtocolType != g.protocolType,
		r.Protocol != "" && r.Protocol != g.protocol:
		code = InconsistentGroupProtocol
	case g.phase == preparing:
		code = RebalanceInProgress
	}
	if code != None {
		m.reply(to, r.refuse(code))
		return
	}
	mem.owes = false
	if g.phase == stable {
		mem.touch(now)
		m.reply(to, g.synced(mem))
		return
	}
	if mem.id == g.leader && sizeOfAll(r.Assignments) > maxGroup {
		m.reply(to, r.refuse(MessageTooLarge))
		return
	}
	if mem.sync != nil { // its client has given up on the earlier one
		m.reply(mem.sync, &SyncResponse{Code: RebalanceInProgress})
	}
	mem.sync, mem.deadline = to, time.Time{}
	if mem.id == g.leader && !g.assigning {
		m.assign(now, g, r.Assignments)
	}
	m.settle(now, g)
}

func sizeOfAll(list []Assignment) int {
	n := 0
	for _, a := range list {
		n += len(a.Data)
	}
	return n
}

// assign proposes the leader's assignment; the syncs are answered once it is
// committed, unless another rebalance has begun by then.
func (m *Machine) assign(now time.Time, g *group, list []Assignment) {
	for _, mem := range g.members {
		mem.assignment = nil
	}
	for _, a := range list {
		if mem := g.byID[a.MemberID]; mem != nil {
			mem.assignment = bytes.Clone(a.Data)
		}
	}
	g.assigning = true
	gen := g.generation
	m.propose(g, g.outcome(now), func(now time.Time) {
		if g.phase != completing || g.generation != gen {
			return
		}
		g.phase = stable
		for _, mem := range g.members {
			if mem.sync != nil {
				m.reply(mem.sync, g.synced(mem))
				mem.sync = nil
				mem.touch(now)
			}
		}
	})
}

func (g *group) synced(mem *member) *SyncResponse {
	return &SyncResponse{ProtocolType: g.protocolType, Protocol: g.protocol, Assignment: mem.assignment}
}

func (m *Machine) heartbeat(now time.Time, to any, r *HeartbeatRequest) {
	g, mem, code := m.member(r.Group, r.MemberID, r.InstanceID, r.Generation)
	if code == None {
		mem.touch(now)
		if g.phase == preparing {
			code = RebalanceInProgress
		}
	}
	m.reply(to, &HeartbeatResponse{code})
}

func (m *Machine) leave(now time.Time, to any, r *LeaveRequest) {
	if r.Group == "" {
		m.reply(to, r.refuse(InvalidGroupID))
		return
	}
	g := m.groups[r.Group]
	response := &LeaveResponse{Members: make([]Code, len(r.Members))}
	for i, who := range r.Members {
		response.Members[i] = m.leaveOne(now, g, who)
	}
	if g != nil {
		m.settle(now, g)
	}
	m.reply(to, response)
}

func (m *Machine) leaveOne(now time.Time, g *group, who LeaveMember) Code {
	if g == nil {
		return UnknownMemberID
	}
	if _, ok := g.handedOut[who.ID]; ok && who.InstanceID == "" {
		delete(g.handedOut, who.ID)
		return None
	}
	if static := g.byInstance[who.InstanceID]; static != nil && who.ID == "" {
		who.ID = static.id // an operator knows only the instance
	}
	mem, code := g.find(who.ID, who.InstanceID)
	if code == None {
		m.evict(now, g, mem)
	}
	return code
}

// member finds a member of the present generation.
func (m *Machine) member(name, id, instance string, generation int32) (*group, *member, Code) {
	if name == "" {
		return nil, nil, InvalidGroupID
	}
	g := m.groups[name]
	if g == nil {
		return nil, nil, UnknownMemberID
	}
	mem, code := g.find(id, instance)
	if code == None && generation != g.generation {
		code = IllegalGeneration
	}
	return g, mem, code
}
