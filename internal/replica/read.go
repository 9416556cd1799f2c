package replica

import (
	"encoding/binary"

	"go.etcd.io/raft/v3"

	"waybill/internal/record"
)

const (
	readAgain = 3   // ticks after which a question is repeated
	readLimit = 100 // ticks after which it is given up
)

// reads are the questions which index was committed when they were asked. All
// that wait are asked together; while they are, others gather.
type reads struct {
	waiting []func(error)
	asked   []func(error)
	context string // of the question, never used twice
	ticks   int    // since it was asked first
	due     []dueRead
}

// dueRead waits until index is applied.
type dueRead struct {
	index record.Index
	done  []func(error)
}

func (r *reads) none() bool { return len(r.waiting) == 0 && len(r.asked) == 0 && len(r.due) == 0 }

// Read calls done(nil) on the group's shard as soon as this replica has
// applied all that was committed anywhere when Read was called. Until a leader answers it
// tries again, for some seconds: then done gets an error.
func (g *Group) Read(done func(error)) {
	ok := g.do(func() {
		if g.stopped {
			done(ErrNotLeader)
			return
		}
		g.reads.waiting = append(g.reads.waiting, done)
		g.wake()
	})
	if !ok {
		done(ErrClosed)
	}
}

// askReads asks for those that wait, unless an earlier question is not answered.
func (g *Group) askReads() {
	r := &g.reads
	if len(r.asked) > 0 || len(r.waiting) == 0 {
		return
	}
	r.asked, r.waiting = r.waiting, nil
	r.ticks = 0
	g.repeatReads()
}

// repeatReads asks again: a question or its answer may be lost.
func (g *Group) repeatReads() {
	if len(g.reads.asked) == 0 || g.stopped || g.busyInstalling() {
		return
	}
	b := binary.LittleEndian.AppendUint64(nil, g.host.cfg.ReplicaID)
	b = binary.LittleEndian.AppendUint64(b, g.host.boot)
	b = binary.LittleEndian.AppendUint64(b, g.host.questions.Add(1))
	g.reads.context = string(b)
	g.node.ReadIndex(b)
}

// readAt takes raft's answer.
func (g *Group) readAt(rs *raft.ReadState) {
	r := &g.reads
	if string(rs.RequestCtx) != r.context || len(r.asked) == 0 {
		return
	}
	r.due = append(r.due, dueRead{record.Index(rs.Index), r.asked})
	r.asked = nil
	g.finishReads()
	g.askReads()
}

// finishReads answers those whose index is applied.
func (g *Group) finishReads() {
	r := &g.reads
	for len(r.due) > 0 && r.due[0].index <= g.applied {
		done := r.due[0].done
		if r.due = r.due[1:]; len(r.due) == 0 {
			r.due = nil
		}
		for _, f := range done {
			f(nil)
		}
	}
}

func (g *Group) tickReads() {
	r := &g.reads
	if len(r.asked) == 0 {
		return
	}
	r.ticks++
	switch {
	case r.ticks >= readLimit:
		asked := r.asked
		r.asked = nil
		for _, f := range asked {
			f(ErrNotLeader)
		}
	case r.ticks%readAgain == 0:
		g.repeatReads()
	}
}

// endReads answers all with an error.
func (g *Group) endReads(reason error) {
	r := g.reads
	g.reads = reads{}
	for _, d := range r.due {
		r.asked = append(r.asked, d.done...)
	}
	for _, f := range append(r.asked, r.waiting...) {
		f(reason)
	}
}
