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
)

// Group is one raft group on this node.
type Group struct {
	id      record.LogID
	host    *Host
	shard   *shard
	log     *storage.Log
	machine Machine
	leads   atomic.Bool // has called Lead, and not Follow since

	settled   chan struct{} // closed when it has led, or has ended without
	isSettled bool          // owned by the shard

	// Owned by the shard's goroutine.
	node     *raft.RawNode
	applied  record.Index
	term     uint64 // term of the entry at applied
	conf     *raftpb.ConfState
	inFlight int // appends with entries that the store has not finished
	touched  bool
	stopped  bool
	free     *write // a finished write to use again
	timer    time.Time
	timerPos int
}

// write is one append on its way through the store, with the messages that
// raft wants delivered after it.
type write struct {
	storage.Append
	group     *Group
	responses []*raftpb.Message
}

// AppendDone implements storage.Completion; the WAL goroutine calls it.
func (w *write) AppendDone(*storage.Append) {
	w.group.shard.post(item{group: w.group, kind: itemWritten, event: w})
}

func newGroup(h *Host, id record.LogID, voters []uint64, m Machine) (*Group, error) {
	log := h.cfg.Store.Log(id)
	hard, checkpoint := log.State()
	g := &Group{
		id:      id,
		host:    h,
		shard:   h.shards[uint64(id)%uint64(len(h.shards))],
		log:     log,
		machine: m,
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
	raftLog, err := newRaftLog(log, hard, g.applied, g.conf)
	if err != nil {
		return nil, err
	}
	if err := raftLog.check(); err != nil {
		return nil, err
	}
	g.node, err = raft.NewRawNode(&raft.Config{
		ID:                        h.cfg.ReplicaID,
		ElectionTick:              10,
		HeartbeatTick:             1,
		Storage:                   raftLog,
		Applied:                   uint64(g.applied),
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             1 << 20,
		MaxCommittedSizePerReady:  4 << 20,
		MaxInflightMsgs:           256,
		CheckQuorum:               true,
		PreVote:                   true,
		ReadOnlyOption:            raft.ReadOnlySafe,
		Logger:                    raftLogger{h.cfg.Logger, id},
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
	})
	if err != nil {
		return nil, err
	}
	return g, nil
}

// ID names the group and its log.
func (g *Group) ID() record.LogID { return g.id }

// Log is where the group's committed entries can be read.
func (g *Group) Log() *storage.Log { return g.log }

// Leads reports whether this replica leads the group and has applied all of
// the earlier terms.
func (g *Group) Leads() bool { return g.leads.Load() }

// Start applies what the log holds and takes part in the group from now on. A
// group whose only voter is this replica elects itself at once.
func (g *Group) Start() { g.shard.post(item{group: g, kind: itemStart}) }

// Settled is closed once the group has been led from here for the first time,
// or has ended without.
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
		g.written(it.event.(*write))
	case itemStart:
		if !g.stopped && len(g.conf.Voters) == 1 && g.conf.Voters[0] == g.host.cfg.ReplicaID {
			if err := g.node.Campaign(); err != nil {
				panic(fmt.Sprintf("replica: group %d cannot elect itself: %v", g.id, err))
			}
		}
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

func (g *Group) checkpoint() *storage.Checkpoint {
	if g.stopped {
		return nil
	}
	state, live := g.machine.Snapshot(nil)
	return &storage.Checkpoint{Applied: g.applied, Term: g.term, ConfState: g.conf, State: state, Live: live}
}

// advance proposes what waits and does all that raft is ready for.
func (g *Group) advance() {
	if g.stopped {
		return
	}
	g.propose()
	for g.node.HasReady() {
		g.process(g.node.Ready())
		g.propose()
	}
}

// propose builds entries, unless an append is in flight: then what waits keeps
// growing into a larger entry.
func (g *Group) propose() {
	if !g.leads.Load() || g.inFlight > 0 {
		return
	}
	for size := 0; size < appendLimit; {
		data := g.machine.Build(entryLimit)
		if data == nil {
			return
		}
		if err := g.node.Propose(data); err != nil {
			// Stepping down is seen in the Ready that follows; Follow then
			// answers for this entry too.
			g.host.cfg.Logger.Warn("proposal dropped", "group", g.id, "error", err)
			return
		}
		size += len(data)
		g.host.metrics.proposed(len(data))
	}
}

// process does what one Ready asks for.
func (g *Group) process(rd raft.Ready) {
	if rd.SoftState != nil && rd.RaftState != raft.StateLeader && g.leads.Load() {
		g.follow(ErrNotLeader)
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			g.write(m)
		case raft.LocalApplyThread:
			g.apply(m.GetEntries())
			g.step(m.GetResponses())
		default:
			panic(fmt.Sprintf("replica: group %d has a message for replica %d, but a group here has one voter", g.id, m.GetTo()))
		}
	}
}

