package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"waybill/internal/record"
	"waybill/internal/topic"
	"waybill/test/check"
)

// drain waits until everything is where it belongs.
func (w *World) drain() {
	if w.failed() {
		return
	}
	if w.cfg.Broker {
		w.whole.drain()
		return
	}
	limit := 2 * time.Minute
	if w.cfg.Live {
		limit = 30 * time.Second
	}
	if w.until(limit, w.drained) || w.failed() {
		return
	}
	w.fail("%v after all was healed not all is where it belongs", limit)
	for _, c := range w.clients {
		if !c.finished() {
			w.fail("%v still waits", c)
		}
	}
	for _, g := range w.logs {
		w.fail("%v", w.lag(g))
	}
	if n := w.queue.Missing(); n > 0 {
		w.fail("%d acked messages never came: %v", n, w.queue.Report())
	}
}

// lag describes how far the replicas of a group are.
func (w *World) lag(g *group) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v, which goes to index %d:", g, g.top)
	for _, n := range w.nodes {
		h := n.groups[g.id]
		if !n.up || h == nil {
			fmt.Fprintf(&b, " n%d: down;", n.id)
			continue
		}
		fmt.Fprintf(&b, " n%d, replica %d: index %d", n.id, n.replica, h.chain.index)
		if q, ok := h.machine.(*queueHost); ok {
			fmt.Fprintf(&b, ", %d messages, %d waiting", q.held.Count(), len(q.waiting))
		}
		if h.leads {
			voters, learners := h.group.Members()
			fmt.Fprintf(&b, ", leads %v %v, is to lead %v", voters, learners, g.desired)
		}
		b.WriteString(";")
	}
	return b.String()
}

func (w *World) drained() bool {
	if slices.ContainsFunc(w.clients, func(c client) bool { return !c.finished() }) {
		return false
	}
	for _, g := range w.logs {
		h := w.leader(g)
		if h == nil || h.chain.index < g.top {
			return false
		}
		if q, ok := h.machine.(*queueHost); ok && (q.held.Count() > 0 || len(q.waiting) > 0) {
			return false
		}
		if !w.level(g, h) {
			return false
		}
	}
	return true
}

// level: every replica that can have everything has it.
func (w *World) level(g *group, leader *hosted) bool {
	for _, id := range g.desired {
		n := w.replicas[id]
		if n == nil || !n.up {
			if !w.cfg.Live {
				return false
			}
			continue
		}
		if h := n.groups[g.id]; h == nil || h.chain.index != leader.chain.index {
			return false
		}
	}
	return true
}

// judge reads everything from every replica, and asks the checkers.
func (w *World) judge() {
	if w.cfg.Broker {
		w.whole.judge()
	}
	for _, g := range w.logs {
		for _, id := range g.desired {
			n := w.replicas[id]
			if n == nil || !n.up || n.groups[g.id] == nil || g.queue {
				continue
			}
			w.readAll(g, n.groups[g.id])
		}
	}
	if err := w.kafka.Report().Err(); err != nil {
		w.fail("topics: %v", err)
	}
	if err := w.queue.Report().Err(); err != nil {
		w.fail("queues: %v", err)
	}
}

func (w *World) readAll(g *group, h *hosted) {
	p := w.kafka.Partition("t", int32(g.id))
	var from record.Offset
	for from < h.machine.end() {
		got, next, err := h.fetch(p, from, 1<<20)
		if err != nil || next <= from {
			w.fail("%v: n%d cannot read from offset %d: %v", g, h.n.id, from, err)
			return
		}
		for _, r := range got {
			p.Seen(r.Value, r.Offset)
		}
		from = next
	}
	p.Drained(0, int64(from))
}

// records are those of an entry from an offset on.
func (h *hosted) records(data []byte, from record.Offset) (got []check.Polled, end record.Offset, err error) {
	b, err := topic.Batches(data)
	if err != nil {
		return nil, from, err
	}
	return recordsOf(b, from)
}

// recordsOf are those of a run of batches from an offset on.
func recordsOf(b []byte, from record.Offset) (got []check.Polled, end record.Offset, err error) {
	end = from
	for err == nil && len(b) > 0 {
		var batch record.Batch
		if batch, b, err = record.NextBatch(b); err != nil {
			break
		}
		if batch, err = record.ParseBatch(batch); err != nil {
			break
		}
		rest := []byte(batch[record.BatchHeaderLen:])
		for off := batch.BaseOffset(); off < batch.End(); off++ {
			var value []byte
			value, rest = nextValue(rest)
			v, bad := check.ParsePayload(value)
			if bad != nil {
				return nil, from, bad
			}
			if off >= from {
				got = append(got, check.Polled{Offset: int64(off), Value: v})
			}
		}
		end = batch.End()
	}
	return got, end, err
}

// nextValue splits the first record off those of a batch that is not
// compressed: length, attributes, two deltas, key, value, headers.
func nextValue(b []byte) (value, rest []byte) {
	varint := func() int64 {
		v, n := binary.Varint(b)
		b = b[max(n, 0):]
		return v
	}
	size := varint()
	rest = b[size:]
	b = b[1:]
	varint()
	varint()
	if n := varint(); n > 0 {
		b = b[n:]
	}
	n := varint()
	return b[:n], rest
}
