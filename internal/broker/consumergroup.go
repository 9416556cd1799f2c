package broker

import (
	"sync"

	"waybill/internal/group"
)

// GroupConfig and the types after it are the vocabulary of consumer groups, for
// the front end: the coordinator's own.
type (
	GroupConfig     = group.Config
	GroupCode       = group.Code
	GroupProtocol   = group.Protocol
	GroupAssignment = group.Assignment
	TopicPartition  = group.TopicPartition

	JoinGroup            = group.JoinRequest
	JoinGroupResult      = group.JoinResponse
	SyncGroup            = group.SyncRequest
	SyncGroupResult      = group.SyncResponse
	GroupHeartbeat       = group.HeartbeatRequest
	LeaveGroup           = group.LeaveRequest
	LeaveGroupMember     = group.LeaveMember
	LeaveGroupResult     = group.LeaveResponse
	CommitOffsets        = group.CommitRequest
	OffsetCommit         = group.OffsetCommit
	CommitOffsetsResult  = group.CommitResponse
	FetchOffsets         = group.FetchRequest
	FetchOffsetsResult   = group.FetchResponse
	FetchedOffset        = group.FetchedOffset
	GroupDescription     = group.DescribeResponse
	GroupListing         = group.Listing
	DeleteOffsets        = group.OffsetDeleteRequest
	DeleteOffsetsResult  = group.OffsetDeleteResponse
	ListGroupsResult     = group.ListResponse
	GroupHeartbeatResult = group.HeartbeatResponse
	DeleteGroupResult    = group.DeleteResponse
	groupDescribeRequest = group.DescribeRequest
	groupDeleteRequest   = group.DeleteRequest
	groupListRequest     = group.ListRequest
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
	ask(b.coordinator(r.Group), r, done)
}

// DescribeGroup tells about one group.
func (b *Broker) DescribeGroup(name string, done func(*GroupDescription)) {
	ask(b.coordinator(name), &groupDescribeRequest{Group: name}, done)
}

// DeleteGroup deletes a group without members, and answers when that is
// durable.
func (b *Broker) DeleteGroup(name string, done func(*DeleteGroupResult)) {
	ask(b.coordinator(name), &groupDeleteRequest{Group: name}, done)
}

// DeleteOffsets deletes committed offsets, and answers when that is durable.
func (b *Broker) DeleteOffsets(r *DeleteOffsets, done func(*DeleteOffsetsResult)) {
	ask(b.coordinator(r.Group), r, done)
}

// ListGroups lists the groups of all coordinators. Its Code is that of one that
// could not answer; the groups of the others are there all the same.
func (b *Broker) ListGroups(done func(*ListGroupsResult)) {
	var (
		mu   sync.Mutex // guards the rest
		all  ListGroupsResult
		left = len(b.coordinators)
	)
	for _, c := range b.coordinators {
		ask(c, &groupListRequest{}, func(r *ListGroupsResult) {
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

// forgetTopic drops the offsets that were committed for a deleted topic.
func (b *Broker) forgetTopic(id [16]byte) {
	for _, c := range b.coordinators {
		if c.group != nil {
			c.group.Post(topicGone{id}) // lost at shutdown: a fetch does not take them for another topic's
		}
	}
}
