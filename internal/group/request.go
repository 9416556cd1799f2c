package group

import "time"

// Request is one of the request types of this file.
type Request interface {
	// refuse is the response when the request cannot be served at all.
	refuse(Code) any
}

// Protocol is a way to assign partitions that a member supports.
type Protocol struct {
	Name     string
	Metadata []byte // for a consumer: its subscription
}

// JoinRequest asks to become or stay a member. The answer is a *JoinResponse.
type JoinRequest struct {
	Group            string
	MemberID         string // empty: the member has none yet
	NewMemberID      string // the id that it gets then; never used before
	InstanceID       string // group.instance.id of a static member, or empty
	ClientID         string
	ClientHost       string
	SessionTimeout   time.Duration
	RebalanceTimeout time.Duration // 0: as long as the session timeout
	ProtocolType     string
	Protocols        []Protocol // the preferred one first

	NeedsMemberID     bool // a new member is told its id first and joins again with it (v4)
	CanSkipAssignment bool // understands SkipAssignment (v9)
}

// JoinResponse answers a JoinRequest.
type JoinResponse struct {
	Code           Code
	Generation     int32
	ProtocolType   string
	Protocol       string
	Leader         string // member id of the group's leader
	SkipAssignment bool   // the leader need not make an assignment
	MemberID       string
	Members        []JoinMember // for the leader, in the order of joining
}

// JoinMember is a member as its group's leader sees it.
type JoinMember struct {
	ID         string
	InstanceID string
	Metadata   []byte // for the chosen protocol
}

// SyncRequest asks for the member's assignment. The answer is a *SyncResponse.
type SyncRequest struct {
	Group        string
	Generation   int32
	MemberID     string
	InstanceID   string
	ProtocolType string       // empty: not checked
	Protocol     string       // empty: not checked
	Assignments  []Assignment // of all members, from the leader
}

// Assignment is what one member shall consume.
type Assignment struct {
	MemberID string
	Data     []byte
}

// SyncResponse answers a SyncRequest.
type SyncResponse struct {
	Code         Code
	ProtocolType string
	Protocol     string
	Assignment   []byte
}

// HeartbeatRequest keeps a session alive. The answer is a *HeartbeatResponse.
type HeartbeatRequest struct {
	Group      string
	Generation int32
	MemberID   string
	InstanceID string
}

// HeartbeatResponse answers a HeartbeatRequest.
type HeartbeatResponse struct{ Code Code }

// LeaveRequest removes members. The answer is a *LeaveResponse.
type LeaveRequest struct {
	Group   string
	Members []LeaveMember
}

// LeaveMember names a member by its id, or a static one by its instance id.
type LeaveMember struct {
	ID         string
	InstanceID string
}

// LeaveResponse answers a LeaveRequest.
type LeaveResponse struct {
	Code    Code
	Members []Code // one for each member of the request; nil when Code is set
}

// TopicPartition names a partition.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// Offset is a committed offset.
type Offset struct {
	TopicID     [16]byte // the topic that the name stood for; a later topic of that name is another one
	Offset      int64
	LeaderEpoch int32 // -1: unknown
	Metadata    string
	Time        int64 // of the commit, ms since the Unix epoch
	Expires     int64 // ms since the Unix epoch, if the client asked for a retention; -1: offsets.retention.minutes holds
}

// OffsetCommit is one offset to commit.
type OffsetCommit struct {
	TopicPartition
	TopicID     [16]byte
	Offset      int64
	LeaderEpoch int32
	Metadata    string
}

// CommitRequest commits offsets. The answer is a *CommitResponse, once they are
// durable.
type CommitRequest struct {
	Group      string
	Generation int32  // -1: from outside of the group
	MemberID   string // empty then
	InstanceID string
	Retention  time.Duration // below 0: the broker's
	Offsets    []OffsetCommit
}

// CommitResponse answers a CommitRequest.
type CommitResponse struct {
	Code    Code
	Offsets []Code // one for each offset of the request; nil when Code is set
}

