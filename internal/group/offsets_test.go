package group

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestACommitIsAnsweredWhenItIsCommitted(t *testing.T) {
	r := newRig(t, nil)
	a := r.ask(committing("g", "", -1, 7))
	r.build()
	if a.response != nil {
		t.Fatal("answered before it was committed")
	}
	want(t, "offset before", r.committed("other"), -1)
	r.flush()
	want(t, "code", codeOf(a.response.(*CommitResponse)), None)
	want(t, "offset", r.committed("g"), 7)
}

func TestZombiesDoNotCommit(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 2)
	want(t, "member", r.commit("g", ids[0], gen, 1), None)
	want(t, "old generation", r.commit("g", ids[0], gen-1, 2), IllegalGeneration)
	want(t, "unknown member", r.commit("g", "who", gen, 2), UnknownMemberID)
	want(t, "outsider", r.commit("g", "", -1, 2), UnknownMemberID)
	want(t, "member of no group", r.commit("none", "who", 3, 2), IllegalGeneration)

	third := r.joining("g", "")
	r.ask(third)
	want(t, "while joins are awaited", r.commit("g", ids[0], gen, 3), None)
	r.ask(r.joining("g", ids[0]))
	r.ask(r.joining("g", ids[1]))
	r.flush()
	want(t, "of the generation before", r.commit("g", ids[0], gen, 4), IllegalGeneration)
	want(t, "before the assignment", r.commit("g", ids[0], gen+1, 4), RebalanceInProgress)
	want(t, "offset", r.committed("g"), 3)
}

func TestAnEmptyGroupTakesCommitsFromOutside(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 1)
	r.do(&LeaveRequest{"g", []LeaveMember{{ID: ids[0]}}})
	want(t, "outsider", r.commit("g", "", -1, 9), None)
	want(t, "the former member", r.commit("g", ids[0], gen, 8), UnknownMemberID)
	want(t, "offset", r.committed("g"), 9)
}

func TestLargeMetadataIsRefused(t *testing.T) {
	r := newRig(t, nil)
	q := committing("g", "", -1, 1)
	q.Offsets = append(q.Offsets, q.Offsets[0])
	q.Offsets[0].Metadata = strings.Repeat("x", 4097)
	q.Offsets[1].Partition = 1
	resp := r.do(q).(*CommitResponse)
	want(t, "too large", resp.Offsets[0], OffsetMetadataTooLarge)
	want(t, "the other", resp.Offsets[1], None)
	want(t, "offset", r.committed("g"), -1)
	all := r.do(&FetchRequest{Group: "g", All: true}).(*FetchResponse)
	want(t, "offsets", len(all.Offsets), 1)
}

func TestLargeCommitsAreRefused(t *testing.T) {
	r := newRig(t, nil)
	q := committing("g", "", -1, 1)
	q.Offsets[0].Topic = strings.Repeat("t", 249)
	for len(q.Offsets) < 50_000 {
		q.Offsets = append(q.Offsets, q.Offsets[0])
	}
	want(t, "code", r.do(q).(*CommitResponse).Code, InvalidCommitOffsetSize)
	want(t, "of a long name", r.commit(strings.Repeat("g", 1<<15), "", -1, 1), InvalidGroupID)
}

func TestManyOffsetsAreForgottenInParts(t *testing.T) {
	r := newRig(t, nil)
	q := committing("g", "", -1, 1)
	del := &OffsetDeleteRequest{Group: "g"}
	for p := range int32(2*maxForget + 1) {
		o := q.Offsets[0]
		o.Partition = p
		q.Offsets = append(q.Offsets, o)
		del.Partitions = append(del.Partitions, o.TopicPartition)
	}
	r.do(q)
	want(t, "committed", len(r.do(&FetchRequest{Group: "g", All: true}).(*FetchResponse).Offsets), 2*maxForget+1)
	a := r.ask(del)
	want(t, "commands", len(r.m.waiting), 3)
	r.flush()
	want(t, "code", a.response.(*OffsetDeleteResponse).Partitions[2*maxForget], None)
	want(t, "left", len(r.do(&FetchRequest{Group: "g", All: true}).(*FetchResponse).Offsets), 0)
}

