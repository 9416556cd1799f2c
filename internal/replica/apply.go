package replica

import (
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// applyPending hands the machine what is committed, as far as the number of
// copies that is asked for allows it.
func (g *Group) applyPending() {
	for len(g.toApply) > 0 {
		m := g.toApply[0]
		n := g.released(m.GetEntries())
		g.apply(m.Entries[:n])
		if m.Entries = m.Entries[n:]; len(m.Entries) > 0 {
			break
		}
		g.toApply[0] = nil
		if g.toApply = g.toApply[1:]; len(g.toApply) == 0 {
			g.toApply = nil
		}
		g.step(m.GetResponses())
	}
	g.finishReads()
}

// apply hands committed entries to the machine.
func (g *Group) apply(entries []*raftpb.Entry) {
	for _, e := range entries {
		if record.Index(e.GetIndex()) != g.applied+1 {
			panic(fmt.Sprintf("replica: group %d applies index %d after %d", g.id, e.GetIndex(), g.applied))
		}
		g.applied, g.term = record.Index(e.GetIndex()), e.GetTerm()
		switch {
		case e.GetType() == raftpb.EntryConfChangeV2:
			g.applyConfChange(e)
		case e.GetType() != raftpb.EntryNormal:
			panic(fmt.Sprintf("replica: group %d: entry %d has type %s", g.id, e.GetIndex(), e.GetType()))
		case len(e.GetData()) > 0:
			entry := Entry{Index: g.applied, Term: g.term, Data: e.GetData()}
			if see := g.host.cfg.OnApply; see != nil {
				see(g.id, entry)
			}
			g.machine.Apply(entry)
			if g.leads.Load() {
				g.uncommitted -= len(e.GetData())
			}
		default:
			g.termBegan(e.GetTerm())
		}
	}
	g.raftLog.applied(g.applied)
}

// termBegan: the empty entry with which a leader begins its term was applied,
// and with it all of the earlier terms.
func (g *Group) termBegan(term uint64) {
	st := g.node.BasicStatus()
	if st.RaftState != raft.StateLeader || st.HardState.GetTerm() != term || g.leads.Load() {
		return
	}
	g.uncommitted = 0
	g.copies.termStart = g.applied
	g.machine.Lead(term)
	g.leads.Store(true)
	g.host.count(1, 0)
	g.lead, g.state, g.raftTerm = g.host.cfg.ReplicaID, st.RaftState, term
	g.updateSync()
	g.announce()
}
