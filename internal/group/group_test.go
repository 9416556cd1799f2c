package group

import (
	"testing"
	"time"
)

func TestMembersShareAGeneration(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 3)
	want(t, "generation", gen, 1)
	for _, id := range ids {
		want(t, "heartbeat", r.heartbeat("g", id, gen), None)
	}
	d := r.describe("g")
	want(t, "state", d.State, "Stable")
	want(t, "protocol", d.Protocol, "range")
	want(t, "members", len(d.Members), 3)
	want(t, "assignment", string(d.Members[1].Assignment), "for "+d.Members[1].ID)
}

func TestInitialDelayWaitsForNewcomers(t *testing.T) {
	r := newRig(t, nil)
	first := r.ask(r.joining("g", ""))
	r.advance(2 * time.Second)
	second := r.ask(r.joining("g", ""))
	r.advance(2 * time.Second) // 4 s: extended, because someone came
	if first.response != nil {
		t.Fatal("answered before the extended delay was over")
	}
	r.advance(2 * time.Second)
	want(t, "generation", first.response.(*JoinResponse).Generation, 1)
	want(t, "members told to the leader", len(first.response.(*JoinResponse).Members), 2)
	want(t, "members told to the other", len(second.response.(*JoinResponse).Members), 0)
}

func TestWithoutInitialDelayAJoinIsAnsweredOnceCommitted(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	j := r.ask(r.joining("g", ""))
	if j.response != nil {
		t.Fatal("answered before the generation was committed")
	}
	r.flush()
	want(t, "generation", j.response.(*JoinResponse).Generation, 1)
}

func TestMemberIDIsRequired(t *testing.T) {
	r := newRig(t, nil)
	q := r.joining("g", "")
	q.NeedsMemberID = true
	resp := r.do(q).(*JoinResponse)
	want(t, "code", resp.Code, MemberIDRequired)
	want(t, "member id", resp.MemberID, q.NewMemberID)

	j := r.ask(r.joining("g", resp.MemberID))
	r.advance(3 * time.Second)
	want(t, "code", j.response.(*JoinResponse).Code, None)
	want(t, "member id", j.response.(*JoinResponse).MemberID, q.NewMemberID)
}

func TestAMemberIDThatIsNotUsedIsForgotten(t *testing.T) {
	r := newRig(t, nil)
	q := r.joining("g", "")
	q.NeedsMemberID = true
	r.do(q)
	r.advance(11 * time.Second)
	want(t, "code", r.do(r.joining("g", q.NewMemberID)).(*JoinResponse).Code, UnknownMemberID)
	want(t, "groups in memory", len(r.m.groups), 0)
}

func TestRefusedJoins(t *testing.T) {
	r := newRig(t, func(c *Config) { c.MaxSize = 1 })
	r.gather("full", 1)
	for _, c := range []struct {
		name   string
		change func(*JoinRequest)
		code   Code
	}{
		{"no group id", func(q *JoinRequest) { q.Group = "" }, InvalidGroupID},
		{"bad group id", func(q *JoinRequest) { q.Group = "\xff" }, InvalidGroupID},
		{"short session", func(q *JoinRequest) { q.SessionTimeout = time.Second }, InvalidSessionTimeout},
		{"long session", func(q *JoinRequest) { q.SessionTimeout = time.Hour }, InvalidSessionTimeout},
		{"no protocol type", func(q *JoinRequest) { q.ProtocolType = "" }, InconsistentGroupProtocol},
		{"no protocols", func(q *JoinRequest) { q.Protocols = nil }, InconsistentGroupProtocol},
		{"unknown member", func(q *JoinRequest) { q.MemberID = "who" }, UnknownMemberID},
		{"other protocol type", func(q *JoinRequest) { q.Group, q.ProtocolType = "full", "connect" }, InconsistentGroupProtocol},
		{"other protocols", func(q *JoinRequest) { q.Group, q.Protocols = "full", []Protocol{{"x", nil}} }, InconsistentGroupProtocol},
		{"full", func(q *JoinRequest) { q.Group = "full" }, GroupMaxSizeReached},
	} {
		q := r.joining("g", "")
		c.change(q)
		want(t, c.name, r.do(q).(*JoinResponse).Code, c.code)
	}
}

func TestWhatMembersSayIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	join := func(member string, size int) *JoinResponse {
		q := r.joining("g", member)
		q.Protocols[0].Metadata = make([]byte, size)
		a := r.ask(q)
		r.flush()
		if a.response == nil {
			return nil
		}
		return a.response.(*JoinResponse)
	}
	want(t, "alone too large", join("", maxGroup).Code, GroupMaxSizeReached)
	id := join("", maxGroup/2).MemberID
	want(t, "together too large", join("", maxGroup/2).Code, GroupMaxSizeReached)
	want(t, "in its own place", join(id, maxGroup/2+1).Generation, 2)
	sync := &SyncRequest{Group: "g", MemberID: id, Generation: 2, Assignments: []Assignment{{id, make([]byte, maxGroup+1)}}}
	want(t, "assignment", r.do(sync).(*SyncResponse).Code, MessageTooLarge)
}

func TestProtocolIsChosenByVotes(t *testing.T) {
	r := newRig(t, nil)
	var joins []*ask
	for _, names := range [][]string{{"a", "b", "c"}, {"b", "c"}, {"b", "c", "x"}} {
		q := r.joining("g", "")
		q.Protocols = nil
		for _, n := range names {
			q.Protocols = append(q.Protocols, Protocol{n, []byte(n)})
		}
		joins = append(joins, r.ask(q))
	}
	r.advance(6 * time.Second)
	resp := joins[0].response.(*JoinResponse)
	want(t, "protocol", resp.Protocol, "b")
	want(t, "metadata", string(resp.Members[1].Metadata), "b")
}

func TestALeaveRebalancesTheOthers(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 2)
	resp := r.do(&LeaveRequest{"g", []LeaveMember{{ID: ids[0]}, {ID: "who"}}}).(*LeaveResponse)
	want(t, "leave", resp.Members[0], None)
	want(t, "leave of nobody", resp.Members[1], UnknownMemberID)
	want(t, "heartbeat", r.heartbeat("g", ids[1], gen), RebalanceInProgress)
	join := r.do(r.joining("g", ids[1])).(*JoinResponse)
	want(t, "generation", join.Generation, gen+1)
	want(t, "leader", join.Leader, ids[1])
	r.do(&LeaveRequest{"g", []LeaveMember{{ID: ids[1]}}})
	want(t, "state", r.describe("g").State, "Empty")
}

func TestASessionThatEndsRebalancesTheOthers(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 2)
	r.advance(6 * time.Second)
	want(t, "heartbeat", r.heartbeat("g", ids[1], gen), None)
	r.advance(6 * time.Second)
	want(t, "the one left", r.heartbeat("g", ids[1], gen), RebalanceInProgress)
	want(t, "the one lost", r.heartbeat("g", ids[0], gen), UnknownMemberID)
}

func TestTheOneWhoDoesNotJoinAgainIsLeftBehind(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 2)
	third := r.ask(r.joining("g", ""))
	again := r.ask(r.joining("g", ids[0]))
	for range 7 { // the silent one is alive, but busy
		r.advance(5 * time.Second)
		r.heartbeat("g", ids[1], gen)
	}
	want(t, "members", len(again.response.(*JoinResponse).Members), 2)
	want(t, "generation", third.response.(*JoinResponse).Generation, gen+1)
	want(t, "the one left behind", r.commit("g", ids[1], gen, 5), UnknownMemberID)
}

func TestTheOneWhoDoesNotSyncIsRemoved(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	q := r.joining("g", "")
	id := r.do(q).(*JoinResponse).MemberID
	for range 10 {
		r.advance(5 * time.Second)
		r.heartbeat("g", id, 1)
	}
	want(t, "heartbeat", r.heartbeat("g", id, 1), UnknownMemberID)
}

func TestUnchangedMembersKeepTheirGeneration(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 2)
	want(t, "follower", r.do(r.joining("g", ids[1])).(*JoinResponse).Generation, gen)
	want(t, "heartbeat", r.heartbeat("g", ids[0], gen), None)

	q := r.joining("g", ids[1])
	q.Protocols = []Protocol{{"range", []byte("more")}}
	r.ask(q)
	want(t, "after a change", r.heartbeat("g", ids[0], gen), RebalanceInProgress)
}

