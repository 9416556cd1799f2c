package replica

import (
	"sync/atomic"
	"time"
)

// pace has a shard rest for a moment after a small proposal, where that pays.
//
// One sync, and waking all who wait for it, costs the same for one message as
// for a hundred. At a low rate every message would have them for itself. So
// after a turn that proposed little, nothing is proposed until the rest is
// over, and what comes meanwhile shares the next entries; posts that may wait
// (Group.PostLazily) do not even wake the shard.
//
// Resting pays when more comes by itself. Clients that wait for their answers before they
// go on only get slower by it; but then, soon after the rest began, nothing
// comes any more. So a rest is judged by its second half, which begins no sooner than a while
// after the last answers: a client that goes on with them comes before. When nothing came in
// it, and this repeats, there is no rest for a while but for a single one now and then, to
// see whether things have changed.
type pace struct {
	until     time.Time // the rest ends; zero when the shard does not rest
	half      int64     // the second half of the rest begins, in UnixNano
	worth     int       // 0: rests do not pay
	probeAt   time.Time // of the next rest while they do not
	probeIn   time.Duration
	busyUntil time.Time // the shard has proposed much: no rest
	proposed  int       // bytes in this turn
	held      []*Group  // would have proposed during the rest

	resting atomic.Bool  // until is set; for those who post
	stirred atomic.Int64 // when something came during the rest, in UnixNano
}

const (
	restTime  = time.Millisecond
	replyTime = restTime / 4          // in which a client goes on that has waited for an answer
	restBytes = 32 << 10              // a turn that proposes more has its sync paid
	busyTime  = 20 * time.Millisecond // after such a turn
	worthMost = 8
	probeLow  = 50 * time.Millisecond
	probeHigh = time.Second
)

// stir notes that something waits for the shard.
func (p *pace) stir(now func() time.Time) {
	if p.resting.Load() {
		p.stirred.Store(now().UnixNano())
	}
}

// over reports whether a rest is to be ended.
func (p *pace) over(now time.Time) bool { return !p.until.IsZero() && !now.Before(p.until) }

// answered notes that a sync is done, and clients hear of it: what they do then
// does not come by itself.
func (p *pace) answered(now time.Time) {
	if !p.until.IsZero() {
		p.half = max(p.half, now.Add(replyTime).UnixNano())
	}
}

// end ends the rest and judges it.
func (p *pace) end(now time.Time) {
	p.until = time.Time{}
	p.resting.Store(false)
	switch late := p.stirred.Load() >= p.half; {
	case late && p.worth == 0:
		p.worth, p.probeIn = worthMost/2, probeLow
	case late:
		p.worth = min(p.worth+1, worthMost)
	case p.worth > 1:
		p.worth--
	default:
		p.worth = 0
		p.probeIn = min(max(2*p.probeIn, probeLow), probeHigh)
		p.probeAt = now.Add(p.probeIn)
	}
}

// turned is called at the end of a turn; it may begin a rest.
func (p *pace) turned(now time.Time) {
	proposed := p.proposed
	p.proposed = 0
	switch {
	case proposed == 0 || !p.until.IsZero():
	case proposed > restBytes:
		p.busyUntil = now.Add(busyTime)
	case now.Before(p.busyUntil) || p.worth == 0 && now.Before(p.probeAt):
	default:
		p.until = now.Add(restTime)
		p.half = now.Add(restTime / 2).UnixNano()
		p.resting.Store(true)
	}
}

// hold keeps a group from proposing while the shard rests; it is advanced
// again afterwards.
func (p *pace) hold(g *Group) bool {
	if p.until.IsZero() {
		return false
	}
	if !g.held {
		g.held = true
		p.held = append(p.held, g)
	}
	return true
}

// next is the earlier one of a timer's time, if there is one, and the end of
// the rest.
func (p *pace) next(at time.Time, ok bool) (time.Time, bool) {
	if p.until.IsZero() || ok && at.Before(p.until) {
		return at, ok
	}
	return p.until, true
}
