package bench

import (
	"errors"
	"fmt"
	"time"
)

// ErrLoad is wrapped by errors about a load that cannot be.
var ErrLoad = errors.New("impossible load")

// Phase is the part of a backlog run that is to be done.
type Phase string

// The phases. The zero value publishes and consumes at once.
const (
	Both  Phase = ""
	Build Phase = "build" // publish, do not consume
	Drain Phase = "drain" // consume what is there, do not publish
)

// Load says what to do to a broker, in whichever protocol.
type Load struct {
	Producers int
	Consumers int
	Size      int     // bytes of a body, at least 8
	Queues    int     // queues, or partitions
	InFlight  int     // unconfirmed messages per producer
	Rate      float64 // messages per second of all producers together, in a Drain of all consumers; 0: as fast as it goes
	Messages  int64   // stop after so many; 0: stop after Duration
	Duration  time.Duration
	Warmup    time.Duration // before anything is measured
	Phase     Phase
	Name      string // of the queues, of the exchange, of the topic
	Keep      bool   // leave queues or topic behind
	Stock     bool   // drive the ecosystem's client instead of the lean one
	PIDs      []int  // processes of the broker, measured if they run here
	Disk      string // a directory on the broker's disk; what the device is written is measured
}

// minSize is the room for the time in a body.
const minSize = 8

// check completes the load and refuses what makes no sense.
func (l *Load) check() error {
	switch l.Phase {
	case Build:
		l.Consumers = 0
	case Drain:
		l.Producers = 0
	case Both:
	default:
		return fmt.Errorf("%w: phase %q, not build or drain", ErrLoad, l.Phase)
	}
	switch {
	case l.Producers < 0 || l.Consumers < 0 || l.Producers+l.Consumers == 0:
		return fmt.Errorf("%w: neither producers nor consumers", ErrLoad)
	case l.Size < minSize:
		return fmt.Errorf("%w: a size of %d bytes, but the time in a message takes %d", ErrLoad, l.Size, minSize)
	case l.Queues < 1:
		return fmt.Errorf("%w: %d queues or partitions", ErrLoad, l.Queues)
	case l.InFlight < 1:
		return fmt.Errorf("%w: a window of %d messages", ErrLoad, l.InFlight)
	case l.Rate < 0:
		return fmt.Errorf("%w: a rate of %v", ErrLoad, l.Rate)
	case l.Messages < 0 || l.Messages == 0 && l.Duration <= 0 && l.Phase != Drain: // which ends by itself
		return fmt.Errorf("%w: neither a duration nor a number of messages", ErrLoad)
	}
	return nil
}

// share returns those of n queues that member i of count serves: every queue has
// a member, and every member a queue.
func share(i, count, n int) []int {
	if count >= n {
		return []int{i % n}
	}
	var mine []int
	for q := i; q < n; q += count {
		mine = append(mine, q)
	}
	return mine
}
