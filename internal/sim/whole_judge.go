package sim

import (
	"context"
	"fmt"
	"time"

	"waybill/internal/broker"
)

// drain lets the clients end, and then looks whether all is where it belongs.
func (h *whole) drain() {
	w := h.w
	limit := 2 * time.Minute
	if w.cfg.Live {
		limit = 30 * time.Second
	}
	looks := w.now
	if w.until(limit, func() bool {
		if w.now.Before(looks) {
			return false
		}
		looks = w.now.Add(100 * time.Millisecond)
		return h.drained()
	}) || w.failed() {
		return
	}
	w.fail("%v after all was healed not all is where it belongs: %d clients are not done, %d acked messages never came: %v",
		limit, h.working.Load(), w.queue.Missing(), w.queue.Report())
	for _, n := range w.nodes {
		if n.proc == nil || !n.proc.ready.Load() {
			w.fail("n%d does not serve", n.id)
			continue
		}
		for _, l := range n.proc.broker.Logs() {
			w.trace("n%d: log %d, %s, is led by node %d in term %d, replicas %v, in sync %v, moving %v", n.id, l.ID, l.What, l.Leader, l.Term, l.Replicas, l.InSync, l.Moving)
		}
	}
}

func (h *whole) drained() bool {
	if h.working.Load() > 0 || h.w.queue.Missing() > 0 {
		return false
	}
	return h.w.cfg.Live || h.settled()
}

// judge asks every node, and the checkers.
func (h *whole) judge() {
	w := h.w
	finished := false
	u := h.user("judge")
	go func() {
		for _, q := range h.queues {
			for _, n := range w.nodes {
				u.empty(n, q)
			}
		}
		for _, n := range w.nodes {
			h.declared.judge(&u, n)
		}
		for n := range h.fetched {
			u.readAll(int32(n))
			c := committer{user: u, number: int32(n), group: fmt.Sprintf("g%d", n)}
			c.last()
		}
		w.post(func() { finished = true })
	}()
	w.every(10*time.Millisecond, func() {})
	if !w.until(time.Minute, func() bool { return finished }) && !w.failed() {
		w.fail("a minute after all was drained a question has no answer")
	}
	for _, q := range h.queues {
		q.judge()
	}
	if err := h.commits.Report().Err(); err != nil {
		w.fail("committed offsets: %v", err)
	}
	w.acked = int(h.acked.Load())
}

// empty looks until a queue has no messages, as a node tells it.
func (u *user) empty(n *node, q *queueCheck) {
	p := n.proc
	if p == nil || !p.ready.Load() {
		return // a minority may be down
	}
	for u.h.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(p.ctx, 20*time.Second)
		status := broker.QueueStatus{}
		session, err := p.broker.OpenSession(broker.DefaultVHost)
		if err == nil {
			status, err = session.CheckQueue(ctx, q.name)
		}
		cancel()
		if err != nil {
			u.h.w.fail("n%d, asked about %s: %v", n.id, q.name, err)
		}
		if err != nil || status.Ready == 0 {
			return
		}
		u.sleep(100 * time.Millisecond)
	}
}
