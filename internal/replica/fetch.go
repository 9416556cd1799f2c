package replica

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// A follower that is so far behind that its leader has dropped entries it
// lacks fetches a snapshot: the state of the machine and the live entries that it does
// not have, in pieces, from the node of the leader that offered it (serve.go). They
// are staged beside its log; when all is durable the log is switched, and the
// replica begins anew from it as after a restart. Until then it takes part with its old log.

const (
	fetchTimeout = 10 * time.Second
	fetchTries   = 3
	// fetchesAtOnce is how many groups of a node catch up at once; only one from each
	// node, so that it has the time to serve others.
	fetchesAtOnce = 2
)

// fetch is a snapshot on its way into a group. The job's goroutine has it
// until it is handed to the shard.
type fetch struct {
	group *Group
	from  uint64
	min   record.Index // the leader has offered this one: it was applied there
	keep  record.Index // what is at or below it is not fetched
	stop  context.CancelFunc

	session    uint64
	stage      *storage.Stage
	checkpoint *storage.Checkpoint
	size       int // of the state

	ready      bool // sealed; owned by the shard, as is the next
	installing bool // the switch is on its way to the disk: raft must not be asked anything
}

func (g *Group) busyInstalling() bool { return g.fetch != nil && g.fetch.installing }

// offered takes a leader's MsgSnap, which says only that a snapshot is needed.
// Raft itself does not see it, but a heartbeat.
func (g *Group) offered(m *raftpb.Message) {
	if m.GetTerm() < g.raftTerm {
		return
	}
	g.wake()
	meta := m.GetSnapshot().GetMetadata()
	if meta.GetIndex() <= g.commit {
		g.stepPeer(m) // which answers that it has it
		return
	}
	if term, err := g.log.Term(record.Index(meta.GetIndex())); err == nil && term == meta.GetTerm() {
		g.commitTo(m, meta)
		return
	}
	g.stepPeer(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: m.From, To: m.To, Term: m.Term})
	if g.fetch != nil || g.stopped {
		return
	}
	ctx, stop := context.WithCancel(g.host.ctx)
	f := &fetch{group: g, from: m.GetFrom(), min: record.Index(meta.GetIndex()), keep: g.applied, stop: stop}
	g.fetch = f
	g.host.cfg.Logger.Info("a raft group catches up by a snapshot", "group", g.id, "from", f.from, "index", f.min, "have", f.keep)
	g.host.spawn(func() { f.run(ctx) })
}

// commitTo takes an offer of what this replica has and only does not know to be
// committed: its leader was heard, and did not hear it. A snapshot ends at an entry that is committed,
// so the offer says the same as an append that follows this entry and brings none.
func (g *Group) commitTo(offer *raftpb.Message, at *raftpb.SnapshotMetadata) {
	g.stepPeer(&raftpb.Message{Type: raftpb.MsgApp.Enum(), From: offer.From, To: offer.To, Term: offer.Term,
		Index: at.Index, LogTerm: at.Term, Commit: at.Index})
}

// run fetches and stages all, off the shard.
func (f *fetch) run(ctx context.Context) {
	defer f.stop()
	err := f.group.host.fetches.enter(ctx, f.from)
	if err == nil {
		err = f.fetch(ctx)
		f.group.host.fetches.leave(f.from)
	}
	if !f.group.do(func() { f.group.fetched(f, err) }) {
		f.abort()
	}
}

func (f *fetch) abort() {
	if f.stage != nil {
		f.stage.Abort()
		f.stage = nil
	}
}

func (f *fetch) fetch(ctx context.Context) error {
	f.stage = f.group.host.cfg.Store.Stage(f.group.id)
	if err := f.begin(ctx); err != nil {
		return err
	}
	c := f.checkpoint
	for len(c.State) < f.size {
		r, err := f.ask(ctx, opState, uint64(len(c.State)))
		if err != nil {
			return err
		}
		piece := r.bytes()
		if r.err != nil || len(piece) == 0 || len(piece) > f.size-len(c.State) {
			return fmt.Errorf("%w: a piece of %d bytes of the state", ErrFrame, len(piece))
		}
		c.State = append(c.State, piece...)
	}
	for after := f.keep; after < c.Applied; {
		r, err := f.ask(ctx, opEntries, uint64(after))
		if err != nil {
			return err
		}
		next := record.Index(r.uvarint())
		entries := r.entries()
		if r.err != nil || next <= after {
			return fmt.Errorf("%w: entries after %d, up to %d", ErrFrame, after, next)
		}
		if err := validateStaged(entries, after, c.Applied); err != nil {
			return err
		}
		if len(entries) > 0 {
			if err := f.stage.Append(entries); err != nil {
				return err
			}
		}
		after = next
	}
	return f.stage.Seal(*c, f.keep)
}

// validateStaged: entries of a snapshot have gaps, but an order.
func validateStaged(entries []*raftpb.Entry, after, through record.Index) error {
	for _, e := range entries {
		i := record.Index(e.GetIndex())
		_, _, err := record.ParseHeader(e.GetData())
		if i <= after || i > through || e.GetType() != raftpb.EntryNormal || err != nil {
			return fmt.Errorf("%w: entry %d in a snapshot of (%d, %d]", ErrFrame, i, after, through)
		}
		after = i
	}
	return nil
}

