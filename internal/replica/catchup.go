package replica

import (
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

const (
	// aheadBytes is what is read from the disk at once for a lagging follower.
	aheadBytes = 4 << 20
	aheadSlots = 3
	// retainLimit is how many entries behind a follower may be that gets the
	// next ones from the log, and not a snapshot.
	retainLimit = 1 << 16
	// snapshotTicks is how long a leader waits for a follower to begin, or go
	// on, to fetch the snapshot that it was offered.
	snapshotTicks = 30
)

// catchUp is what a leader keeps for followers that are behind.
type catchUp struct {
	ahead ahead
	sent  map[uint64]int // ticks since a snapshot was offered to a follower, or was last asked for
}

func (c *catchUp) offered(to uint64) {
	if c.sent == nil {
		c.sent = map[uint64]int{}
	}
	c.sent[to] = 0
}

// tickCatchUp gives up snapshots that nobody fetches: the offer was lost, or
// the follower has died. Raft then finds out again what the follower needs.
func (g *Group) tickCatchUp() {
	for id := range g.catchUp.sent {
		g.catchUp.sent[id]++
		if g.host.servesTo(g.id, id) {
			g.catchUp.sent[id] = 0
		}
	}
	if len(g.catchUp.sent) == 0 {
		return
	}
	pending := map[uint64]bool{}
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) { pending[id] = pr.State == stateSnapshot })
	for id, ticks := range g.catchUp.sent {
		switch {
		case !pending[id]:
			delete(g.catchUp.sent, id)
		case ticks >= snapshotTicks:
			delete(g.catchUp.sent, id)
			g.node.ReportSnapshot(id, raft.SnapshotFailure)
		}
	}
}

// cut returns what a contiguous list has of [lo, hi), at least one entry and then
// no more than maxSize bytes.
func cut(list []*raftpb.Entry, lo, hi, maxSize uint64) []*raftpb.Entry {
	if len(list) == 0 {
		return nil
	}
	first := list[0].GetIndex()
	if lo < first || lo >= first+uint64(len(list)) {
		return nil
	}
	list = list[lo-first : min(hi, first+uint64(len(list)))-first]
	size := uint64(0)
	for n, e := range list {
		if size += uint64(len(e.GetData())) + 24; n > 0 && size > maxSize {
			return list[:n:n]
		}
	}
	return list[:len(list):len(list)]
}

// retain is the lowest index that the log has to keep at a checkpoint: of what
// is applied here, some followers that can be reached may not have everything yet.
// One that is far behind gets a snapshot.
func (g *Group) retain() record.Index {
	low := uint64(g.applied)
	if g.state == raft.StateLeader {
		g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
			switch {
			case g.host.isDown(id):
			case pr.State == stateReplicate:
				low = min(low, pr.Match)
			case pr.State == stateSnapshot:
				low = min(low, max(pr.Match, g.host.servesAt(g.id, id)))
			}
		})
	}
	if uint64(g.applied)-low > retainLimit {
		return 0
	}
	return record.Index(low) + 1
}

// ahead holds what was read from the disk for followers, a few pieces. It is
// of one term, in which a leader's log only grows: between two of its terms
// another leader may have replaced what it had read.
type ahead struct {
	term    uint64
	pieces  [][]*raftpb.Entry
	running map[uint64]bool // first indexes of the pieces that are being read
}

// at returns what was read, or is being read, in a term.
func (a *ahead) at(term uint64) *ahead {
	if a.term != term {
		*a = ahead{term: term, running: map[uint64]bool{}}
	}
	return a
}

// take returns what was read of [lo, hi).
func (a *ahead) take(lo, hi, maxSize uint64) []*raftpb.Entry {
	for _, piece := range a.pieces {
		if entries := cut(piece, lo, hi, maxSize); len(entries) > 0 {
			return entries
		}
	}
	return nil
}

// readAhead reads entries of [lo, hi), and then asks raft to go on.
func (g *Group) readAhead(lo, hi uint64) {
	term := g.raftTerm
	a := g.catchUp.ahead.at(term)
	if a.running[lo] || len(a.running) >= aheadSlots {
		return
	}
	a.running[lo] = true
	log := g.log
	g.host.spawn(func() {
		entries, err := log.Entries(record.Index(lo), record.Index(hi), aheadBytes, true)
		size := 0
		for _, e := range entries {
			size += len(e.GetData())
		}
		_ = g.host.giving.pass(g.host.ctx, size) // it ends with the host
		g.do(func() { g.hasRead(term, lo, entries, err) })
	})
}

func (g *Group) hasRead(term, lo uint64, entries []*raftpb.Entry, err error) {
	if g.stopped {
		return
	}
	if err != nil {
		if !isGone(err) {
			g.halt("cannot be read", err)
			return
		}
		entries = nil // compacted meanwhile: raft finds out
	}
	if term != g.raftTerm || g.state != raft.StateLeader {
		return
	}
	a := g.catchUp.ahead.at(term)
	delete(a.running, lo)
	if len(entries) == 0 {
		return
	}
	if len(a.pieces) == aheadSlots {
		a.pieces = a.pieces[1:]
	}
	a.pieces = append(a.pieces, entries)
	g.resume(lo)
}

// resume lets raft send to the followers that wait for the entry at next. It
// is told that they have answered a heartbeat, which they did: otherwise it would not
// have wanted to send to them just now.
func (g *Group) resume(next uint64) {
	var waiting []uint64
	g.node.WithProgress(func(id uint64, _ raft.ProgressType, pr progress) {
		if id != g.host.cfg.ReplicaID && pr.Next == next && pr.RecentActive {
			waiting = append(waiting, id)
		}
	})
	for _, id := range waiting {
		m := &raftpb.Message{Type: raftpb.MsgHeartbeatResp.Enum(), From: &id, To: new(g.host.cfg.ReplicaID), Term: new(g.raftTerm)}
		g.guard("go on with a follower", func() { _ = g.node.Step(m) })
	}
}

func (g *Group) checkpoint() *storage.Checkpoint {
	if g.stopped || g.busyInstalling() {
		return nil
	}
	c := g.snapshot()
	c.Retain = g.retain()
	return c
}

// snapshot is the state at applied.
func (g *Group) snapshot() *storage.Checkpoint {
	state, live := g.machine.Snapshot(nil)
	return &storage.Checkpoint{Applied: g.applied, Term: g.term, ConfState: g.conf, State: state, Live: live}
}
