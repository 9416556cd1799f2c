package replica

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// write is one append on its way through the store, with the messages that
// may be delivered only after it.
type write struct {
	storage.Append
	group      *Group
	responses  []*raftpb.Message
	membership *raftpb.ConfState // it is told of when this is durable
}

// AppendDone implements storage.Completion; the WAL goroutine calls it.
func (w *write) AppendDone(*storage.Append) {
	h := w.group.host
	w.group.shard.post(item{group: w.group, kind: itemWritten, event: w})
	h.writing.Add(-1) // after it: whoever sees 0 finds everything in the inboxes
}

// write hands a MsgStorageAppend to the store. Everything that this replica promises with
// it, to raft here or to other replicas (votes, acknowledged entries), is in
// its responses, and leaves when it is durable.
func (g *Group) write(m *raftpb.Message) {
	if m.GetSnapshot() != nil {
		panic(fmt.Sprintf("replica: group %d: raft restores a snapshot, which is not its to do", g.id))
	}
	promises := len(m.GetEntries()) > 0 || m.Term != nil && (m.GetTerm() != g.writtenTerm || m.GetVote() != g.writtenVote)
	if !promises && g.writes == 0 {
		// Only the commit index moved. Raft finds it again from the log, so
		// it is not worth a write: it goes to disk with the next entry. All
		// that the responses tell of is durable already.
		g.respond(m.GetResponses())
		return
	}
	if !promises && len(m.GetResponses()) == 0 {
		return
	}
	w := g.newWrite()
	w.Entries, w.Sync, w.responses = m.GetEntries(), promises, m.GetResponses()
	w.Shared = g.tickets.take(w.Entries)
	if m.Term != nil {
		w.HardState = &raftpb.HardState{Term: m.Term, Vote: m.Vote, Commit: m.Commit}
		g.writtenTerm, g.writtenVote = m.GetTerm(), m.GetVote()
	}
	if n := len(w.Entries); n > 0 {
		g.inFlight++
		g.last = record.Index(w.Entries[n-1].GetIndex())
		g.raftLog.wrote(w.Entries)
	}
	g.submit(w)
}

func (g *Group) newWrite() *write {
	w := g.free
	if w == nil {
		w = &write{group: g}
		w.Done = w
		w.Log = g.log
	}
	g.free = nil
	w.HardState = nil
	return w
}

func (g *Group) submit(w *write) {
	g.writes++
	g.host.writing.Add(1)
	g.host.cfg.Store.Append(&w.Append)
}

// wrote delivers what was to be delivered after a write.
func (g *Group) wrote(w *write) {
	g.writes--
	if len(w.Entries) > 0 {
		g.inFlight--
		g.shard.pace.answered(g.shard.clock.now)
	}
	switch {
	case w.Stage != nil:
		g.installed(w.Err)
	case g.stopped:
	case w.Err != nil:
		g.halt("cannot be written", w.Err)
	default:
		g.respond(w.responses)
		if w.membership != nil {
			g.membersDurable(w.membership)
		}
	}
	w.Entries, w.Shared, w.HardState, w.Stage, w.Err, w.responses, w.membership = nil, nil, nil, nil, nil, nil, nil
	g.free = w
}

// respond delivers messages that waited for the disk.
func (g *Group) respond(messages []*raftpb.Message) {
	for i, m := range messages {
		if m.GetTo() == g.host.cfg.ReplicaID {
			g.step(messages[i : i+1])
			g.vouch(m)
		} else {
			g.send(m)
		}
	}
}