func (f *fetch) begin(ctx context.Context) error {
	r, err := f.ask(ctx, opBegin, uint64(f.min), uint64(f.keep))
	if err != nil {
		return err
	}
	f.session = r.uvarint()
	c := &storage.Checkpoint{Applied: record.Index(r.uvarint()), Term: r.uvarint()}
	c.ConfState = r.confState()
	// Which of our own entries are needed only the machine can tell, from the
	// next checkpoint on: until then all are.
	c.Live = func(record.Offset, record.Offset) bool { return true }
	f.size = int(r.uvarint())
	f.checkpoint = c
	if r.err != nil || c.Applied < f.min || c.Term == 0 || f.size < 0 || f.size > maxState {
		return fmt.Errorf("%w: the head of a snapshot at index %d", ErrFrame, c.Applied)
	}
	return validateConfState(c.ConfState)
}

// ask sends one request, a few times if need be.
func (f *fetch) ask(ctx context.Context, op byte, args ...uint64) (*reader, error) {
	request := appendRequest(op, f.group.id, f.session, args...)
	var err error
	for range fetchTries {
		var answer []byte
		call, cancel := context.WithTimeout(ctx, fetchTimeout)
		answer, err = f.group.host.cfg.Transport.Fetch(call, f.from, request)
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			continue
		}
		body, bad := openFrame(answer)
		if bad == nil {
			return &reader{b: body}, f.group.host.taking.pass(ctx, len(body))
		}
		err = bad
	}
	return nil, fmt.Errorf("replica: fetch a snapshot of group %d from replica %d: %w", f.group.id, f.from, err)
}

// fetched takes the result of the job.
func (g *Group) fetched(f *fetch, err error) {
	if g.fetch != f || g.stopped {
		f.abort()
		return
	}
	if err == nil && f.checkpoint.Applied > g.applied && g.state == raft.StateFollower {
		f.ready = true
		return
	}
	if err != nil {
		g.host.cfg.Logger.Warn("catching up by a snapshot failed; it will be offered again", "group", g.id, "error", err)
	} else {
		g.acknowledge() // it has come another way
	}
	f.abort()
	g.fetch = nil
}

// install switches the log, once raft has nothing else for it. The request is
// behind all that was promised before; from now on nothing is, until it is done.
func (g *Group) install() {
	f := g.fetch
	if f == nil || !f.ready || f.installing {
		return
	}
	if g.state != raft.StateFollower || f.checkpoint.Applied <= g.applied {
		f.abort()
		g.fetch = nil
		return
	}
	f.installing = true
	w := g.newWrite()
	w.Sync, w.Stage = true, f.stage
	w.HardState = &raftpb.HardState{Term: new(g.raftTerm), Vote: new(g.vote), Commit: new(uint64(f.checkpoint.Applied))}
	g.submit(w)
}

// installed: the log was switched, or could not be.
func (g *Group) installed(err error) {
	f := g.fetch
	if f == nil { // stopped meanwhile
		return
	}
	g.fetch = nil
	switch {
	case g.stopped:
	case errors.Is(err, storage.ErrHeld):
		f.abort()
	case err != nil:
		f.abort()
		g.halt("cannot be written", err)
	default:
		g.restart(f)
	}
}

// restart begins anew from a log that was replaced, as after a restart of the
// node: all that this replica has promised is on disk.
func (g *Group) restart(f *fetch) {
	c, leader, term, vote := f.checkpoint, g.lead, g.raftTerm, g.vote
	if err := g.machine.Restore(c.State); err != nil {
		g.halt("holds a state that cannot be read", err)
		return
	}
	g.applied, g.term, g.conf = c.Applied, c.Term, c.ConfState
	g.toApply, g.catchUp = nil, catchUp{}
	if err := g.boot(&raftpb.HardState{Term: &term, Vote: &vote, Commit: new(uint64(c.Applied))}); err != nil {
		g.halt("cannot be opened again", err)
		return
	}
	g.host.metrics.snapshots.Inc()
	g.host.cfg.Logger.Info("a raft group has caught up by a snapshot", "group", g.id, "index", g.applied)
	if leader != raft.None {
		// It is still the leader of this term.
		g.stepPeer(&raftpb.Message{Type: raftpb.MsgHeartbeat.Enum(), From: &leader, To: new(g.host.cfg.ReplicaID), Term: new(term)})
		g.lead = leader
		g.acknowledge()
	}
	g.wake()
	g.membersDurable(g.conf)
	g.finishReads()
	g.repeatReads()
}

// acknowledge tells the leader how far this replica is. All up to applied is
// committed and on this disk.
func (g *Group) acknowledge() {
	if g.lead == raft.None || g.lead == g.host.cfg.ReplicaID {
		return
	}
	g.send(&raftpb.Message{Type: raftpb.MsgAppResp.Enum(), From: new(g.host.cfg.ReplicaID), To: new(g.lead),
		Term: new(g.raftTerm), Index: new(uint64(g.applied))})
}

// endFetch gives up a fetch because the group ends.
func (g *Group) endFetch() {
	f := g.fetch
	if f == nil {
		return
	}
	f.stop()
	if f.ready && !f.installing {
		f.abort()
	}
	g.fetch = nil
}

// fetches bounds how many snapshots are fetched at once.
type fetches struct {
	all  chan struct{}
	from locks
}

func (s *fetches) enter(ctx context.Context, from uint64) error {
	if err := s.from.lock(ctx, from); err != nil {
		return err
	}
	select {
	case s.all <- struct{}{}:
		return nil
	case <-ctx.Done():
		s.from.unlock(from)
		return ctx.Err()
	}
}

func (s *fetches) leave(from uint64) {
	<-s.all
	s.from.unlock(from)
}