func TestOffsetsExpireOnlyInEmptyGroups(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("live", 1)
	want(t, "commit", r.commit("live", ids[0], gen, 1), None)
	want(t, "commit", r.commit("simple", "", -1, 2), None)
	brief := committing("brief", "", -1, 3)
	brief.Retention = time.Hour
	r.do(brief)

	week := r.m.cfg.OffsetsRetention
	for end := r.now.Add(week - time.Minute); r.now.Before(end); {
		r.advance(9 * time.Second)
		r.heartbeat("live", ids[0], gen)
	}
	want(t, "simple", r.committed("simple"), 2)
	want(t, "brief", r.committed("brief"), -1)
	for end := r.now.Add(20 * time.Minute); r.now.Before(end); {
		r.advance(9 * time.Second)
		r.heartbeat("live", ids[0], gen)
	}
	want(t, "live", r.committed("live"), 1)
	want(t, "simple", r.committed("simple"), -1)
	want(t, "groups", len(r.do(&ListRequest{}).(*ListResponse).Groups), 1)

	r.do(&LeaveRequest{"live", []LeaveMember{{ID: ids[0]}}})
	r.advance(week - 20*time.Minute)
	want(t, "since it is empty", r.committed("live"), 1)
	r.advance(40 * time.Minute)
	want(t, "at the end", r.committed("live"), -1)
}

func TestASweepSparesCommitsInFlight(t *testing.T) {
	r := newRig(t, nil)
	r.commit("g", "", -1, 1)
	r.now = r.now.Add(8 * 24 * time.Hour)
	a := r.ask(committing("g", "", -1, 2))
	r.build()
	r.take(r.m.Tick(r.now)) // sees only the old one, long expired
	r.flush()
	want(t, "code", codeOf(a.response.(*CommitResponse)), None)
	want(t, "offset", r.committed("g"), 2)
}

func TestOffsetsOfADeletedTopicGo(t *testing.T) {
	r := newRig(t, nil)
	r.commit("g", "", -1, 1)
	r.m.ForgetTopic([16]byte{2})
	r.flush()
	want(t, "of another topic", r.committed("g"), 1)
	r.m.ForgetTopic([16]byte{1})
	r.flush()
	want(t, "of the topic", r.committed("g"), -1)
}

func TestDeleteGroup(t *testing.T) {
	r := newRig(t, nil)
	del := func(name string) Code { return r.do(&DeleteRequest{name}).(*DeleteResponse).Code }
	want(t, "unknown", del("g"), GroupIDNotFound)
	want(t, "no name", del(""), InvalidGroupID)
	ids, _ := r.gather("g", 1)
	want(t, "with a member", del("g"), NonEmptyGroup)
	r.do(&LeaveRequest{"g", []LeaveMember{{ID: ids[0]}}})
	r.commit("g", "", -1, 1)
	want(t, "empty", del("g"), None)
	want(t, "offset", r.committed("g"), -1)
	want(t, "described", r.describe("g").Code, GroupIDNotFound)
	r.crash(0)
	want(t, "after a restart", r.describe("g").State, "Dead")
}

func TestDeleteWhileAnEmptyingIsInFlight(t *testing.T) {
	r := newRig(t, nil)
	ids, _ := r.gather("g", 1)
	r.ask(&LeaveRequest{"g", []LeaveMember{{ID: ids[0]}}})
	del := r.ask(&DeleteRequest{"g"})
	q := r.joining("g", "")
	q.NeedsMemberID = true
	r.ask(q)
	r.flush()
	want(t, "delete", del.response.(*DeleteResponse).Code, None)
	j := r.ask(r.joining("g", q.NewMemberID))
	r.advance(3 * time.Second)
	want(t, "the next generation", j.response.(*JoinResponse).Generation > 1, true)
}

