package group

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// world is a few clients of one group and what was promised to them. Clients
// behave as the protocol says, except that any of them may fall silent, repeat
// itself, or commit what it should not.
type world struct {
	*rig
	clients []*client
	next    int64 // the next offset that someone commits: each is used once

	newest   int32                     // highest generation that any answer named
	leaders  map[int32]string          // who leads a generation
	assigned map[int32]map[string]bool // the assignments that a generation's leader sent, "member=data"
	waiting  []*ask                    // joins and syncs
	commits  []*ask                    // not answered yet
	answered int64                     // the highest offset whose commit was answered
	asked    map[int64]bool            // offsets that were ever sent
}

// client is one group member.
type client struct {
	name       string
	static     bool
	id         string
	generation int32
	synced     bool // has its assignment of generation
	join, sync *ask
	members    []JoinMember // if it leads
}

const theGroup = "g"

func newWorld(t *rapid.T) *world {
	w := &world{
		rig: newRig(t, func(c *Config) {
			c.InitialRebalanceDelay = time.Duration(rapid.IntRange(0, 3).Draw(t, "initial delay")) * time.Second
		}),
		leaders:  make(map[int32]string),
		assigned: make(map[int32]map[string]bool),
		asked:    make(map[int64]bool),
		next:     1,
	}
	for i := range rapid.IntRange(1, 4).Draw(t, "clients") {
		w.clients = append(w.clients, &client{name: fmt.Sprint("c", i), static: i == 1})
	}
	return w
}

func (w *world) client(t *rapid.T) *client { return rapid.SampledFrom(w.clients).Draw(t, "client") }

func (c *client) instance() string {
	if c.static {
		return c.name
	}
	return ""
}

// Join sends a join, or lets the client start anew.
func (w *world) Join(t *rapid.T) {
	c := w.client(t)
	if c.join != nil && c.join.response == nil && rapid.Bool().Draw(t, "patient") {
		return
	}
	if rapid.IntRange(0, 5).Draw(t, "restarts") == 0 {
		*c = client{name: c.name, static: c.static}
	}
	q := w.joining(theGroup, c.id)
	q.ClientID, q.InstanceID, q.NeedsMemberID = c.name, c.instance(), rapid.Bool().Draw(t, "v4")
	q.Protocols[0].Metadata = []byte{byte(rapid.IntRange(0, 1).Draw(t, "metadata"))}
	c.join, c.sync, c.synced = w.ask(q), nil, false
	w.waiting = append(w.waiting, c.join)
}

// Sync sends the sync of a client that was told its generation.
func (w *world) Sync(t *rapid.T) {
	c := w.client(t)
	if c.id == "" || c.generation == 0 {
		return
	}
	q := &SyncRequest{Group: theGroup, MemberID: c.id, InstanceID: c.instance(), Generation: c.generation}
	for _, m := range c.members {
		data := fmt.Sprintf("%s for %s in %d, %d", c.id, m.ID, c.generation, w.next)
		w.next++
		q.Assignments = append(q.Assignments, Assignment{m.ID, []byte(data)})
		if w.assigned[c.generation] == nil {
			w.assigned[c.generation] = make(map[string]bool)
		}
		w.assigned[c.generation][m.ID+"="+data] = true
	}
	c.sync = w.ask(q)
	w.waiting = append(w.waiting, c.sync)
}

// Heartbeat must not fail for a member of the newest generation that has its assignment, unless
// someone has begun another rebalance.
func (w *world) Heartbeat(t *rapid.T) {
	c := w.client(t)
	if c.id == "" {
		return
	}
	a := w.ask(&HeartbeatRequest{theGroup, c.generation, c.id, c.instance()})
	if a.response == nil {
		t.Fatal("a heartbeat waits")
	}
	switch a.response.(*HeartbeatResponse).Code {
	case UnknownMemberID, FencedInstanceID:
		*c = client{name: c.name, static: c.static}
	case None:
		if c.generation < w.newest && w.describe().State == "Stable" && w.m.groups[theGroup].generation != c.generation {
			t.Fatalf("generation %d is told to be well, the newest is %d", c.generation, w.newest)
		}
	}
}

func (w *world) describe() *DescribeResponse { return w.m.description(theGroup) }

func (w *world) Leave(t *rapid.T) {
	c := w.client(t)
	w.ask(&LeaveRequest{theGroup, []LeaveMember{{c.id, c.instance()}}})
	*c = client{name: c.name, static: c.static}
}

