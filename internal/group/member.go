package group

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// phase is where a group is between two assignments.
type phase uint8

const (
	empty      phase = iota // no members
	preparing               // waits for the members' joins
	completing              // a new generation; waits for the leader's assignment
	stable                  // everyone has or can get its assignment
)

// String returns Kafka's name.
func (p phase) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}[p]
}

// group is what the leader knows of a group beside its committed offsets.
type group struct {
	name         string
	phase        phase
	generation   int32
	highest      int32 // generation that was handed out; above generation when a rebalance was cut off by a restart
	protocolType string
	protocol     string
	leader       string    // member id
	members      []*member // in the order of joining
	byID         map[string]*member
	byInstance   map[string]*member
	handedOut    map[string]time.Time // member ids that have not joined yet, and when they are given up

	// While preparing.
	joinEnds  time.Time // when those who have not joined are left behind
	initial   bool      // coming from empty: wait for joinEnds even when all have joined
	newcomers bool      // initial, and someone joined since joinEnds was set
	joinLast  time.Time // joinEnds goes no further

	// While completing.
	announced bool      // the generation is committed, the joins are answered
	assigning bool      // the assignment is on its way through the log
	syncEnds  time.Time // when those who have not synced are removed

	bytes  int       // of Machine.live, that are this group's
	flying int       // proposals by which this is ahead of the replicated state
	wake   time.Time // when to look at deadlines again; zero is never
	pos    int       // in timers, -1 if not there
}

// member is one member of a group.
type member struct {
	id         string
	instance   string // empty: dynamic
	clientID   string
	clientHost string
	session    time.Duration
	rebalance  time.Duration
	protocols  []Protocol
	assignment []byte

	join    any  // who waits for the end of the join phase, or nil
	sync    any  // who waits for the assignment, or nil
	canSkip bool // of join: it understands SkipAssignment
	isNew   bool // has not been in a generation yet
	owes    bool // was told of the generation and has not synced yet

	deadline time.Time // when the session ends; zero while it waits here
}

// memberBytes is about what a member takes beside what it says about itself.
const memberBytes = 256

// weight is about what the members take in memory.
func (g *group) weight() int {
	return g.size(nil) + memberBytes*(len(g.members)+len(g.handedOut))
}

// newMemberTimeout bounds how long a new member waits for its first
// generation; its client may be gone, and only time can tell.
const newMemberTimeout = 5 * time.Minute

func newGroup(name string) *group {
	return &group{
		name: strings.Clone(name), pos: -1,
		byID:       make(map[string]*member),
		byInstance: make(map[string]*member),
		handedOut:  make(map[string]time.Time),
	}
}

// restore makes the group as its last finished rebalance left it.
func (g *group) restore(now time.Time, s *stored) {
	o := &s.outcome
	g.phase, g.generation = stable, o.generation
	g.protocolType, g.protocol, g.leader = o.protocolType, o.protocol, o.leader
	for i := range o.members {
		om := &o.members[i]
		mem := &member{
			id: om.id, instance: om.instance, clientID: om.clientID, clientHost: om.clientHost,
			session:   time.Duration(om.session) * time.Millisecond,
			rebalance: time.Duration(om.rebalance) * time.Millisecond,
			protocols: om.protocols, assignment: om.assignment,
		}
		mem.touch(now)
		g.add(mem)
	}
}

// outcome is what is replicated when a rebalance is finished.
func (g *group) outcome(now time.Time) *outcome {
	o := &outcome{
		group: g.name, generation: g.generation,
		protocolType: g.protocolType, protocol: g.protocol, leader: g.leader,
		since: now.UnixMilli(),
	}
	for _, mem := range g.members {
		o.members = append(o.members, outcomeMember{
			id: mem.id, instance: mem.instance, clientID: mem.clientID, clientHost: mem.clientHost,
			session: mem.session.Milliseconds(), rebalance: mem.rebalance.Milliseconds(),
			protocols: mem.protocols, assignment: mem.assignment,
		})
	}
	return o
}

func (g *group) add(mem *member) {
	g.members = append(g.members, mem)
	g.index(mem)
}

func (g *group) index(mem *member) {
	g.byID[mem.id] = mem
	if mem.instance != "" {
		g.byInstance[mem.instance] = mem
	}
}

