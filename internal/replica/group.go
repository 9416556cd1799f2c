package replica

import (
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

const (
	// entryLimit is the size in bytes up to which waiting commands are put
	// into one entry. One raft entry costs over 2 µs, so it must carry many
	// messages; much larger ones would only delay the first byte to a follower.
	entryLimit = 256 << 10
	// appendLimit bounds what one turn proposes, so that a group with a deep
	// backlog of publishes does not hold up the other groups of its shard.
	appendLimit = 4 << 20
	// largeEntry is what does not wait for the append before it: to let it grow would
	// save little, and what it takes to build and write it can be done while the disk
	// is busy with that append.
	largeEntry = 128 << 10
	// uncommittedLimit bounds what a leader has proposed and not applied: what
	// it would keep in memory when its followers are slow, or gone.
	uncommittedLimit = 16 << 20
	// maxInflight is how many messages with entries may be on their way to a follower. With
	// full entries that is as much as uncommittedLimit.
	maxInflight = uncommittedLimit / entryLimit
)

// Group is one raft group on this node.
type Group struct {
	id      record.LogID
	host    *Host
	shard   *shard
	log     *storage.Log
	machine Machine
	sharer  Sharer                // machine; nil when it is none
	hoarder Hoarder               // machine; nil when it is none
	leads   atomic.Bool           // has called Lead, and not Follow since
	view    atomic.Pointer[view]  // what other goroutines may know
	failure atomic.Pointer[error] // why it was taken out of service

	settled   chan struct{} // closed when a leader was known, or it has ended without
	isSettled bool          // owned by the shard

	// Owned by the shard's goroutine, as all below.
	node     *raft.RawNode
	raftLog  *raftLog
	applied  record.Index
	term     uint64 // term of the entry at applied
	conf     *raftpb.ConfState
	tickets  tickets
	inFlight int // appends with entries that the store has not finished
	writes   int // appends that the store has not finished
	touched  bool
	started  bool
	joined   bool // has been a member: its vote counts
	held     bool // in pace.held
	stopped  bool
	free     *write // a finished write to use again
	timer    time.Time
	timerPos int

	raftState                // as of the last Ready
	last        record.Index // of what was given to the store
	writtenTerm uint64       // of the hard state that was given to the store
	writtenVote uint64

	told struct{ leader, term uint64 } // what was announced last

	uncommitted int               // bytes proposed and not applied
	toApply     []*raftpb.Message // committed, and held back or not handed to the machine yet

	clock    clock
	reads    reads
	transfer transfer
	members  members
	copies   copies
	catchUp  catchUp
	fetch    *fetch // a snapshot that is being fetched
}

// raftState is what raft said last about itself.
type raftState struct {
	state    raft.StateType
	lead     uint64 // replica id, or 0
	raftTerm uint64
	vote     uint64
	commit   uint64
}

// view is an immutable copy of what a group's shard knows, for others.
type view struct {
	leader, term     uint64
	voters, learners []uint64
	inSync           []uint64
}

func newGroup(h *Host, id record.LogID, voters []uint64, m Machine) (*Group, error) {
	log := h.cfg.Store.Log(id)
	hard, checkpoint := log.State()
	sharer, _ := m.(Sharer)
	hoarder, _ := m.(Hoarder)
	g := &Group{
		id:      id,
		host:    h,
		shard:   h.shards[uint64(id)%uint64(len(h.shards))],
		log:     log,
		machine: m,
		sharer:  sharer,
		hoarder: hoarder,
		settled: make(chan struct{}),
		applied: log.FirstIndex() - 1,
		term:    1,
		conf:    &raftpb.ConfState{Voters: voters},
	}
	if checkpoint != nil {
		g.applied, g.term, g.conf = checkpoint.Applied, checkpoint.Term, checkpoint.ConfState
		if err := m.Restore(checkpoint.State); err != nil {
			return nil, fmt.Errorf("restore the machine at index %d: %w", checkpoint.Applied, err)
		}
	}
	if err := g.boot(hard); err != nil {
		return nil, err
	}
	g.members.told = g.conf
	g.publish()
	return g, nil
}

// boot makes the raft node from what the log holds, and the group's applied
// index and membership.
func (g *Group) boot(hard *raftpb.HardState) (err error) {
	defer func() { // raft panics about a log that contradicts itself, or is deleted just now
		if p := recover(); p != nil {
			err = panicError{"begin", p}
		}
	}()
	if err := validateConfState(g.conf); err != nil {
		return fmt.Errorf("%w: %w", storage.ErrDamaged, err)
	}
	if !g.alone() && g.host.cfg.Transport == nil {
		return fmt.Errorf("the raft group has the voters %v and the learners %v: this node must be part of a cluster",
			g.conf.GetVoters(), g.conf.GetLearners())
	}
	l, err := newRaftLog(g, hard)
	if err != nil {
		return err
	}
	if err := l.check(); err != nil {
		return err
	}
	g.raftLog, g.last = l, g.log.LastIndex()
	g.joined = g.joined || g.isMember(g.host.cfg.ReplicaID)
	g.writtenTerm, g.writtenVote = hard.GetTerm(), hard.GetVote()
	g.raftState = raftState{raftTerm: l.hard.GetTerm(), vote: l.hard.GetVote(), commit: l.hard.GetCommit()}
	g.node, err = raft.NewRawNode(&raft.Config{
		ID:                        g.host.cfg.ReplicaID,
		ElectionTick:              electionTicks,
		HeartbeatTick:             1,
		Storage:                   l,
		Applied:                   uint64(g.applied),
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             1 << 20,
		MaxCommittedSizePerReady:  4 << 20,
		MaxInflightMsgs:           maxInflight,
		MaxInflightBytes:          uncommittedLimit,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    raftLogger{g.host.cfg.Logger, g.id},
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
	})
	return err
}

// ID names the group and its log.
func (g *Group) ID() record.LogID { return g.id }

// Log is where the group's committed entries can be read.
func (g *Group) Log() *storage.Log { return g.log }

// Leads reports whether this replica leads the group and has applied all of
// the earlier terms.
func (g *Group) Leads() bool { return g.leads.Load() }

// Failure is why the group is held offline on this node, nil while it is not:
// something is wrong with its log, and this replica neither votes nor acknowledges.
func (g *Group) Failure() error {
	if err := g.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Start applies what the log holds and takes part in the group from now on. A
// group whose only voter is this replica elects itself at once.
func (g *Group) Start() { g.shard.post(item{group: g, kind: itemStart}) }

// Settled is closed once a leader of the group was known for the first time,
// or the group has ended without.
func (g *Group) Settled() <-chan struct{} { return g.settled }

func (g *Group) settle() {
	if !g.isSettled {
		g.isSettled = true
		close(g.settled)
	}
}

// Post hands an event to the machine's Handle, on the group's shard, in the
// order of the calls. It never blocks and may be called from any goroutine,
// the shard's own included. It returns false when the host is closed; an event
// posted after the group was removed is handed to Handle all the same, so that the
// machine, which was told so by Follow, can answer it.
func (g *Group) Post(event any) bool {
	return g.shard.post(item{group: g, kind: itemPost, event: event})
}

// do runs f on the group's shard; false when the host is closed.
func (g *Group) do(f func()) bool { return g.shard.post(item{group: g, kind: itemDo, event: f}) }

// ask runs f on the group's shard and waits for it.
func (g *Group) ask(f func()) bool {
	done := make(chan struct{})
	if !g.do(func() { f(); close(done) }) {
		return false
	}
	if g.host.cfg.Manual {
		g.host.Step(g.host.cfg.Now())
	}
	select {
	case <-done:
		return true
	case <-g.shard.stopped:
		return false
	}
}

// PostLazily is Post for an event that may wait some milliseconds longer when
// little is going on: what it has proposed then shares an entry with others.
func (g *Group) PostLazily(event any) bool {
	return g.shard.postLazily(item{group: g, kind: itemPost, event: event})
}

// Stir tells that an event which was posted lazily, and perhaps not handled yet,
// stands for more now.
func (g *Group) Stir() { g.shard.pace.stir(g.shard.now) }

// SetTimer asks for one call of Timer at or shortly after t; it replaces the
// previous request; the zero time cancels. Only from the group's shard.
func (g *Group) SetTimer(t time.Time) {
	if !g.stopped {
		g.shard.timers.set(g, t)
	}
}

// handle takes one item from the shard's inbox.
func (g *Group) handle(it *item) {
	switch it.kind {
	case itemPost:
		g.machine.Handle(it.event)
	case itemWritten:
		g.wrote(it.event.(*write))
	case itemStart:
		g.start()
	case itemMessage:
		g.receive(it.event.(*raftpb.Message))
	case itemStop:
		g.stop(it.event.(error))
		if it.event == ErrRemoved {
			// Not before: raft may still have had entries to read.
			g.host.cfg.Store.Delete(g.id)
		}
	case itemDo:
		it.event.(func())()
	case itemCheckpoint:
		it.event.(chan *storage.Checkpoint) <- g.checkpoint()
	}
}

// start applies what is known to be committed and takes part from now on.
func (g *Group) start() {
	if g.stopped || g.started {
		return
	}
	g.started = true
	g.drain() // a change of the membership that is not applied forbids to stand for election
	if g.stopped {
		return
	}
	if !g.alone() {
		g.wake()
		g.standAtStart()
	} else if err := g.node.Campaign(); err != nil {
		panic(fmt.Sprintf("replica: group %d cannot elect itself: %v", g.id, err))
	}
}

// advance proposes what waits and does all that raft is ready for.
func (g *Group) advance() {
	if g.stopped || !g.started || g.busyInstalling() {
		return
	}
	g.askReads()
	g.propose()
	g.drain()
	if !g.stopped {
		g.install()
	}
}

// drain does all that raft is ready for.
func (g *Group) drain() {
	for g.applyPending(); !g.stopped && g.readable() && g.node.HasReady(); {
		g.raftLog.reading = true
		rd := g.node.Ready()
		g.raftLog.reading = false
		if !g.readable() {
			return
		}
		g.process(&rd)
		g.propose()
	}
}

// readable halts the group when raft has met damage in its log.
func (g *Group) readable() bool {
	if err := g.raftLog.broken; err != nil {
		g.halt("cannot be read", err)
		return false
	}
	return true
}

// propose builds entries, unless an append is in flight: then what waits keeps
// growing until it is a large entry.
func (g *Group) propose() {
	if !g.leads.Load() || g.transfer.to != 0 || !g.ripe() || g.shard.pace.hold(g) {
		return
	}
	for size := 0; size < appendLimit && g.ripe(); {
		data := g.machine.Build(entryLimit)
		if data == nil {
			return
		}
		var spans []storage.Span
		if g.sharer != nil {
			spans = g.sharer.Shared()
		}
		if err := g.give(data, spans); err != nil {
			// Stepping down is seen in the Ready that follows; Follow then
			// answers for this entry too.
			g.host.cfg.Logger.Warn("proposal dropped", "group", g.id, "error", err)
			return
		}
		g.wake()
		size += len(data)
		g.uncommitted += len(data)
		g.shard.pace.proposed += len(data)
		g.host.metrics.proposed(len(data))
	}
}

// ripe reports whether an entry is to be built of what waits.
func (g *Group) ripe() bool {
	if g.uncommitted > uncommittedLimit {
		return false
	}
	return g.inFlight == 0 || g.hoarder != nil && g.hoarder.Waiting() >= largeEntry
}

// give has raft append an entry. Raft counts how many bytes it has sent to a follower
// that has not answered; a ticket is none. So an entry of unusual size, which
// maxInflight does not bound, is given itself where there are followers.
func (g *Group) give(data []byte, spans []storage.Span) error {
	if len(data) > 2*entryLimit && !g.alone() {
		return g.node.Propose(data)
	}
	return g.tickets.propose(g.node, data, spans)
}

// process does what one Ready asks for.
func (g *Group) process(rd *raft.Ready) {
	g.note(rd)
	g.tickets.redeem(rd)
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			g.write(m)
		case raft.LocalApplyThread:
			g.toApply = append(g.toApply, m)
		default:
			g.send(m)
		}
	}
	g.applyPending()
	for i := range rd.ReadStates {
		g.readAt(&rd.ReadStates[i])
	}
}

// halt takes the group out of service because something is wrong with its log:
// this replica neither votes for nor acknowledges anything more of it.
func (g *Group) halt(what string, err error) {
	g.host.cfg.Logger.Error("the log of a raft group "+what+"; the group is held offline here", "group", g.id, "error", err)
	g.failure.CompareAndSwap(nil, &err)
	g.stop(fmt.Errorf("%w: %w", ErrNotLeader, err))
}

// stop ends the group's part in raft; the machine still gets what is posted.
func (g *Group) stop(reason error) {
	if g.stopped {
		return
	}
	g.resign()
	g.shard.timers.set(g, time.Time{})
	g.sleep()
	g.stopped = true
	g.lead = 0
	g.follow(reason)
	g.endReads(reason)
	g.endFetch()
	g.announce()
	g.settle()
}

// step gives raft messages of this node.
func (g *Group) step(messages []*raftpb.Message) {
	for _, m := range messages {
		if err := g.node.Step(m); err != nil {
			panic(fmt.Sprintf("replica: group %d: own %s: %v", g.id, m.GetType(), err))
		}
	}
}
