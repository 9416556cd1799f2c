package sim

import (
	"context"
	"slices"
	"time"
)

// can reports whether brokers know a fault: clocks of bubbles do not jump, and
// which replicas there are is up to the catalog.
func (h *whole) can(fault string) bool {
	return !slices.Contains([]string{"clock jump", "harm the second", "move a replica"}, fault)
}

// transfer has somebody ask for another leader of some log.
func (h *whole) transfer() bool {
	w := h.w
	p := h.pick(w.rng)
	if p == nil {
		return false
	}
	logs := p.broker.Logs()
	if len(logs) == 0 {
		return false
	}
	l := logs[w.rng.IntN(len(logs))]
	w.trace("n%d is asked to move the leadership of log %d, %s", p.n.id, l.ID, l.What)
	go func() {
		ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
		defer cancel()
		if err := p.broker.Transfer(ctx, l.ID, 0); err != nil && p.ctx.Err() == nil {
			w.trace("log %d was not handed over: %v", l.ID, err)
		}
	}()
	return true
}
