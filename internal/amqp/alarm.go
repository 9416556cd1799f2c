package amqp

import (
	"sync"

	"waybill/internal/amqp/spec"
)

// gate lets publications through unless an alarm is on. The broker would have
// them wait too; here the waiting also ends when the connection does.
type gate struct {
	mu   sync.Mutex
	shut chan struct{} // nil while the gate is open; closed when it opens
}

func (g *gate) set(shut bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case shut && g.shut == nil:
		g.shut = make(chan struct{})
	case !shut && g.shut != nil:
		close(g.shut)
		g.shut = nil
	}
}

// waiting returns nil when the gate is open, else a channel that is closed
// when it opens.
func (g *gate) waiting() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// watchAlarm listens to alarms from the connection's first publication on, and
// has the client told when it understands that.
func (c *conn) watchAlarm() {
	if c.unwatch != nil {
		return
	}
	c.unwatch = c.server.cfg.Broker.OnAlarm(func(reason string) {
		c.gate.set(reason != "")
		switch {
		case !c.can.blocked:
		case reason == "":
			c.send(&spec.ConnectionUnblocked{})
		default:
			c.send(&spec.ConnectionBlocked{Reason: cut(reason, 255)})
		}
	})
}

// mayPublish waits while an alarm is on. The error says that the connection
// ends before the alarm does.
func (c *conn) mayPublish() error {
	c.watchAlarm()
	opens := c.gate.waiting()
	if opens == nil {
		return nil
	}
	c.flushSettled() // what was acked may be what ends the alarm
	select {
	case <-opens:
		return nil
	case <-c.stopping:
	case <-c.ctx.Done():
	}
	return &readError{errStopped}
}