// write hands a MsgStorageAppend to the store.
func (g *Group) write(m *raftpb.Message) {
	if len(m.GetEntries()) == 0 && len(m.GetResponses()) == 0 {
		// Only the commit index moved. Raft finds it again from the log, so
		// it is not worth a write: it goes to disk with the next entry.
		return
	}
	w := g.free
	if w == nil {
		w = &write{group: g}
		w.Done = w
		w.Log = g.log
	} else {
		g.free = nil
	}
	w.Entries, w.Sync, w.responses = m.GetEntries(), true, m.GetResponses()
	w.HardState = nil
	if m.Term != nil {
		w.HardState = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
	}
	if len(w.Entries) > 0 {
		g.inFlight++
	}
	g.host.cfg.Store.Append(&w.Append)
}

// written steps what raft wanted to hear after a write.
func (g *Group) written(w *write) {
	if len(w.Entries) > 0 {
		g.inFlight--
	}
	switch {
	case g.stopped:
	case w.Err != nil:
		g.halt(w.Err)
	default:
		g.step(w.responses)
	}
	w.Entries, w.HardState, w.Err, w.responses = nil, nil, nil, nil
	g.free = w
}

// halt takes the group out of service because its log refuses to be written:
// nothing more of it is acknowledged.
func (g *Group) halt(err error) {
	g.host.cfg.Logger.Error("the log of a raft group cannot be written; the group is held offline", "group", g.id, "error", err)
	g.stop(fmt.Errorf("%w: %w", ErrNotLeader, err))
}

// stop ends the group's part in raft; the machine still gets what is posted.
func (g *Group) stop(reason error) {
	if g.stopped {
		return
	}
	g.shard.timers.set(g, time.Time{})
	g.stopped = true
	g.follow(reason)
}

func (g *Group) step(messages []*raftpb.Message) {
	for _, m := range messages {
		if err := g.node.Step(m); err != nil {
			panic(fmt.Sprintf("replica: group %d: own %s: %v", g.id, m.GetType(), err))
		}
	}
}

// apply hands committed entries to the machine.
func (g *Group) apply(entries []*raftpb.Entry) {
	for _, e := range entries {
		if record.Index(e.GetIndex()) != g.applied+1 {
			panic(fmt.Sprintf("replica: group %d applies index %d after %d", g.id, e.GetIndex(), g.applied))
		}
		g.applied, g.term = record.Index(e.GetIndex()), e.GetTerm()
		switch {
		case e.GetType() != raftpb.EntryNormal:
			panic(fmt.Sprintf("replica: group %d: entry %d changes the membership, which nobody proposed", g.id, e.GetIndex()))
		case len(e.GetData()) > 0:
			g.machine.Apply(Entry{Index: g.applied, Term: g.term, Data: e.GetData()})
		default:
			g.termBegan(e.GetTerm())
		}
	}
}

// termBegan: the empty entry with which a leader begins its term was applied,
// and with it all of the earlier terms.
func (g *Group) termBegan(term uint64) {
	st := g.node.BasicStatus()
	if st.RaftState != raft.StateLeader || st.HardState.GetTerm() != term || g.leads.Load() {
		return
	}
	g.machine.Lead(term)
	g.leads.Store(true)
	g.host.count(1)
	g.settle()
}

func (g *Group) follow(reason error) {
	if g.leads.Swap(false) {
		g.host.count(-1)
	}
	g.machine.Follow(reason)
	if g.stopped {
		g.settle()
	}
}
