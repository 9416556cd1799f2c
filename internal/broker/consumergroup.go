package broker

import (
	"sync"

	"waybill/internal/group"
)

// The vocabulary of consumer groups is the coordinator's own; these are its
// words for the front end.
type (
	// GroupConfig sets the limits of the groups.
	GroupConfig = group.Config
	// GroupCode is an error code of the Kafka protocol.
	GroupCode = group.Code
	// GroupProtocol is a way to assign partitions that a member supports.
	GroupProtocol = group.Protocol
	// GroupAssignment is what one member shall consume.
	GroupAssignment = group.Assignment
	// GroupDescription tells about one group.
	GroupDescription = group.DescribeResponse
	// TopicPartition names a partition.
	TopicPartition = group.TopicPartition
	// OffsetCommit is one offset to commit.
	OffsetCommit = group.OffsetCommit
	// FetchedOffset is a committed offset, if there is one.
	FetchedOffset = group.FetchedOffset

	// JoinGroup is the request of [Broker.JoinGroup].
	JoinGroup = group.JoinRequest
	// JoinGroupResult is its result.
	JoinGroupResult = group.JoinResponse
	// SyncGroup is the request of [Broker.SyncGroup].
	SyncGroup = group.SyncRequest
	// SyncGroupResult is its result.
	SyncGroupResult = group.SyncResponse
	// GroupHeartbeat is the request of [Broker.GroupHeartbeat].
	GroupHeartbeat = group.HeartbeatRequest
	// GroupHeartbeatResult is its result.
	GroupHeartbeatResult = group.HeartbeatResponse
	// LeaveGroup is the request of [Broker.LeaveGroup].
	LeaveGroup = group.LeaveRequest
	// LeaveGroupMember names one who leaves.
	LeaveGroupMember = group.LeaveMember
	// LeaveGroupResult is the result of [Broker.LeaveGroup].
	LeaveGroupResult = group.LeaveResponse
	// CommitOffsets is the request of [Broker.CommitOffsets].
	CommitOffsets = group.CommitRequest
	// CommitOffsetsResult is its result.
	CommitOffsetsResult = group.CommitResponse
	// FetchOffsets is the request of [Broker.FetchOffsets].
	FetchOffsets = group.FetchRequest
	// FetchOffsetsResult is its result.
	FetchOffsetsResult = group.FetchResponse
	// DeleteOffsets is the request of [Broker.DeleteOffsets].
	DeleteOffsets = group.OffsetDeleteRequest
	// DeleteOffsetsResult is its result.
	DeleteOffsetsResult = group.OffsetDeleteResponse
	// DeleteGroupResult is the result of [Broker.DeleteGroup].
	DeleteGroupResult = group.DeleteResponse
	// ListGroupsResult is the result of [Broker.ListGroups].
	ListGroupsResult = group.ListResponse
)

// DefaultGroupConfig returns Kafka's defaults.
func DefaultGroupConfig() GroupConfig { return group.DefaultConfig() }

// The verbs of consumer groups. Each takes effect in the order of the calls for one group, and
// hands its result to done: once, from any goroutine, possibly before it
// returns. done must not block. A result with a Code has nothing else.

// JoinGroup joins a group, and answers when the join phase is over.
func (b *Broker) JoinGroup(r *JoinGroup, done func(*JoinGroupResult)) {
	ask(b.coordinator(r.Group), r, done)
}

// SyncGroup answers when the group's leader has made the assignment.
func (b *Broker) SyncGroup(r *SyncGroup, done func(*SyncGroupResult)) {
	ask(b.coordinator(r.Group), r, done)
}

// GroupHeartbeat keeps a member's session alive.
func (b *Broker) GroupHeartbeat(r *GroupHeartbeat, done func(*GroupHeartbeatResult)) {
	ask(b.coordinator(r.Group), r, done)
}

// LeaveGroup removes members.
func (b *Broker) LeaveGroup(r *LeaveGroup, done func(*LeaveGroupResult)) {
	ask(b.coordinator(r.Group), r, done)
}

// CommitOffsets answers when the offsets are durable.
func (b *Broker) CommitOffsets(r *CommitOffsets, done func(*CommitOffsetsResult)) {
	ask(b.coordinator(r.Group), r, done)
}

// FetchOffsets reads committed offsets.
func (b *Broker) FetchOffsets(r *FetchOffsets, done func(*FetchOffsetsResult)) {
	askNewest(b.coordinator(r.Group), r, done)
}

// DescribeGroup tells about one group.
func (b *Broker) DescribeGroup(name string, done func(*GroupDescription)) {
	ask(b.coordinator(name), &group.DescribeRequest{Group: name}, done)
}

// DeleteGroup deletes a group without members, and answers when that is
// durable.
func (b *Broker) DeleteGroup(name string, done func(*DeleteGroupResult)) {
	ask(b.coordinator(name), &group.DeleteRequest{Group: name}, done)
}

// DeleteOffsets deletes committed offsets, and answers when that is durable.
func (b *Broker) DeleteOffsets(r *DeleteOffsets, done func(*DeleteOffsetsResult)) {
	ask(b.coordinator(r.Group), r, done)
}

// ListGroups lists the groups of all coordinators that are on this node. Its Code is that of one that
// could not answer; the groups of the others are there all the same.
func (b *Broker) ListGroups(done func(*ListGroupsResult)) {
	var (
		mu   sync.Mutex // guards the rest
		all  ListGroupsResult
		here = b.coordinatorsHere()
		left = len(here)
	)
	if left == 0 {
		done(&all)
	}
	for _, c := range here {
		ask(c, &group.ListRequest{}, func(r *ListGroupsResult) {
			mu.Lock()
			if r.Code != group.None {
				all.Code = r.Code
			}
			all.Groups = append(all.Groups, r.Groups...)
			left--
			last := left == 0
			mu.Unlock()
			if last {
				done(&all)
			}
		})
	}
}

// coordinatorsHere lists those whose groups this node coordinates.
func (b *Broker) coordinatorsHere() (list []*Coordinator) {
	for _, c := range b.coordinatorList() {
		if b.cfg.Cluster == nil || c.group != nil && c.group.Leads() {
			list = append(list, c)
		}
	}
	return list
}

// forgetTopic drops the offsets that were committed for a deleted topic.
func (b *Broker) forgetTopic(id [16]byte) {
	for _, c := range b.coordinatorList() {
		if c.group != nil {
			c.group.Post(topicGone{id}) // lost at shutdown: a fetch does not take them for another topic's
		}
	}
}
