//go:build clients

package clients

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// A member is one member of a group, as the scenarios with groups use it.
type member struct {
	group, id  string
	instance   *string
	generation int32
}

// coordinator waits until the group can be used: the first of all groups makes Kafka create a topic.
func (a *asker) coordinator(group string) {
	a.until("the coordinator", func() bool {
		request := kmsg.NewPtrFindCoordinatorRequest()
		request.CoordinatorKey = group
		return ask[*kmsg.FindCoordinatorResponse](a, request).ErrorCode == 0
	})
	// It may still be loading.
	a.until("the coordinator's log", func() bool {
		request := kmsg.NewPtrDescribeGroupsRequest()
		request.Groups = []string{group}
		c := code(ask[*kmsg.DescribeGroupsResponse](a, request).Groups[0].ErrorCode)
		return c != "COORDINATOR_LOAD_IN_PROGRESS" && c != "NOT_COORDINATOR"
	})
}

// subscription is the metadata of a member that reads the topic t.
var subscription = (&kmsg.ConsumerMemberMetadata{Topics: []string{"t"}}).AppendTo(nil)

// join joins as m, which gets its id and generation from the answer.
func (a *asker) join(what string, m *member, change func(r *kmsg.JoinGroupRequest)) string {
	a.t.Helper()
	request := kmsg.NewPtrJoinGroupRequest()
	request.Group, request.MemberID, request.InstanceID = m.group, m.id, m.instance
	request.SessionTimeoutMillis, request.RebalanceTimeoutMillis = 10_000, 10_000
	request.ProtocolType = "consumer"
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name, protocol.Metadata = "range", subscription
	request.Protocols = append(request.Protocols, protocol)
	if change != nil {
		change(request)
	}
	answer := ask[*kmsg.JoinGroupResponse](a, request)
	got := code(answer.ErrorCode)
	a.writef("join %s: %s, generation %d, an id %v, leader %v, %d members", what, got, answer.Generation,
		answer.MemberID != "", answer.LeaderID != "" && answer.LeaderID == answer.MemberID, len(answer.Members))
	if answer.MemberID != "" {
		m.id = answer.MemberID
	}
	if answer.ErrorCode == 0 {
		m.generation = answer.Generation
	}
	return got
}

func (a *asker) sync(what string, m member, assignTo ...string) {
	a.t.Helper()
	request := kmsg.NewPtrSyncGroupRequest()
	request.Group, request.MemberID, request.InstanceID, request.Generation = m.group, m.id, m.instance, m.generation
	request.ProtocolType, request.Protocol = kmsg.StringPtr("consumer"), kmsg.StringPtr("range")
	for _, id := range assignTo {
		assignment := kmsg.NewSyncGroupRequestGroupAssignment()
		assignment.MemberID, assignment.MemberAssignment = id, []byte("assigned")
		request.GroupAssignment = append(request.GroupAssignment, assignment)
	}
	answer := ask[*kmsg.SyncGroupResponse](a, request)
	a.writef("sync %s: %s, %q", what, code(answer.ErrorCode), answer.MemberAssignment)
}

func (a *asker) heartbeat(what string, m member) {
	a.t.Helper()
	request := kmsg.NewPtrHeartbeatRequest()
	request.Group, request.MemberID, request.InstanceID, request.Generation = m.group, m.id, m.instance, m.generation
	a.writef("heartbeat %s: %s", what, code(ask[*kmsg.HeartbeatResponse](a, request).ErrorCode))
}

func (a *asker) leave(what string, m member) {
	a.t.Helper()
	request := kmsg.NewPtrLeaveGroupRequest()
	request.Group, request.MemberID = m.group, m.id
	one := kmsg.NewLeaveGroupRequestMember()
	one.MemberID, one.InstanceID = m.id, m.instance
	request.Members = append(request.Members, one)
	answer := ask[*kmsg.LeaveGroupResponse](a, request)
	a.writef("leave %s: %s", what, code(answer.ErrorCode))
	for _, one := range answer.Members {
		a.writef("  %s", code(one.ErrorCode))
	}
}

func (a *asker) commit(what string, m member, topic string, partition int32, offset int64, metadata string) {
	a.t.Helper()
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.MemberID, request.InstanceID, request.Generation = m.group, m.id, m.instance, m.generation
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.Metadata = partition, offset, kmsg.StringPtr(metadata)
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	t.Partitions = append(t.Partitions, p)
	request.Topics = append(request.Topics, t)
	a.writef("commit %s: %s", what, code(ask[*kmsg.OffsetCommitResponse](a, request).Topics[0].Partitions[0].ErrorCode))
}

