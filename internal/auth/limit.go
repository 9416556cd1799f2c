package auth

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// A pair of user and address may fail userBurst times in a row, and then
	// once per userRefill. The address alone has a larger budget, so that one
	// application with a wrong password does not lock out others behind the same
	// address, while somebody who tries many names is stopped too.
	userBurst  = 5
	userRefill = 5 * time.Second
	addrBurst  = 60
	addrRefill = time.Second

	// maxWait is how long a login waits for its turn before it is refused; it
	// lies below the ten seconds that a handshake may take.
	maxWait = 4 * time.Second

	// maxBudgets bounds the memory that hostile addresses can take.
	maxBudgets = 1 << 16
)

// budget counts failed logins down and fills up again with time. A login takes
// one before its password is checked, and gives it back when it was right: so
// a thousand guesses made at the same moment get no further than the burst.
type budget struct {
	left  float64
	burst float64
	every time.Duration // time in which one comes back
	at    time.Time     // when left was right
}

func (b *budget) refill(now time.Time) {
	b.left = min(b.burst, b.left+float64(now.Sub(b.at))/float64(b.every))
	b.at = now
}

// budgetKey names a budget; user is empty for that of the address alone.
type budgetKey struct {
	user string
	net  netip.Prefix
}

// limiter holds the budgets that are not full.
type limiter struct {
	mu      sync.Mutex
	budgets map[budgetKey]*budget
	// returned is closed, and replaced, whenever a budget got one back: it
	// wakes the logins that wait for their turn.
	returned chan struct{}
	now      func() time.Time
	swept    time.Time // when sweep ran last
}

func (l *limiter) init() {
	l.budgets = make(map[budgetKey]*budget)
	l.returned = make(chan struct{})
	l.now = time.Now
}

// turn is one login's share of the budgets.
type turn struct {
	l    *limiter
	keys [2]budgetKey
}

// take takes one from the budgets of the user at that address, and of the
// address. It waits for them for maxWait at the most.
func (l *limiter) take(user string, addr netip.Addr) (turn, bool) {
	network := networkOf(addr)
	t := turn{l, [2]budgetKey{{user, network}, {"", network}}}
	deadline := time.NewTimer(maxWait)
	defer deadline.Stop()
	for {
		wait, returned := l.try(t.keys)
		if wait == 0 {
			return t, true
		}
		refilled := time.NewTimer(wait)
		select {
		case <-returned:
		case <-refilled.C:
		case <-deadline.C:
			refilled.Stop()
			return turn{}, false
		}
		refilled.Stop()
	}
}

// try takes one from each budget, or from none: then it tells after which time
// to try again, and the channel to watch meanwhile.
func (l *limiter) try(keys [2]budgetKey) (wait time.Duration, returned <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	b := [2]*budget{
		l.budget(keys[0], userBurst, userRefill, now),
		l.budget(keys[1], addrBurst, addrRefill, now),
	}
	for _, b := range b {
		if b.left < 1 {
			wait = max(wait, time.Duration((1-b.left)*float64(b.every))+time.Millisecond)
		}
	}
	if wait > 0 {
		return wait, l.returned
	}
	for _, b := range b {
		b.left--
	}
	return 0, nil
}

// budget finds or makes the budget of that key. Beyond maxBudgets all newcomers
// share one.
func (l *limiter) budget(key budgetKey, burst float64, every time.Duration, now time.Time) *budget {
	b, ok := l.budgets[key]
	if !ok && len(l.budgets) >= maxBudgets {
		if now.Sub(l.swept) >= time.Second { // the sweep itself must not become a burden
			l.sweep(now)
		}
		if len(l.budgets) >= maxBudgets {
			key = budgetKey{}
			b, ok = l.budgets[key]
			burst, every = addrBurst, addrRefill
		}
	}
	if !ok {
		b = &budget{left: burst, burst: burst, every: every, at: now}
		l.budgets[key] = b
	}
	b.refill(now)
	return b
}

// sweep forgets the budgets that are full again.
func (l *limiter) sweep(now time.Time) {
	l.swept = now
	for key, b := range l.budgets {
		if b.refill(now); b.left >= b.burst {
			delete(l.budgets, key)
		}
	}
}

// giveBack returns what the login took: its password was right.
func (t turn) giveBack() {
	l := t.l
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range t.keys {
		b, ok := l.budgets[key]
		if !ok {
			continue // swept, or shared with others: it refills by itself
		}
		if b.left++; b.left >= b.burst {
			delete(l.budgets, key)
		}
	}
	close(l.returned)
	l.returned = make(chan struct{})
}

// networkOf is what counts as one address: an IPv6 host commands a whole /64.
func networkOf(addr netip.Addr) netip.Prefix {
	bits := 32
	if addr.Is6() {
		bits = 64
	}
	p, err := addr.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address: all of those share a budget
	}
	return p
}