// Commit sends a commit of the client, or one that makes it a zombie's.
func (w *world) Commit(t *rapid.T) {
	c := w.client(t)
	q := committing(theGroup, c.id, c.generation, w.next)
	q.InstanceID = c.instance()
	zombie := rapid.IntRange(0, 3).Draw(t, "zombie") == 0
	if zombie {
		q.Generation -= int32(rapid.IntRange(1, 3).Draw(t, "behind"))
	}
	w.asked[w.next] = true
	w.next++
	a := w.ask(q)
	w.commits = append(w.commits, a)
	if a.response == nil {
		if g := w.m.groups[theGroup]; q.Generation >= 0 && (g == nil || g.generation != q.Generation || g.byID[c.id] == nil) {
			t.Fatalf("accepted a commit of generation %d", q.Generation)
		}
	}
}

// Fetch reads nothing older than what was answered, and nothing that was never
// sent.
func (w *world) Fetch(t *rapid.T) {
	a := w.ask(&FetchRequest{Group: theGroup, Partitions: []TopicPartition{{"t", 0}}})
	o := a.response.(*FetchResponse).Offsets[0]
	switch {
	case !o.Found && w.answered > 0:
		t.Fatalf("offset %d was answered and is gone", w.answered)
	case o.Found && !w.asked[o.Offset.Offset]:
		t.Fatalf("offset %d was never committed", o.Offset.Offset)
	case o.Found && o.Offset.Offset < w.answered:
		t.Fatalf("offset %d is older than the answered %d", o.Offset.Offset, w.answered)
	}
}

func (w *world) Build(*rapid.T) { w.build() }
func (w *world) Apply(*rapid.T) { w.apply() }

func (w *world) Pass(t *rapid.T) {
	w.advance(time.Duration(rapid.IntRange(1, 8000).Draw(t, "ms")) * time.Millisecond)
}

func (w *world) Snapshot(*rapid.T) { w.snapshot() }

// Crash loses some of what is in flight. Members of a stable group do not
// notice.
func (w *world) Crash(t *rapid.T) {
	was := w.describe()
	settled := was.State == "Stable" && len(w.flying) == 0 && !w.m.Pending()
	w.crash(rapid.IntRange(0, len(w.flying)).Draw(t, "survive"))
	if is := w.describe(); settled && fmt.Sprint(is) != fmt.Sprint(was) {
		t.Fatalf("after a restart the group is %v, before it was %v", is, was)
	}
}

// Check looks at the answers that have come.
func (w *world) Check(t *rapid.T) {
	for _, c := range w.clients {
		if c.join != nil && c.join.response != nil {
			w.joined(t, c, c.join.response.(*JoinResponse))
			c.join = nil
		}
		if c.sync != nil && c.sync.response != nil {
			w.synced(t, c, c.sync.request.(*SyncRequest), c.sync.response.(*SyncResponse))
			c.sync = nil
		}
	}
	rest := w.commits[:0]
	for _, a := range w.commits {
		if a.response == nil {
			rest = append(rest, a)
		} else if codeOf(a.response.(*CommitResponse)) == None {
			w.answered = max(w.answered, a.request.(*CommitRequest).Offsets[0].Offset)
		}
	}
	w.commits = rest
	w.invariants(t)
}

func (w *world) joined(t *rapid.T, c *client, r *JoinResponse) {
	switch r.Code {
	case MemberIDRequired:
		c.id = r.MemberID
		return
	case UnknownMemberID, FencedInstanceID:
		*c = client{name: c.name, static: c.static}
		return
	case None:
	default:
		return
	}
	c.id, c.generation, c.members = r.MemberID, r.Generation, r.Members
	if r.SkipAssignment {
		c.members = nil
	}
	w.newest = max(w.newest, r.Generation)
	if r.Generation < c.generation {
		t.Fatalf("the generation went back from %d to %d", c.generation, r.Generation)
	}
	if len(r.Members) > 0 {
		if was := w.leaders[r.Generation]; was != "" && was != r.MemberID && !c.static {
			t.Fatalf("generation %d is led by %s and by %s", r.Generation, was, r.MemberID)
		}
		w.leaders[r.Generation] = r.MemberID
	}
}

func (w *world) synced(t *rapid.T, c *client, q *SyncRequest, r *SyncResponse) {
	if r.Code != None {
		return
	}
	if c.generation == q.Generation {
		c.synced = true
	}
	if len(r.Assignment) > 0 && !c.static && !w.assigned[q.Generation][q.MemberID+"="+string(r.Assignment)] {
		t.Fatalf("%s got %q in generation %d, which its leader did not send", q.MemberID, r.Assignment, q.Generation)
	}
}