func TestDeleteOffsets(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	del := func(group, topic string) *OffsetDeleteResponse {
		return r.do(&OffsetDeleteRequest{group, []TopicPartition{{topic, 0}}}).(*OffsetDeleteResponse)
	}
	want(t, "unknown group", del("g", "t").Code, GroupIDNotFound)
	r.commit("g", "", -1, 1)
	want(t, "empty group", del("g", "t").Partitions[0], None)
	want(t, "offset", r.committed("g"), -1)

	q := r.joining("g", "")
	q.Protocols[0].Metadata = subscribing("t", "u")
	r.do(q)
	want(t, "subscribed", del("g", "u").Partitions[0], GroupSubscribedToTopic)
	want(t, "not subscribed", del("g", "v").Partitions[0], None)

	other := r.joining("connect", "")
	other.ProtocolType = "connect"
	r.do(other)
	want(t, "members that are no consumers", del("connect", "t").Code, NonEmptyGroup)
}

// subscribing is a consumer's metadata, version 0.
func subscribing(topics ...string) []byte {
	b := []byte{0, 0}
	b = binary.BigEndian.AppendUint32(b, uint32(len(topics)))
	for _, topic := range topics {
		b = binary.BigEndian.AppendUint16(b, uint16(len(topic)))
		b = append(b, topic...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff) // no user data
}

// TestGroupsAreBounded: clients that make up groups and offsets are stopped at
// a limit, and those that have some go on.
func TestGroupsAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxBytes = 1 << 20 })
	ids, generation := r.gather("old", 2)
	want(t, "commit", r.commit("old", ids[0], generation, 1), None)
	refused := 0
	for n := range 2000 {
		topic := fmt.Sprint("t", n, strings.Repeat("x", 1000))
		c := r.do(&CommitRequest{Group: fmt.Sprint("g", n), Generation: -1, Retention: -1, Offsets: []OffsetCommit{
			{TopicPartition: TopicPartition{topic, 0}, LeaderEpoch: -1},
		}}).(*CommitResponse)
		if codeOf(c) != None {
			want(t, "a commit beyond the limit", codeOf(c), InvalidCommitOffsetSize)
			refused++
		}
	}
	if got := r.m.state.bytes; refused == 0 || got > r.m.cfg.MaxBytes+2000 {
		t.Fatalf("%d refused, %d bytes", refused, got)
	}
	want(t, "a new member", r.do(r.joining("new", "")).(*JoinResponse).Code, GroupMaxSizeReached)
	want(t, "a commit of what there is", r.commit("old", ids[0], generation, 2), None)
	want(t, "the offset", r.committed("old"), 2)
	want(t, "a heartbeat", r.heartbeat("old", ids[0], generation), None)
	want(t, "deleting a group", r.do(&DeleteRequest{"g0"}).(*DeleteResponse).Code, None)
	want(t, "deleting another", r.do(&DeleteRequest{"g1"}).(*DeleteResponse).Code, None)
	a := r.ask(r.joining("new", ""))
	r.advance(r.m.cfg.InitialRebalanceDelay * 2)
	want(t, "a new member once there is room", a.response.(*JoinResponse).Code, None)
}

// TestMembersAreBounded: the same of groups that never come about.
func TestMembersAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxBytes = 1 << 20 })
	refused := 0
	for n := range 100 {
		j := r.joining(fmt.Sprint("g", n), "")
		j.Protocols[0].Metadata = make([]byte, 100<<10)
		if a := r.ask(j); a.response != nil {
			want(t, "a join beyond the limit", a.response.(*JoinResponse).Code, GroupMaxSizeReached)
			refused++
		}
	}
	if refused < 85 || len(r.m.groups) > 15 {
		t.Fatalf("%d refused, %d groups", refused, len(r.m.groups))
	}
}
