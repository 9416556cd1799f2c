package group

import (
	"maps"
	"slices"
	"time"
)

func (m *Machine) describe(to any, r *DescribeRequest) {
	m.reply(to, m.description(r.Group))
}

func (m *Machine) description(name string) *DescribeResponse {
	g := m.groups[name]
	if g == nil {
		if s := m.state.groups[name]; s != nil {
			return &DescribeResponse{State: empty.String(), ProtocolType: s.outcome.protocolType}
		}
		return &DescribeResponse{Code: GroupIDNotFound, State: "Dead"}
	}
	d := &DescribeResponse{State: g.phase.String(), ProtocolType: g.protocolType}
	if g.phase == stable {
		d.Protocol = g.protocol
	}
	for _, mem := range g.members {
		md := MemberDescription{
			ID: mem.id, InstanceID: mem.instance, ClientID: mem.clientID, ClientHost: mem.clientHost,
		}
		if g.phase == stable {
			md.Metadata, md.Assignment = mem.metadata(g.protocol), mem.assignment
		}
		d.Members = append(d.Members, md)
	}
	return d
}

// names lists all groups in order.
func (m *Machine) names() []string {
	all := make(map[string]struct{}, len(m.state.groups))
	for name := range m.state.groups {
		all[name] = struct{}{}
	}
	for name := range m.groups {
		all[name] = struct{}{}
	}
	return slices.Sorted(maps.Keys(all))
}

func (m *Machine) list(to any) {
	response := &ListResponse{}
	for _, name := range m.names() {
		d := m.description(name)
		response.Groups = append(response.Groups, Listing{name, d.State, d.ProtocolType})
	}
	m.reply(to, response)
}

func (m *Machine) survey(to any) {
	response := &SurveyResponse{Rebalances: m.rebalances, Evicted: m.evicted}
	for _, name := range m.names() {
		d := m.description(name)
		response.Groups = append(response.Groups, Survey{name, d.State, len(d.Members), m.state.all(name)})
	}
	m.reply(to, response)
}

func (m *Machine) delete(to any, r *DeleteRequest) {
	g := m.groups[r.Group]
	code := None
	switch {
	case r.Group == "":
		code = InvalidGroupID
	case g != nil && g.phase != empty:
		code = NonEmptyGroup
	case g == nil && m.state.groups[r.Group] == nil:
		code = GroupIDNotFound
	}
	if code != None {
		m.reply(to, r.refuse(code))
		return
	}
	if g != nil {
		m.close(g)
	}
	m.queue(proposal{name: r.Group, to: to, from: r, done: func(time.Time) {
		m.reply(to, &DeleteResponse{})
	}}, &remove{r.Group})
}