func TestALeaderThatJoinsAgainGetsANewGeneration(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 1)
	want(t, "generation", r.do(r.joining("g", ids[0])).(*JoinResponse).Generation, gen+1)
}

func TestRebalanceTimeoutZeroMeansTheSessionTimeout(t *testing.T) {
	r := newRig(t, nil)
	q := r.joining("g", "")
	q.RebalanceTimeout = 0
	j := r.ask(q)
	r.advance(3 * time.Second)
	resp := j.response.(*JoinResponse)
	want(t, "code", resp.Code, None)
	want(t, "heartbeat", r.heartbeat("g", resp.MemberID, resp.Generation), None)
	s := r.do(&SyncRequest{Group: "g", MemberID: resp.MemberID, Generation: resp.Generation}).(*SyncResponse)
	want(t, "sync", s.Code, None)
}

func TestSyncErrors(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 1)
	for _, c := range []struct {
		name string
		q    SyncRequest
		code Code
	}{
		{"unknown group", SyncRequest{Group: "x", MemberID: ids[0], Generation: gen}, UnknownMemberID},
		{"unknown member", SyncRequest{Group: "g", MemberID: "x", Generation: gen}, UnknownMemberID},
		{"old generation", SyncRequest{Group: "g", MemberID: ids[0], Generation: gen - 1}, IllegalGeneration},
		{"other type", SyncRequest{Group: "g", MemberID: ids[0], Generation: gen, ProtocolType: "x"}, InconsistentGroupProtocol},
		{"other protocol", SyncRequest{Group: "g", MemberID: ids[0], Generation: gen, Protocol: "x"}, InconsistentGroupProtocol},
		{"no group id", SyncRequest{}, InvalidGroupID},
	} {
		want(t, c.name, r.do(&c.q).(*SyncResponse).Code, c.code)
	}
	r.ask(r.joining("g", ""))
	want(t, "rebalancing", r.do(&SyncRequest{Group: "g", MemberID: ids[0], Generation: gen}).(*SyncResponse).Code, RebalanceInProgress)
}

func TestARebalanceInTheMiddleOfASync(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	id := r.do(r.joining("g", "")).(*JoinResponse).MemberID
	// The assignment is on its way through the log when someone joins.
	sync := r.ask(&SyncRequest{Group: "g", MemberID: id, Generation: 1, Assignments: []Assignment{{id, []byte("all")}}})
	r.build()
	second := r.ask(r.joining("g", ""))
	want(t, "sync", sync.response.(*SyncResponse).Code, RebalanceInProgress)
	r.flush()
	want(t, "state", r.describe("g").State, "PreparingRebalance")
	r.ask(r.joining("g", id))
	r.flush()
	want(t, "generation", second.response.(*JoinResponse).Generation, 2)
}

func TestAStaticMemberComesBackWithoutARebalance(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	static := func() *JoinRequest {
		q := r.joining("g", "")
		q.InstanceID, q.NeedsMemberID = "one", true
		return q
	}
	first := r.do(static()).(*JoinResponse)
	r.do(&SyncRequest{Group: "g", MemberID: first.MemberID, InstanceID: "one", Generation: 1, Assignments: []Assignment{{first.MemberID, []byte("all")}}})

	second := r.do(static()).(*JoinResponse)
	want(t, "code", second.Code, None)
	want(t, "generation", second.Generation, 1)
	want(t, "leader it is told", second.Leader, first.MemberID)
	sync := r.do(&SyncRequest{Group: "g", MemberID: second.MemberID, InstanceID: "one", Generation: 1}).(*SyncResponse)
	want(t, "assignment", string(sync.Assignment), "all")

	old := r.do(&HeartbeatRequest{Group: "g", MemberID: first.MemberID, InstanceID: "one", Generation: 1}).(*HeartbeatResponse)
	want(t, "heartbeat of its former self", old.Code, FencedInstanceID)
	commit := committing("g", first.MemberID, 1, 7)
	commit.InstanceID = "one"
	want(t, "commit of its former self", r.do(commit).(*CommitResponse).Code, FencedInstanceID)

	r.crash(0)
	again := r.do(&HeartbeatRequest{Group: "g", MemberID: second.MemberID, InstanceID: "one", Generation: 1}).(*HeartbeatResponse)
	want(t, "heartbeat after a restart", again.Code, None)

	q := static()
	q.CanSkipAssignment = true
	third := r.do(q).(*JoinResponse)
	want(t, "skip", third.SkipAssignment, true)
	want(t, "leader", third.Leader, third.MemberID)
	want(t, "members", len(third.Members), 1)

	leave := r.do(&LeaveRequest{"g", []LeaveMember{{InstanceID: "one"}}}).(*LeaveResponse)
	want(t, "leave by instance", leave.Members[0], None)
	want(t, "state", r.describe("g").State, "Empty")
}

