package group

import (
	"fmt"
	"time"
)

// tester is a *testing.T or a *rapid.T.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// rig drives a machine as a node does: it keeps the time and the log, and the
// answers to what was asked.
type rig struct {
	t       tester
	m       *Machine
	now     time.Time
	log     [][]byte // committed entries since the snapshot
	flying  [][]byte // built, not committed yet
	base    []byte   // the snapshot that log starts from
	members int
}

// ask is one request and its answer.
type ask struct {
	request  Request
	response any // nil until it is answered
}

func newRig(t tester, change func(*Config)) *rig {
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	r := &rig{t: t, m: New(cfg), now: time.UnixMilli(1_700_000_000_000)}
	r.m.Lead(r.now)
	return r
}

func (r *rig) take(replies []Reply) {
	for _, reply := range replies {
		a := reply.To.(*ask)
		if a.response != nil {
			r.t.Fatalf("answered twice: %#v, first %#v, then %#v", a.request, a.response, reply.Response)
		}
		a.response = reply.Response
	}
}

// ask hands a request to the machine and commits nothing.
func (r *rig) ask(q Request) *ask {
	a := &ask{request: q}
	r.take(r.m.Step(r.now, a, q))
	return a
}

// build moves what waits into one entry in flight.
func (r *rig) build() bool {
	e := r.m.Build(1 << 18)
	if e == nil {
		return false
	}
	r.flying = append(r.flying, e)
	return true
}

// apply commits the oldest entry in flight.
func (r *rig) apply() bool {
	if len(r.flying) == 0 {
		return false
	}
	e := r.flying[0]
	r.flying = r.flying[1:]
	r.log = append(r.log, e)
	r.take(r.m.Apply(r.now, e))
	return true
}

// flush commits everything.
func (r *rig) flush() {
	for r.build() || r.apply() {
	}
}

// do asks, commits everything, and returns the answer, which must be there.
func (r *rig) do(q Request) any {
	r.t.Helper()
	a := r.ask(q)
	r.flush()
	if a.response == nil {
		r.t.Fatalf("no answer to %#v", q)
	}
	return a.response
}

// advance lets d pass, with a Tick whenever one is wanted.
func (r *rig) advance(d time.Duration) {
	end := r.now.Add(d)
	for {
		next := r.m.Next()
		if next.IsZero() || next.After(end) {
			break
		}
		if next.After(r.now) {
			r.now = next
		}
		r.take(r.m.Tick(r.now))
		r.flush()
	}
	r.now = end
}

// snapshot takes a snapshot and forgets the log before it.
func (r *rig) snapshot() {
	r.base, r.log = r.m.Snapshot(nil), nil
}

// crash stops the node and starts it again; of the entries in flight the first
// few turn out to be committed.
func (r *rig) crash(survive int) {
	r.t.Helper()
	r.take(r.m.Follow())
	r.log = append(r.log, r.flying[:survive]...)
	r.flying = nil
	for _, e := range r.log[len(r.log)-survive:] {
		r.take(r.m.Apply(r.now, e))
	}
	was := r.m.Snapshot(nil)
	m := New(r.m.cfg)
	if err := m.Restore(r.base); err != nil {
		r.t.Fatal(err)
	}
	for _, e := range r.log {
		r.take(m.Apply(r.now, e))
	}
	if is := m.Snapshot(nil); string(is) != string(was) {
		r.t.Fatalf("the restored state differs:\n%q\n%q", is, was)
	}
	r.m = m
	r.m.Lead(r.now)
}

// joining is a JoinRequest with usual values.
func (r *rig) joining(group, member string) *JoinRequest {
	r.members++
	return &JoinRequest{
		Group: group, MemberID: member, NewMemberID: fmt.Sprintf("m%d", r.members),
		ClientID: "client", ClientHost: "/127.0.0.1",
		SessionTimeout: 10 * time.Second, RebalanceTimeout: 30 * time.Second,
		ProtocolType: "consumer", Protocols: []Protocol{{"range", []byte("any")}},
	}
}

// gather makes a stable group of n members in one generation, and returns
// them, the leader first.
func (r *rig) gather(group string, n int) (ids []string, generation int32) {
	r.t.Helper()
	var joins []*ask
	for range n {
		joins = append(joins, r.ask(r.joining(group, "")))
	}
	r.advance(r.m.cfg.InitialRebalanceDelay * 2)
	var assignments []Assignment
	for i, j := range joins {
		resp := j.response.(*JoinResponse)
		if resp.Code != None {
			r.t.Fatalf("join %d: %v", i, resp.Code)
		}
		if resp.MemberID == resp.Leader {
			ids = append([]string{resp.MemberID}, ids...)
		} else {
			ids = append(ids, resp.MemberID)
		}
		generation = resp.Generation
		assignments = append(assignments, Assignment{resp.MemberID, []byte("for " + resp.MemberID)})
	}
	for i := len(ids) - 1; i >= 0; i-- { // the leader last
		a := r.ask(&SyncRequest{Group: group, Generation: generation, MemberID: ids[i], Assignments: assignments})
		r.flush()
		if i == 0 {
			if got := string(a.response.(*SyncResponse).Assignment); got != "for "+ids[0] {
				r.t.Fatalf("the leader's assignment is %q", got)
			}
		}
	}
	return ids, generation
}

func (r *rig) heartbeat(group, id string, generation int32) Code {
	r.t.Helper()
	return r.do(&HeartbeatRequest{Group: group, MemberID: id, Generation: generation}).(*HeartbeatResponse).Code
}

func (r *rig) commit(group, id string, generation int32, offset int64) Code {
	r.t.Helper()
	return codeOf(r.do(committing(group, id, generation, offset)).(*CommitResponse))
}

func committing(group, id string, generation int32, offset int64) *CommitRequest {
	return &CommitRequest{
		Group: group, MemberID: id, Generation: generation, Retention: -1,
		Offsets: []OffsetCommit{{TopicPartition: TopicPartition{"t", 0}, TopicID: [16]byte{1}, Offset: offset, LeaderEpoch: -1}},
	}
}

func codeOf(c *CommitResponse) Code {
	if c.Code == None {
		return c.Offsets[0]
	}
	return c.Code
}

// committed is the committed offset of partition 0 of topic t, -1 if there is
// none.
func (r *rig) committed(group string) int64 {
	r.t.Helper()
	f := r.do(&FetchRequest{Group: group, Partitions: []TopicPartition{{"t", 0}}}).(*FetchResponse)
	if f.Code != None {
		r.t.Fatalf("fetch: %v", f.Code)
	}
	if !f.Offsets[0].Found {
		return -1
	}
	return f.Offsets[0].Offset.Offset
}

func (r *rig) describe(group string) *DescribeResponse {
	return r.do(&DescribeRequest{group}).(*DescribeResponse)
}

func want[T comparable](t tester, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}