func (a *asker) committed(what, group, topic string, partitions ...int32) {
	a.t.Helper()
	request := kmsg.NewPtrOffsetFetchRequest()
	request.Group = group
	if topic != "" {
		t := kmsg.NewOffsetFetchRequestTopic()
		t.Topic, t.Partitions = topic, partitions
		request.Topics = append(request.Topics, t)
	}
	answer := ask[*kmsg.OffsetFetchResponse](a, request)
	a.writef("committed %s: %s, %d topics", what, code(answer.ErrorCode), len(answer.Topics))
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			a.writef("  %s/%d: %s, %d, metadata %q", t.Topic, p.Partition, code(p.ErrorCode), p.Offset, deref(p.Metadata))
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func kafkaGroups(a *asker) {
	a.coordinator("g")
	find := func(what, key string, kind int8) {
		request := kmsg.NewPtrFindCoordinatorRequest()
		request.CoordinatorKey, request.CoordinatorType = key, kind
		answer := ask[*kmsg.FindCoordinatorResponse](a, request)
		a.writef("find coordinator %s: %s, a port %v", what, code(answer.ErrorCode), answer.Port > 0)
	}
	find("of a group", "g", 0)
	find("of an unknown kind", "g", 9)

	m := member{group: "g"}
	a.heartbeat("in a group that does not exist", member{group: "g", id: "somebody", generation: 1})
	a.sync("in a group that does not exist", member{group: "g", id: "somebody", generation: 1})
	a.leave("a group that does not exist", member{group: "g", id: "somebody"})
	a.join("with an empty group id", &member{}, nil)
	a.join("with a short session", &member{group: "g"}, func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 100 })
	a.join("with a long session", &member{group: "g"}, func(r *kmsg.JoinGroupRequest) { r.SessionTimeoutMillis = 1e9 })
	a.join("with no protocols", &member{group: "g"}, func(r *kmsg.JoinGroupRequest) { r.Protocols = nil })
	a.join("with an unknown id", &member{group: "g", id: "somebody"}, nil)
	a.join("without an id", &m, nil)
	a.join("with the given id", &m, nil)
	a.heartbeat("before sync", m)
	a.sync("of an old generation", member{group: "g", id: m.id, generation: m.generation - 1})
	a.sync("of an unknown member", member{group: "g", id: "somebody", generation: m.generation})
	a.sync("of the leader", m, m.id)
	a.heartbeat("after sync", m)
	a.heartbeat("of an old generation", member{group: "g", id: m.id, generation: m.generation - 1})
	a.heartbeat("of an unknown member", member{group: "g", id: "somebody", generation: m.generation})
	a.sync("again", m)
	a.join("of another protocol type", &member{group: "g"}, func(r *kmsg.JoinGroupRequest) { r.ProtocolType = "connect" })
	a.join("with another protocol", &member{group: "g"}, func(r *kmsg.JoinGroupRequest) { r.Protocols[0].Name = "roundrobin" })
	a.join("of the leader again", &m, nil)
	a.sync("of the leader again", m, m.id)
	a.leave("of an unknown member", member{group: "g", id: "somebody"})
	a.leave("of the member", m)
	a.heartbeat("after leaving", m)
	a.join("with the id that left", &m, nil)
}

func kafkaStaticMembers(a *asker) {
	a.coordinator("s")
	m := member{group: "s", instance: kmsg.StringPtr("one")}
	a.join("of a static member", &m, nil)
	a.sync("of it", m, m.id)
	old := m
	m.id = ""
	a.join("of it after a restart", &m, nil)
	a.writef("  the id is new: %v", m.id != old.id)
	a.heartbeat("with the old id", old)
	a.sync("with the old id", old)
	a.commit("with the old id", old, "t", 0, 1, "")
	a.heartbeat("with the new id", m)
	a.leave("with the old id", old)
	a.leave("by the instance alone", member{group: "s", instance: m.instance})
	a.leave("by an unknown instance", member{group: "s", instance: kmsg.StringPtr("nobody")})
}