// FetchRequest asks for committed offsets. The answer is a *FetchResponse.
type FetchRequest struct {
	Group      string
	All        bool // all that the group has; else Partitions
	Partitions []TopicPartition
}

// FetchResponse answers a FetchRequest.
type FetchResponse struct {
	Code    Code
	Offsets []FetchedOffset // of Partitions in their order, or all by topic and partition
}

// FetchedOffset is a committed offset, or Found is false.
type FetchedOffset struct {
	TopicPartition
	Offset
	Found bool
}

// DescribeRequest asks about a group. The answer is a *DescribeResponse.
type DescribeRequest struct{ Group string }

// DescribeResponse answers a DescribeRequest.
type DescribeResponse struct {
	Code         Code // GroupIDNotFound: there is no such group
	State        string
	ProtocolType string
	Protocol     string // this, and the members' metadata and assignments, only of a stable group
	Members      []MemberDescription
}

// MemberDescription tells about one member.
type MemberDescription struct {
	ID         string
	InstanceID string
	ClientID   string
	ClientHost string
	Metadata   []byte
	Assignment []byte
}

// ListRequest asks for all groups. The answer is a *ListResponse.
type ListRequest struct{}

// ListResponse answers a ListRequest.
type ListResponse struct {
	Code   Code
	Groups []Listing // in the order of their names
}

// Listing is one group in a list.
type Listing struct {
	Group        string
	State        string
	ProtocolType string
}

// SurveyRequest asks for what is worth measuring. The answer is a
// *SurveyResponse.
type SurveyRequest struct{}

// SurveyResponse answers a SurveyRequest.
type SurveyResponse struct {
	Code       Code
	Rebalances uint64 // join phases that ended, since this node started
	Evicted    uint64 // members removed because they were silent for too long, likewise
	Groups     []Survey
}

// Survey measures one group.
type Survey struct {
	Group   string
	State   string
	Members int
	Offsets []FetchedOffset
}

// DeleteRequest deletes a group without members. The answer is a
// *DeleteResponse, once that is durable.
type DeleteRequest struct{ Group string }

// DeleteResponse answers a DeleteRequest.
type DeleteResponse struct{ Code Code }

// OffsetDeleteRequest deletes committed offsets that no member is subscribed
// to. The answer is an *OffsetDeleteResponse, once that is durable.
type OffsetDeleteRequest struct {
	Group      string
	Partitions []TopicPartition
}

// OffsetDeleteResponse answers an OffsetDeleteRequest.
type OffsetDeleteResponse struct {
	Code       Code
	Partitions []Code // one for each partition of the request; nil when Code is set
}

// Refuse is the response that refuses r with an error code.
func Refuse(r Request, c Code) any { return r.refuse(c) }

func (r *JoinRequest) refuse(c Code) any {
	return &JoinResponse{Code: c, Generation: -1, MemberID: r.MemberID}
}
func (*SyncRequest) refuse(c Code) any         { return &SyncResponse{Code: c} }
func (*HeartbeatRequest) refuse(c Code) any    { return &HeartbeatResponse{Code: c} }
func (*LeaveRequest) refuse(c Code) any        { return &LeaveResponse{Code: c} }
func (*CommitRequest) refuse(c Code) any       { return &CommitResponse{Code: c} }
func (*FetchRequest) refuse(c Code) any        { return &FetchResponse{Code: c} }
func (*DescribeRequest) refuse(c Code) any     { return &DescribeResponse{Code: c} }
func (*ListRequest) refuse(c Code) any         { return &ListResponse{Code: c} }
func (*SurveyRequest) refuse(c Code) any       { return &SurveyResponse{Code: c} }
func (*DeleteRequest) refuse(c Code) any       { return &DeleteResponse{Code: c} }
func (*OffsetDeleteRequest) refuse(c Code) any { return &OffsetDeleteResponse{Code: c} }
