package group

import (
	"fmt"
	"slices"
	"time"

	"waybill/internal/record"
)

// Reply is an answer to a request. To is what came with the request.
type Reply struct {
	To       any
	Response any // the pointer type named at the request's type
}

// Machine holds the groups of one coordinator log. The replies that a method
// returns are valid until the next call.
type Machine struct {
	cfg   Config
	state *state

	// Of the leader alone.
	leading bool
	refusal Code              // what requests get while not leading
	groups  map[string]*group // those with members, handed-out ids, or commands in flight
	live    int               // about what their members take in memory, in bytes
	timers  timers
	entered time.Time  // the last call
	sweepAt time.Time  // when to look for expired offsets
	waiting []proposal // not built yet
	flying  []proposal // built and not applied yet
	replies []Reply

	rebalances, evicted uint64 // for Survey
}

// proposal is a command on its way through the log.
type proposal struct {
	name string          // of the group
	data []byte          // the command
	live *group          // whose live state is ahead of the replicated one by this, or nil
	to   any             // who is refused when the outcome gets lost, or nil
	from Request         // of to
	done func(time.Time) // called when it is applied, or nil
}

// New returns a machine without groups. It does not lead.
func New(cfg Config) *Machine {
	return &Machine{cfg: cfg, state: newState(), refusal: LoadInProgress}
}

// Restore replaces the state by a snapshot.
func (m *Machine) Restore(snapshot []byte) error {
	s := newState()
	if err := decodeCommands(snapshot, func(c command) { c.apply(s) }); err != nil {
		return fmt.Errorf("snapshot of consumer groups: %w", err)
	}
	m.state = s
	return nil
}

// Snapshot appends the state to b.
func (m *Machine) Snapshot(b []byte) []byte { return m.state.snapshot(b) }

// Lead makes the machine answer requests; everything that was ever committed
// is applied. Sessions begin now: members had nobody to send heartbeats to.
func (m *Machine) Lead(now time.Time) {
	m.leading, m.entered = true, now
	m.groups, m.live = make(map[string]*group), 0
	m.sweepAt = now.Add(sweepEvery)
	for _, name := range m.state.names() {
		if s := m.state.groups[name]; len(s.outcome.members) > 0 {
			g := m.open(name)
			g.restore(now, s)
			m.settle(now, g)
		}
	}
}

// Follow makes the machine refuse requests, those included that wait.
func (m *Machine) Follow() []Reply {
	m.replies = m.replies[:0]
	for _, list := range [][]proposal{m.flying, m.waiting} {
		for _, p := range list {
			if p.to != nil {
				m.reply(p.to, p.from.refuse(NotCoordinator))
			}
		}
	}
	for _, g := range m.timers { // the order among groups does not matter
		for _, mem := range g.members {
			m.dismiss(mem, NotCoordinator, NotCoordinator)
		}
	}
	m.leading, m.refusal = false, NotCoordinator
	m.groups, m.timers, m.waiting, m.flying = nil, nil, nil, nil
	m.live = 0
	m.sweepAt = time.Time{}
	return m.replies
}

// Step takes a request; its reply comes with to, now or later.
func (m *Machine) Step(now time.Time, to any, r Request) []Reply {
	m.enter(now)
	if !m.leading {
		m.reply(to, r.refuse(m.refusal))
		return m.replies
	}
	switch r := r.(type) {
	case *JoinRequest:
		m.join(now, to, r)
	case *SyncRequest:
		m.sync(now, to, r)
	case *HeartbeatRequest:
		m.heartbeat(now, to, r)
	case *LeaveRequest:
		m.leave(now, to, r)
	case *CommitRequest:
		m.commit(now, to, r)
	case *FetchRequest:
		m.fetch(to, r)
	case *DescribeRequest:
		m.describe(to, r)
	case *ListRequest:
		m.list(to)
	case *SurveyRequest:
		m.survey(to)
	case *DeleteRequest:
		m.delete(to, r)
	case *OffsetDeleteRequest:
		m.deleteOffsets(to, r)
	default:
		panic(fmt.Sprintf("group: request %T", r))
	}
	return m.replies
}

// isFull reports whether the groups take as much memory as they may: no members
// and no offsets are added then. What there is can be changed.
func (m *Machine) isFull() bool {
	return m.cfg.MaxBytes > 0 && m.state.bytes+m.live >= m.cfg.MaxBytes
}

// Pending reports whether Build has something.
func (m *Machine) Pending() bool { return len(m.waiting) > 0 }

// Build returns the data of the next entry, of about limit bytes and at least
// one command; nil when nothing waits.
func (m *Machine) Build(limit int) []byte {
	if len(m.waiting) == 0 {
		return nil
	}
	size, n := record.HeaderLen, 0
	for n < len(m.waiting) && (n == 0 || size+len(m.waiting[n].data) <= limit) {
		size += len(m.waiting[n].data)
		n++
	}
	b := record.Header{}.Append(make([]byte, 0, size))
	for _, p := range m.waiting[:n] {
		b = append(b, p.data...)
	}
	m.flying = append(m.flying, m.waiting[:n]...)
	m.waiting = slices.Delete(m.waiting, 0, n)
	return b
}

// Apply takes the data of a committed entry. On the leader it is the oldest
// that was built and not applied yet. Data that is no entry of this machine is
// a broken invariant: it panics.
func (m *Machine) Apply(now time.Time, data []byte) []Reply {
	m.enter(now)
	_, payload, err := record.ParseHeader(data)
	if err == nil {
		err = decodeCommands(payload, func(c command) {
			c.apply(m.state)
			if m.leading {
				m.applied(now)
			}
		})
	}
	if err != nil {
		panic(fmt.Sprintf("group: entry of %d bytes: %v", len(data), err))
	}
	return m.replies
}

// applied ends the oldest proposal.
func (m *Machine) applied(now time.Time) {
	p := m.flying[0]
	m.flying[0] = proposal{}
	m.flying = m.flying[1:]
	if p.live != nil {
		p.live.flying--
	}
	if p.done != nil {
		p.done(now)
	}
	if p.live != nil {
		m.settle(now, p.live)
	}
}

// propose queues a command that puts the replicated state level with g.
func (m *Machine) propose(g *group, c command, done func(time.Time)) {
	g.flying++
	m.queue(proposal{name: g.name, live: g, done: done}, c)
}

// queue adds a proposal of the command to what waits for Build.
func (m *Machine) queue(p proposal, c command) {
	p.data = appendCommand(nil, c)
	m.waiting = append(m.waiting, p)
}

func (m *Machine) reply(to, response any) {
	m.replies = append(m.replies, Reply{to, response})
}
