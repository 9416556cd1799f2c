package group

import "time"

// offsetBytes is about what a committed offset takes beside its topic and
// metadata.
const offsetBytes = 64

func (m *Machine) commit(now time.Time, to any, r *CommitRequest) {
	if code := m.checkCommit(now, r); code != None {
		m.reply(to, r.refuse(code))
		return
	}
	response := &CommitResponse{Offsets: make([]Code, len(r.Offsets))}
	c := &commit{group: r.Group}
	ms, expires := now.UnixMilli(), int64(-1)
	if r.Retention >= 0 {
		expires = ms + r.Retention.Milliseconds()
	}
	size, full := 0, m.isFull()
	for i, o := range r.Offsets {
		if full && !m.state.has(r.Group, o.TopicPartition) {
			response.Offsets[i] = InvalidCommitOffsetSize
			continue
		}
		if len(o.Metadata) > m.cfg.MaxOffsetMetadata {
			response.Offsets[i] = OffsetMetadataTooLarge
			continue
		}
		if size += len(o.Topic) + len(o.Metadata) + offsetBytes; size > maxCommit {
			m.reply(to, r.refuse(InvalidCommitOffsetSize))
			return
		}
		c.offsets = append(c.offsets, committed{o.TopicPartition, Offset{
			TopicID: o.TopicID, Offset: o.Offset, LeaderEpoch: o.LeaderEpoch,
			Metadata: o.Metadata, Time: ms, Expires: expires,
		}})
	}
	if len(c.offsets) == 0 {
		m.reply(to, response)
		return
	}
	m.queue(proposal{name: r.Group, to: to, from: r, done: func(time.Time) {
		m.reply(to, response)
	}}, c)
}

// checkCommit keeps zombies out: while the group has members, only a member of
// the present generation commits. A group without members takes the commits of
// anyone who does not claim to be one (tools, consumers with partitions of
// their own choice).
func (m *Machine) checkCommit(now time.Time, r *CommitRequest) Code {
	g := m.groups[r.Group]
	outside := r.Generation < 0
	if g == nil {
		switch {
		case !validName(r.Group):
			return InvalidGroupID
		case outside:
			return None
		case m.state.groups[r.Group] == nil:
			return IllegalGeneration
		}
		return UnknownMemberID
	}
	if outside && (g.phase == empty || r.MemberID == "" && r.InstanceID == "") {
		if g.phase == empty {
			return None
		}
		return UnknownMemberID
	}
	mem, code := g.find(r.MemberID, r.InstanceID)
	switch {
	case code != None:
		return code
	case r.Generation != g.generation:
		return IllegalGeneration
	case g.phase == completing:
		return RebalanceInProgress // it does not know yet whether the partition is still its own
	}
	mem.touch(now)
	return None
}

// fetch reads what is applied, and so everything that was answered.
func (m *Machine) fetch(to any, r *FetchRequest) {
	if r.All {
		m.reply(to, &FetchResponse{Offsets: m.state.all(r.Group)})
		return
	}
	response := &FetchResponse{}
	g := m.state.groups[r.Group]
	for _, p := range r.Partitions {
		f := FetchedOffset{TopicPartition: p}
		if g != nil {
			f.Offset, f.Found = g.offsets[p]
		}
		response.Offsets = append(response.Offsets, f)
	}
	m.reply(to, response)
}

func (m *Machine) deleteOffsets(to any, r *OffsetDeleteRequest) {
	live, s := m.groups[r.Group], m.state.groups[r.Group]
	code := None
	switch {
	case live == nil && s == nil:
		code = GroupIDNotFound
	case live != nil && len(live.members) > 0 && live.protocolType != consumerType:
		code = NonEmptyGroup
	}
	if code != None {
		m.reply(to, r.refuse(code))
		return
	}
	response := &OffsetDeleteResponse{Partitions: make([]Code, len(r.Partitions))}
	var list []TopicPartition
	for i, p := range r.Partitions {
		if live != nil && live.subscribed(p.Topic) {
			response.Partitions[i] = GroupSubscribedToTopic
			continue
		}
		list = append(list, p)
	}
	if len(list) == 0 {
		m.reply(to, response)
		return
	}
	m.queueForget(list, proposal{name: r.Group, to: to, from: r, done: func(time.Time) {
		m.reply(to, response)
	}})
}

// queueForget queues the commands that forget a list of offsets; the last one
// is p's.
func (m *Machine) queueForget(list []TopicPartition, p proposal) {
	for ; len(list) > maxForget; list = list[maxForget:] {
		m.queue(proposal{name: p.name}, &forget{p.name, list[:maxForget]})
	}
	m.queue(p, &forget{p.name, list})
}

// ForgetTopic proposes to forget the offsets of a topic that was deleted.
func (m *Machine) ForgetTopic(id [16]byte) {
	if m.leading {
		m.forget(func(_ string, _ *stored, o *Offset) bool { return o.TopicID == id })
	}
}

// sweep proposes to forget the offsets that groups without members have kept
// long enough, and the groups that have nothing left.
func (m *Machine) sweep(now time.Time) {
	m.forget(func(name string, s *stored, o *Offset) bool {
		if g := m.groups[name]; g != nil && len(g.members) > 0 {
			return false
		}
		end := max(o.Time, s.outcome.since) + m.cfg.OffsetsRetention.Milliseconds()
		if o.Expires >= 0 {
			end = o.Expires
		}
		return end <= now.UnixMilli()
	})
}

// forget proposes to forget offsets. It leaves out groups with commands in
// flight: a commit among them may be newer than what is seen here.
func (m *Machine) forget(dead func(name string, s *stored, o *Offset) bool) {
	busy := make(map[string]bool)
	for _, list := range [][]proposal{m.flying, m.waiting} {
		for _, p := range list {
			busy[p.name] = true
		}
	}
	for _, name := range m.state.names() {
		if busy[name] {
			continue
		}
		s := m.state.groups[name]
		var list []TopicPartition
		for _, o := range s.sorted() {
			if dead(name, s, &o.Offset) {
				list = append(list, o.TopicPartition)
			}
		}
		switch {
		case len(list) == len(s.offsets) && m.groups[name] == nil:
			m.queue(proposal{name: name}, &remove{name})
		case len(list) > 0:
			m.queueForget(list, proposal{name: name})
		}
	}
}