func (g *group) drop(mem *member) {
	g.members = slices.DeleteFunc(g.members, func(x *member) bool { return x == mem })
	delete(g.byID, mem.id)
	if mem.instance != "" {
		delete(g.byInstance, mem.instance)
	}
}

// find returns the member with that id, and its instance id if one is given.
func (g *group) find(id, instance string) (*member, Code) {
	if instance != "" {
		switch mem := g.byInstance[instance]; {
		case mem == nil:
			return nil, UnknownMemberID
		case mem.id != id:
			return nil, FencedInstanceID
		}
	}
	if mem := g.byID[id]; mem != nil {
		return mem, None
	}
	return nil, UnknownMemberID
}

// rebalanceTimeout is the longest of the members.
func (g *group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, mem := range g.members {
		d = max(d, mem.rebalance)
	}
	return d
}

// size is how many bytes the members say about themselves, all but one.
func (g *group) size(except *member) int {
	n := 0
	for _, mem := range g.members {
		if mem != except {
			n += len(mem.id) + len(mem.instance) + len(mem.clientID) + len(mem.clientHost) + sizeOf(mem.protocols)
		}
	}
	return n
}

// size is what the join adds to the size of its group.
func (r *JoinRequest) size() int {
	id := max(len(r.MemberID), len(r.NewMemberID))
	return id + len(r.InstanceID) + len(r.ClientID) + len(r.ClientHost) + len(r.ProtocolType) + sizeOf(r.Protocols)
}

func sizeOf(list []Protocol) int {
	n := 0
	for _, p := range list {
		n += len(p.Name) + len(p.Metadata)
	}
	return n
}

// supports reports whether some protocol of the list is supported by all
// members, except for one that is about to change its list.
func (g *group) supports(protocolType string, list []Protocol, except *member) bool {
	others := 0
	for _, mem := range g.members {
		if mem != except {
			others++
		}
	}
	if others == 0 {
		return true
	}
	return protocolType == g.protocolType && slices.ContainsFunc(list, func(p Protocol) bool {
		return g.allSupport(p.Name, except)
	})
}

func (g *group) allSupport(name string, except *member) bool {
	for _, mem := range g.members {
		if mem != except && !mem.supports(name) {
			return false
		}
	}
	return true
}

// choose returns the protocol that most members prefer among those that all of
// them support; of equals the one that was voted for first.
func (g *group) choose() string {
	var names []string
	votes := make(map[string]int)
	for _, mem := range g.members {
		for _, p := range mem.protocols {
			if g.allSupport(p.Name, nil) {
				if votes[p.Name]++; votes[p.Name] == 1 {
					names = append(names, p.Name)
				}
				break
			}
		}
	}
	best := ""
	for _, name := range names {
		if best == "" || votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// update takes over what a join tells about the member.
func (mem *member) update(r *JoinRequest) {
	// The strings and bytes of a request may belong to its connection.
	mem.clientID, mem.clientHost = strings.Clone(r.ClientID), strings.Clone(r.ClientHost)
	mem.session, mem.rebalance = r.SessionTimeout, r.RebalanceTimeout
	if mem.rebalance <= 0 {
		mem.rebalance = mem.session // JoinGroup v0 has none, and some clients send 0
	}
	mem.protocols = make([]Protocol, len(r.Protocols))
	for i, p := range r.Protocols {
		mem.protocols[i] = Protocol{strings.Clone(p.Name), bytes.Clone(p.Metadata)}
	}
}

func (mem *member) supports(name string) bool {
	return slices.ContainsFunc(mem.protocols, func(p Protocol) bool { return p.Name == name })
}

func (mem *member) hasProtocols(list []Protocol) bool {
	return slices.EqualFunc(mem.protocols, list, func(a, b Protocol) bool {
		return a.Name == b.Name && bytes.Equal(a.Metadata, b.Metadata)
	})
}

// metadata is what the member said about a protocol.
func (mem *member) metadata(name string) []byte {
	for _, p := range mem.protocols {
		if p.Name == name {
			return p.Metadata
		}
	}
	return nil
}

// touch begins the session anew.
func (mem *member) touch(now time.Time) {
	if mem.join == nil && mem.sync == nil {
		mem.deadline = now.Add(mem.session)
	}
}
