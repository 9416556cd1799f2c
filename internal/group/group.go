// Package group is the machine of one coordinator log: a set of classic
// consumer groups and the offsets they committed.
//
// The promise: an offset commit is answered only after it is committed in the
// log, and an offset fetch reads what was applied; so nobody reads an offset
// older than one that was answered. A generation is committed before any
// member hears of it, so it is never handed out twice, across restarts
// included. Offsets of a group that has members never expire.
//
// The machine is pure: it knows no raft, no socket and no clock. Every call
// brings the time, one call runs at a time, and what a call wants done comes
// back as data: replies for those who asked, commands that wait for
// [Machine.Build], and the time at which [Machine.Tick] is wanted.
//
// # Two states
//
// What is replicated ([state]) changes only in [Machine.Apply]: per group the
// committed offsets, the highest generation that was handed out, and the
// outcome of the last finished rebalance (generation, protocol, members with
// their metadata and assignments).
//
// What only the leader has ([group]) is made from it by [Machine.Lead] and
// thrown away by [Machine.Follow]: who waits for the end of a join or a sync,
// session deadlines, member ids that were handed out but have not joined. A
// restart therefore looks to a member like a slow heartbeat: its group is
// stable in the same generation, and its session begins anew.
//
// # A rebalance
//
//	Empty ──join──▶ PreparingRebalance ──all joined, or time is up──▶ CompletingRebalance
//	  ▲                ▲   │ nobody is left                             │        │
//	  └────────────────┼───┘                                            │        │ the leader's sync
//	                   ├── a join, a leave, an expired session ─────────┘        ▼
//	                   └── a join with new metadata, a leave, … ──────────── Stable
//
// At the end of the join phase the new generation is proposed, and the joins
// are answered once it is committed. The leader's sync proposes the outcome,
// and the syncs are answered once that is committed. Who waits is kept with
// the member; so a rebalance that begins anew in between just goes on with
// those who already wait.
//
// # Entry layout
//
// An entry is a [record.Header] with Count 0 and one or more commands:
//
//	uvarint  length of what follows
//	byte     kind (see command.go)
//	bytes    fields: integers as varints, strings and bytes with a uvarint length
//
// A snapshot is the list of commands that leads to the state, without header.
package group

import (
	"fmt"
	"time"
)

// Config sets the limits of the groups. Names in comments are Kafka's.
type Config struct {
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms: how long an empty group waits for more members
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	MaxSize               int           // group.max.size: members of one group; 0 is unlimited
	OffsetsRetention      time.Duration // offsets.retention.minutes: how long an empty group keeps its offsets
	MaxOffsetMetadata     int           // offset.metadata.max.bytes
	MaxBytes              int           // about what all groups of one log may take in memory; 0 is unlimited
}

// Limits that keep a command, and so an entry of the log, within what a client
// may make the broker write at once.
const (
	maxName   = 1<<15 - 1 // bytes of a group id: what a string of the older versions can hold
	maxGroup  = 8 << 20   // bytes that the members of a group say about themselves, and of their assignments
	maxCommit = 8 << 20   // bytes of the offsets in one request
	maxForget = 10_000    // partitions in one command
)

// DefaultConfig returns Kafka's defaults.
func DefaultConfig() Config {
	return Config{
		InitialRebalanceDelay: 3 * time.Second,
		MinSessionTimeout:     6 * time.Second,
		MaxSessionTimeout:     30 * time.Minute,
		OffsetsRetention:      7 * 24 * time.Hour,
		MaxOffsetMetadata:     4096,
		MaxBytes:              128 << 20,
	}
}

// Code is an error code of the Kafka protocol; 0 is success.
type Code int16

// The codes that the machine answers with.
const (
	None                      Code = 0
	MessageTooLarge           Code = 10
	OffsetMetadataTooLarge    Code = 12
	LoadInProgress            Code = 14
	NotAvailable              Code = 15
	NotCoordinator            Code = 16
	IllegalGeneration         Code = 22
	InconsistentGroupProtocol Code = 23
	InvalidGroupID            Code = 24
	UnknownMemberID           Code = 25
	InvalidSessionTimeout     Code = 26
	RebalanceInProgress       Code = 27
	InvalidCommitOffsetSize   Code = 28
	NonEmptyGroup             Code = 68
	GroupIDNotFound           Code = 69
	MemberIDRequired          Code = 79
	GroupMaxSizeReached       Code = 81
	FencedInstanceID          Code = 82
	GroupSubscribedToTopic    Code = 86
)

// String says in words what is wrong.
func (c Code) String() string {
	switch c {
	case None:
		return "no error"
	case OffsetMetadataTooLarge:
		return "the metadata of an offset is too large"
	case MessageTooLarge:
		return "the assignments of the group are too large"
	case LoadInProgress:
		return "the coordinator is starting; try again"
	case NotAvailable:
		return "the coordinator's log is offline; see the broker's log"
	case NotCoordinator:
		return "this node does not coordinate the group; look for the coordinator again"
	case IllegalGeneration:
		return "the generation has passed"
	case InconsistentGroupProtocol:
		return "no protocol in common with the other members"
	case InvalidGroupID:
		return "a group id must be UTF-8, not empty, and not longer than 32767 bytes"
	case UnknownMemberID:
		return "no such member"
	case InvalidSessionTimeout:
		return "the session timeout is outside of the broker's limits"
	case RebalanceInProgress:
		return "the group is rebalancing"
	case InvalidCommitOffsetSize:
		return "too many offsets in one commit, or in all groups of the coordinator"
	case NonEmptyGroup:
		return "the group has members; stop them first"
	case GroupIDNotFound:
		return "there is no such group"
	case MemberIDRequired:
		return "join again with the member id"
	case GroupMaxSizeReached:
		return "the group has as many members as the broker allows, or all groups of the coordinator together"
	case FencedInstanceID:
		return "another member has taken over the instance id"
	case GroupSubscribedToTopic:
		return "a member of the group is subscribed to the topic"
	}
	return fmt.Sprintf("error %d", int16(c))
}