// invariants must hold at any time.
func (w *world) invariants(t *rapid.T) {
	m := w.m
	if len(m.timers) != len(m.groups) {
		t.Fatalf("%d timers for %d groups", len(m.timers), len(m.groups))
	}
	flying := 0
	for _, list := range [][]proposal{m.flying, m.waiting} {
		for _, p := range list {
			if p.live != nil {
				flying++
			}
		}
	}
	for _, g := range m.timers {
		flying -= g.flying
		if len(g.byID) != len(g.members) {
			t.Fatalf("%d ids of %d members", len(g.byID), len(g.members))
		}
		if (g.phase == empty) != (len(g.members) == 0) {
			t.Fatalf("%v with %d members", g.phase, len(g.members))
		}
		for _, mem := range g.members {
			waits := mem.join != nil || mem.sync != nil
			if !waits && mem.deadline.IsZero() {
				t.Fatalf("%s neither waits nor has a deadline", mem.id)
			}
			if mem.join != nil && (g.phase == stable || g.phase == completing && g.announced) && g.flying == 0 {
				t.Fatalf("%s waits for a join phase that is over", mem.id)
			}
			if mem.sync != nil && g.phase != completing {
				t.Fatalf("%s waits for a sync in %v", mem.id, g.phase)
			}
		}
	}
	if flying != 0 {
		t.Fatalf("%d proposals of no group", flying)
	}
	live := 0
	for _, g := range m.timers {
		live += g.weight()
	}
	anew := New(m.cfg)
	if err := anew.Restore(m.Snapshot(nil)); err != nil {
		t.Fatal(err)
	}
	if m.live != live || m.state.bytes != anew.state.bytes {
		t.Fatalf("counted %d bytes of members and %d of the state, there are %d and %d", m.live, m.state.bytes, live, anew.state.bytes)
	}
}

func TestGroupKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		t.Repeat(map[string]func(*rapid.T){
			"":          w.Check,
			"join":      w.Join,
			"join2":     w.Join,
			"sync":      w.Sync,
			"sync2":     w.Sync,
			"heartbeat": w.Heartbeat,
			"leave":     w.Leave,
			"commit":    w.Commit,
			"fetch":     w.Fetch,
			"build":     w.Build,
			"build2":    w.Build,
			"apply":     w.Apply,
			"apply2":    w.Apply,
			"pass":      w.Pass,
			"snapshot":  w.Snapshot,
			"crash":     w.Crash,
		})
		w.converge(t)
	})
}

// converge lets every client behave: the group must become stable with all of
// them, and everyone must be answered.
func (w *world) converge(t *rapid.T) {
	for range 200 {
		w.flush()
		w.Check(t)
		well := true
		for _, c := range w.clients {
			well = w.behave(c) && well
		}
		if well {
			break
		}
		w.advance(2 * time.Second)
	}
	w.Check(t)
	d := w.describe()
	if d.State != "Stable" || len(d.Members) < len(w.clients) {
		t.Fatalf("the group does not converge: %+v", d)
	}
	w.Fetch(t)
	for _, a := range w.waiting {
		if a.response == nil {
			t.Fatalf("never answered: %+v", a.request)
		}
	}
	if len(w.commits) > 0 {
		t.Fatalf("%d commits were never answered", len(w.commits))
	}
}

// behave does what a client does next, and reports whether it is well.
func (w *world) behave(c *client) bool {
	switch {
	case c.join != nil || c.sync != nil:
		return false
	case c.generation != 0 && c.id != "":
		switch w.heartbeat(theGroup, c.id, c.generation) {
		case None:
			if c.synced {
				return true
			}
			q := &SyncRequest{Group: theGroup, MemberID: c.id, InstanceID: c.instance(), Generation: c.generation}
			for _, m := range c.members {
				data := "at last"
				q.Assignments = append(q.Assignments, Assignment{m.ID, []byte(data)})
				if w.assigned[c.generation] == nil {
					w.assigned[c.generation] = make(map[string]bool)
				}
				w.assigned[c.generation][m.ID+"="+data] = true
			}
			c.sync = w.ask(q)
			return false
		case RebalanceInProgress, IllegalGeneration:
		default:
			c.id = ""
		}
	}
	q := w.joining(theGroup, c.id)
	q.InstanceID = c.instance()
	c.join, c.synced, c.generation = w.ask(q), false, 0
	return false
}