func kafkaCommits(a *asker) {
	a.coordinator("c")
	a.topic("t", 2)
	nobody := member{group: "c", generation: -1}
	a.committed("of a group that does not exist", "c", "t", 0, 1)
	a.commit("without members", nobody, "t", 0, 5, "note")
	a.commit("lower", nobody, "t", 0, 3, "")
	a.commit("of a member in an empty group", member{group: "c", id: "somebody", generation: 3}, "t", 0, 5, "")
	a.commit("to a missing topic", nobody, "nowhere", 0, 5, "")
	a.commit("to a missing partition", nobody, "t", 7, 5, "")
	a.commit("with long metadata", nobody, "t", 1, 5, strings.Repeat("m", 4097))
	a.commit("with an empty group id", member{generation: -1}, "t", 0, 5, "")
	a.commit("a negative offset", nobody, "t", 1, -5, "")
	a.committed("of all partitions asked", "c", "t", 0, 1, 7)
	a.committed("of a missing topic", "c", "nowhere", 0)

	m := member{group: "c"}
	a.join("without an id", &m, nil)
	a.join("with the given id", &m, nil)
	a.commit("before sync", m, "t", 0, 6, "")
	a.sync("of the leader", m, m.id)
	a.commit("of the member", m, "t", 0, 7, "")
	a.commit("of an old generation", member{group: "c", id: m.id, generation: m.generation - 1}, "t", 0, 8, "")
	a.commit("of an unknown member", member{group: "c", id: "somebody", generation: m.generation}, "t", 0, 8, "")
	a.commit("from outside while the group lives", nobody, "t", 0, 8, "")
	a.committed("after that", "c", "t", 0)
	a.leave("of the member", m)
	a.commit("after leaving", m, "t", 0, 9, "")
	a.commit("from outside", nobody, "t", 0, 10, "")
	a.committed("after that", "c", "t", 0)
}

func kafkaGroupAdministration(a *asker) {
	a.coordinator("living")
	a.topic("admin", 1)
	m := member{group: "living"}
	a.join("without an id", &m, nil)
	a.join("with the given id", &m, nil)
	describe := func(what, group string) {
		request := kmsg.NewPtrDescribeGroupsRequest()
		request.Groups = []string{group}
		answer := ask[*kmsg.DescribeGroupsResponse](a, request).Groups[0]
		a.writef("describe %s: %s, state %q, type %q, protocol %q, %d members", what, code(answer.ErrorCode),
			answer.State, answer.ProtocolType, answer.Protocol, len(answer.Members))
		for _, one := range answer.Members {
			a.writef("  metadata of %d bytes, assignment %q, a host %v", len(one.ProtocolMetadata), one.MemberAssignment, one.ClientHost != "")
		}
	}
	describe("before sync", "living")
	a.sync("of the leader", m, m.id)
	describe("after sync", "living")
	describe("a missing group", "missing")
	a.commit("of the member", m, "admin", 0, 1, "")

	list := func(what string, states ...string) {
		request := kmsg.NewPtrListGroupsRequest()
		request.StatesFilter = states
		answer := ask[*kmsg.ListGroupsResponse](a, request)
		found := "no"
		for _, g := range answer.Groups {
			if g.Group == "living" {
				found = g.ProtocolType + " " + g.GroupState
			}
		}
		a.writef("list %s: %s, the group: %s", what, code(answer.ErrorCode), found)
	}
	list("all")
	list("stable ones", "Stable")
	list("empty ones", "Empty")

	deleteGroup := func(what, group string) {
		request := kmsg.NewPtrDeleteGroupsRequest()
		request.Groups = []string{group}
		a.writef("delete %s: %s", what, code(ask[*kmsg.DeleteGroupsResponse](a, request).Groups[0].ErrorCode))
	}
	deleteOffset := func(what, group, topic string, partition int32) {
		request := kmsg.NewPtrOffsetDeleteRequest()
		request.Group = group
		t := kmsg.NewOffsetDeleteRequestTopic()
		t.Topic = topic
		p := kmsg.NewOffsetDeleteRequestTopicPartition()
		p.Partition = partition
		t.Partitions = append(t.Partitions, p)
		request.Topics = append(request.Topics, t)
		answer := ask[*kmsg.OffsetDeleteResponse](a, request)
		a.writef("delete the offset %s: %s", what, code(answer.ErrorCode))
		for _, t := range answer.Topics {
			for _, p := range t.Partitions {
				a.writef("  %s", code(p.ErrorCode))
			}
		}
	}
	deleteGroup("a living group", "living")
	deleteGroup("a missing group", "missing")
	deleteOffset("of a missing group", "missing", "admin", 0)
	a.leave("of the member", m)
	describe("an empty group", "living")
	deleteOffset("of an empty group", "living", "admin", 0)
	deleteOffset("of a missing topic", "living", "nowhere", 0)
	a.committed("after that", "living", "admin", 0)
	deleteGroup("an empty group", "living")
	deleteGroup("it again", "living")
	describe("a deleted group", "living")
}
