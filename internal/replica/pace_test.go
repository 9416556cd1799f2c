package replica

import (
	"testing"
	"time"
)

// rested lets a pace go through turns that propose bytes, a message coming
// after each time of gaps within a rest, and returns how many of them were followed by a rest.
func rested(p *pace, now *time.Time, turns, bytes int, gaps ...time.Duration) (rests int) {
	clock := func() time.Time { return *now }
	for range turns {
		p.proposed = bytes
		p.turned(*now)
		if p.until.IsZero() {
			*now = now.Add(200 * time.Microsecond)
			continue
		}
		rests++
		began := *now
		for _, gap := range gaps {
			if *now = began.Add(gap); p.over(*now) {
				break
			}
			p.stir(clock)
		}
		*now = began.Add(restTime)
		p.end(*now)
	}
	return rests
}

func TestRestPaysForWhatComesByItself(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	if n := rested(&p, &now, 100, 2000, restTime/3, restTime*2/3); n != 100 {
		t.Errorf("%d rests after 100 small proposals at a steady rate", n)
	}
	if n := rested(&p, &now, 1000, 2000, restTime/10); n > 50 {
		t.Errorf("%d rests after 1000 proposals of clients that wait for their answers", n)
	}
	if n := rested(&p, &now, 1000, restBytes+1, restTime*2/3); n != 0 {
		t.Errorf("%d rests after large proposals", n)
	}
	now = now.Add(probeHigh)
	if n := rested(&p, &now, 100, 2000, restTime*2/3); n != 100 {
		t.Errorf("%d rests after 100 small proposals when the rate is steady again", n)
	}
}

// TestRestDoesNotPayForOneWhoWaits: a client that goes on when its answer comes is not
// slowed down by rests where the sync takes as long as half of one.
func TestRestDoesNotPayForOneWhoWaits(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	clock := func() time.Time { return now }
	rests := 0
	for range 1000 {
		p.proposed = 1000
		p.turned(now)
		now = now.Add(restTime / 2) // the sync
		p.answered(now)
		now = now.Add(restTime / 8) // and the client
		p.stir(clock)
		if !p.until.IsZero() {
			rests++
			now = p.until
			p.end(now)
		}
	}
	if rests > 50 {
		t.Errorf("%d rests after 1000 proposals of a client that waits for its answers", rests)
	}
}

func TestRestHoldsProposals(t *testing.T) {
	var p pace
	g := new(Group)
	if p.hold(g) {
		t.Error("a group is held without a rest")
	}
	p.proposed = 1
	now := time.Unix(1000, 0)
	p.turned(now)
	if first, again := p.hold(g), p.hold(g); !first || !again || len(p.held) != 1 {
		t.Errorf("%d groups held", len(p.held))
	}
	if at, ok := p.next(time.Time{}, false); !ok || !at.Equal(now.Add(restTime)) {
		t.Errorf("the shard is woken at %v, %v", at, ok)
	}
	if at, ok := p.next(now, true); !ok || !at.Equal(now) {
		t.Errorf("a timer before the end of the rest: %v, %v", at, ok)
	}
}