func TestAnAbsentStaticMemberKeepsItsPlace(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	q := r.joining("g", "")
	q.InstanceID, q.RebalanceTimeout, q.SessionTimeout = "one", 10*time.Second, time.Minute
	static := r.do(q).(*JoinResponse)
	r.do(&SyncRequest{Group: "g", MemberID: static.MemberID, Generation: 1})

	other := r.joining("g", "")
	other.RebalanceTimeout, other.SessionTimeout = 10*time.Second, 30*time.Second
	j := r.ask(other)
	r.advance(11 * time.Second)
	resp := j.response.(*JoinResponse)
	want(t, "leader", resp.Leader, resp.MemberID)
	want(t, "members", len(resp.Members), 2)
	r.do(&SyncRequest{Group: "g", MemberID: resp.MemberID, Generation: 2})
	want(t, "its old generation", r.heartbeat("g", static.MemberID, 1), IllegalGeneration)
	want(t, "state", r.describe("g").State, "Stable")
}

func TestARestartIsNoRebalance(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 3)
	want(t, "commit", r.commit("g", ids[1], gen, 42), None)
	for i := range 3 {
		if i == 1 {
			r.snapshot()
		}
		r.advance(8 * time.Second) // nobody could send heartbeats
		r.crash(0)
		for _, id := range ids {
			want(t, "heartbeat", r.heartbeat("g", id, gen), None)
			want(t, "unchanged join", r.describe("g").State, "Stable")
		}
		want(t, "offset", r.committed("g"), 42)
	}
	r.ask(r.joining("g", ids[2]))
	want(t, "an unchanged follower after a restart", r.describe("g").State, "Stable")
}

func TestAGenerationIsNeverHandedOutTwice(t *testing.T) {
	r := newRig(t, func(c *Config) { c.InitialRebalanceDelay = 0 })
	for gen := int32(1); gen < 4; gen++ { // each time the restart comes before the sync
		resp := r.do(r.joining("g", "")).(*JoinResponse)
		want(t, "generation", resp.Generation, gen)
		r.crash(0)
		want(t, "heartbeat of an unfinished generation", r.heartbeat("g", resp.MemberID, gen), UnknownMemberID)
	}
}

func TestWhoeverWaitsIsToldWhenTheLeaderGoes(t *testing.T) {
	r := newRig(t, nil)
	join := r.ask(r.joining("g", ""))
	commit := r.ask(committing("h", "", -1, 1))
	r.build()
	behind := r.ask(committing("h", "", -1, 2))
	r.take(r.m.Follow())
	want(t, "join", join.response.(*JoinResponse).Code, NotCoordinator)
	want(t, "commit in flight", commit.response.(*CommitResponse).Code, NotCoordinator)
	want(t, "commit that waits", behind.response.(*CommitResponse).Code, NotCoordinator)
	want(t, "afterwards", r.do(&ListRequest{}).(*ListResponse).Code, NotCoordinator)
	want(t, "before it leads", Refuse(&ListRequest{}, New(DefaultConfig()).refusal).(*ListResponse).Code, LoadInProgress)
}

func TestANodeThatSleptEvictsNobody(t *testing.T) {
	r := newRig(t, nil)
	ids, gen := r.gather("g", 2)
	r.now = r.now.Add(time.Minute) // the process was stopped
	r.take(r.m.Tick(r.now))
	want(t, "heartbeat", r.heartbeat("g", ids[0], gen), None)
	r.advance(11 * time.Second)
	want(t, "the one that stayed silent", r.heartbeat("g", ids[1], gen), UnknownMemberID)
}
