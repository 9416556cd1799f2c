// Package auth knows the users of a node and checks their logins.
//
// Passwords are kept as PBKDF2 hashes only ([HashPassword]). A login that
// fails costs the same whether the user exists or not, so that nobody can list
// the users by the clock. After a password was right once, the process
// remembers an HMAC of it under a random key of its own: the next login of
// that user costs a microsecond instead of a tenth of a second, and an
// application that opens a thousand connections does not starve the node.
//
// Guessing is slowed down by two budgets of failed logins, one for the pair of
// user and peer address, and one for the address alone ([budget]).
//
// The user guest, password guest, exists unless the configuration says
// otherwise, and may log in from a loopback address only. What counts is the
// address of the peer, never a name that it tells.
//
// Lock rules: Auth.mu guards the remembered passwords and limiter.mu the
// budgets; neither is held while a hash is computed, and they are never held together.
package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	// ErrRefused: the user does not exist or the password is wrong; which of
	// the two is not told.
	ErrRefused = errors.New("user or password is wrong")
	// ErrLoopback: the user guest may log in from a loopback address only.
	ErrLoopback = errors.New("user 'guest' can log in from this machine only; add a user of your own to the broker's configuration")
	// ErrThrottled: too many logins from the address failed of late.
	ErrThrottled = errors.New("too many failed logins; wait a minute and try again")
	// ErrMechanism: the SASL mechanism is not one that carries a user and a password.
	ErrMechanism = errors.New("mechanism is not supported; use PLAIN")
)

// Guest is the name of the default user, whose password is the same word.
const Guest = "guest"

// refusalDelay is how long a failed login waits for its answer, beyond the cost
// of the hash.
const refusalDelay = 250 * time.Millisecond

// Options say which users there are.
type Options struct {
	Users      map[string]string     // name → hash, as HashPassword makes it
	NoGuest    bool                  // there is no default user
	Registerer prometheus.Registerer // nil: metrics are kept but not registered
}

// Auth checks logins. It is safe for concurrent use.
type Auth struct {
	users map[string]*hash // never changed after New
	decoy *hash            // stands in for a user that does not exist
	cost  int              // iterations that every check takes in total
	limit limiter
	// hashing holds one token per hash that may be computed at a time, so that
	// a flood of logins takes one core and not all of them.
	hashing chan struct{}

	key [sha256.Size]byte // of this process, for known

	mu    sync.Mutex
	known map[string][sha256.Size]byte // user → HMAC of the password that was right

	logins *prometheus.CounterVec
}

// New returns the checker of the users in o; the error names a user whose
// entry cannot be used.
func New(o Options) (*Auth, error) {
	a := &Auth{
		users:   make(map[string]*hash, len(o.Users)+1),
		known:   make(map[string][sha256.Size]byte),
		hashing: make(chan struct{}, 1),
		logins: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_auth_logins_total",
			Help: "Logins by result: ok, refused, loopback, throttled.",
		}, []string{"result"}),
	}
	a.limit.init()
	rand.Read(a.key[:]) // never fails, as documented
	for name, text := range o.Users {
		h, err := parseHash(text)
		if err != nil {
			return nil, fmt.Errorf("auth: user %q: %w", name, err)
		}
		if name == "" {
			return nil, errors.New("auth: a user without a name")
		}
		a.users[name] = h
		a.cost = max(a.cost, h.iterations)
	}
	if _, ok := a.users[Guest]; !ok && !o.NoGuest {
		h, err := parseHash(guestHash)
		if err != nil {
			return nil, err
		}
		a.users[Guest] = h
		a.known[Guest] = a.mac(Guest, Guest) // no secret: spare its first login the hash
	}
	if a.cost == 0 {
		a.cost = defaultIterations
	}
	a.decoy = newDecoy(a.cost)
	if o.Registerer != nil {
		if err := o.Registerer.Register(a.logins); err != nil {
			return nil, fmt.Errorf("auth: %w", err)
		}
	}
	return a, nil
}

// Login checks the user's password for a peer that speaks from that address.
// It waits while the peer's address has too many failed logins behind it, for
// [maxWait] at the most. The error is one of this package's and may be shown to the peer.
func (a *Auth) Login(mechanism, user, password string, peer net.Addr) error {
	if mechanism != "PLAIN" && mechanism != "AMQPLAIN" {
		return ErrMechanism
	}
	addr := peerAddr(peer)
	if user == Guest && !addr.IsLoopback() {
		a.logins.WithLabelValues("loopback").Inc()
		return ErrLoopback
	}
	turn, ok := a.limit.take(user, addr)
	if !ok {
		a.logins.WithLabelValues("throttled").Inc()
		return ErrThrottled
	}
	if a.check(user, password) {
		turn.giveBack()
		a.logins.WithLabelValues("ok").Inc()
		return nil
	}
	a.logins.WithLabelValues("refused").Inc()
	<-time.After(refusalDelay)
	return ErrRefused
}

// check reports whether the password is the user's.
func (a *Auth) check(user, password string) bool {
	mac := a.mac(user, password)
	if a.remembered(user, mac) {
		return true
	}
	a.hashing <- struct{}{}
	defer func() { <-a.hashing }()
	if a.remembered(user, mac) { // another login of that user was first
		return true
	}
	h, exists := a.users[user]
	if !exists {
		h = a.decoy
	}
	right := h.matches(password, a.cost)
	if !exists || !right || password == "" {
		return false
	}
	a.mu.Lock()
	a.known[user] = mac
	a.mu.Unlock()
	return true
}

// remembered reports whether mac is that of the password with which the user logged in
// before.
func (a *Auth) remembered(user string, mac [sha256.Size]byte) bool {
	a.mu.Lock()
	known, ok := a.known[user]
	a.mu.Unlock()
	return hmac.Equal(known[:], mac[:]) && ok
}

func (a *Auth) mac(user, password string) (sum [sha256.Size]byte) {
	m := hmac.New(sha256.New, a.key[:])
	m.Write(fmt.Appendf(nil, "%d:%s", len(user), user))
	m.Write([]byte(password))
	m.Sum(sum[:0])
	return sum
}

// peerAddr is the IP address of a peer; the zero Addr when it has none.
func peerAddr(peer net.Addr) netip.Addr {
	if t, ok := peer.(*net.TCPAddr); ok {
		addr, _ := netip.AddrFromSlice(t.IP)
		return addr.Unmap()
	}
	if peer == nil {
		return netip.Addr{}
	}
	ap, err := netip.ParseAddrPort(peer.String())
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}
