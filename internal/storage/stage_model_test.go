package storage

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// staging is a stage under way in the crash test: what another replica has,
// and how much of it is here.
type staging struct {
	st      *Stage
	keep    uint64
	entries []*raftpb.Entry // all of the other's, from index 2 on
	sent    int
	next    record.Offset
}

// stage begins, goes on with, or ends a stage of the log, or does nothing.
func (w *world) stage(id record.LogID, m *model) bool {
	g := w.stages[id]
	switch {
	case g == nil && w.rng.IntN(12) == 0 && m.idle():
		w.stages[id] = w.begin(id, m.newest())
	case g == nil || w.rng.IntN(2) == 0:
		return false
	case w.rng.IntN(15) == 0:
		g.st.Abort()
		w.aborts++
		delete(w.stages, id)
	case g.sent < len(g.entries):
		w.send(g)
	default:
		w.install(id, m, g)
	}
	return true
}

// idle reports that all requests are acknowledged.
func (m *model) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acked == len(m.states)-1
}

// begin makes up another replica's log, which has all that is committed here.
func (w *world) begin(id record.LogID, s modelState) *staging {
	keep := s.hard.commit
	g := &staging{st: w.store.Stage(id), keep: keep}
	if keep >= 2 {
		g.entries = s.entries[: keep-1 : keep-1]
	}
	g.sent = len(g.entries)
	next := &g.next
	if n := len(g.entries); n > 0 {
		base, count := offsets(g.entries[n-1], -1)
		for k := n - 1; base < 0 && k > 0; k-- {
			base, count = offsets(g.entries[k-1], -1)
		}
		*next = max(base, 0) + record.Offset(count)
	}
	term := s.hard.term + 1000
	for range 1 + w.rng.IntN(25) {
		g.entries = append(g.entries, w.entry(uint64(len(g.entries))+2, term, next))
	}
	return g
}

// send stages a few of the entries that are live.
func (w *world) send(g *staging) {
	n := min(len(g.entries), g.sent+1+w.rng.IntN(8))
	var live []*raftpb.Entry
	for _, e := range g.entries[g.sent:n] {
		if base, count := offsets(e, 0); count > 0 && anyAlive(base, base+record.Offset(count)) {
			live = append(live, e)
		}
	}
	g.sent = n
	if err := g.st.Append(live); err != nil {
		w.t.Errorf("seed %d: stage: %v", w.seed, err)
	}
}

func (w *world) install(id record.LogID, m *model, g *staging) {
	delete(w.stages, id)
	applied, term := uint64(len(g.entries))+1, g.entries[len(g.entries)-1].GetTerm()
	c := Checkpoint{
		Applied: record.Index(applied), Term: term, Live: anyAlive,
		ConfState: &raftpb.ConfState{Voters: []uint64{uint64(id)}},
		State:     fmt.Appendf(nil, "%d applied %d", id, applied),
	}
	if err := g.st.Seal(c, record.Index(g.keep)); err != nil {
		w.t.Errorf("seed %d: seal: %v", w.seed, err)
		return
	}
	s := modelState{entries: g.entries, floor: applied, hard: hardState{term, id2vote(id), applied}}
	a := &Append{Log: w.store.Log(id), Stage: g.st, HardState: hard(term, id2vote(id), applied), Done: m}
	if w.rng.IntN(3) == 0 { // with what follows at once
		next := g.next
		e := w.entry(s.last()+1, term, &next)
		s.entries = append(s.entries[:len(s.entries):len(s.entries)], e)
		a.Entries = []*raftpb.Entry{e}
	}
	m.ask(s)
	w.store.Append(a)
	w.installs++
}
