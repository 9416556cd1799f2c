package auth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var (
	loopback = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000}
	stranger = &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000}
)

// cheap is a hash of the password with as few iterations as are accepted.
func cheap(t testing.TB, password string) string {
	t.Helper()
	text, err := hashWith(password, []byte("0123456789abcdef"), minIterations)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func newAuth(t testing.TB, users map[string]string) *Auth {
	t.Helper()
	a, err := New(Options{Users: users, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, map[string]string{"alice": cheap(t, "wonderland")})
		for _, c := range []struct {
			name, mechanism, user, password string
			peer                            net.Addr
			want                            error
		}{
			{"right", "PLAIN", "alice", "wonderland", stranger, nil},
			{"right, remembered", "PLAIN", "alice", "wonderland", stranger, nil},
			{"wrong after right", "PLAIN", "alice", "Wonderland", stranger, ErrRefused},
			{"amqplain", "AMQPLAIN", "alice", "wonderland", stranger, nil},
			{"blank password", "PLAIN", "alice", "", stranger, ErrRefused},
			{"unknown user", "PLAIN", "bob", "wonderland", stranger, ErrRefused},
			{"unknown user, blank", "PLAIN", "bob", "", stranger, ErrRefused},
			{"no user", "PLAIN", "", "", loopback, ErrRefused},
			{"mechanism", "EXTERNAL", "alice", "wonderland", stranger, ErrMechanism},
			{"guest", "PLAIN", "guest", "guest", loopback, nil},
			{"guest, wrong", "PLAIN", "guest", "gues", loopback, ErrRefused},
			{"guest, blank", "PLAIN", "guest", "", loopback, ErrRefused},
			{"guest from 127/8", "PLAIN", "guest", "guest", &net.TCPAddr{IP: net.IPv4(127, 9, 9, 9)}, nil},
			{"guest over IPv6", "PLAIN", "guest", "guest", &net.TCPAddr{IP: net.IPv6loopback}, nil},
			{"guest, mapped", "PLAIN", "guest", "guest", &net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1")}, nil},
			{"guest from afar", "PLAIN", "guest", "guest", stranger, ErrLoopback},
			{"guest, mapped from afar", "PLAIN", "guest", "guest", &net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.7")}, ErrLoopback},
			{"guest without an address", "PLAIN", "guest", "guest", nil, ErrLoopback},
			{"guest over a pipe", "PLAIN", "guest", "guest", &net.UnixAddr{Name: "127.0.0.1:1"}, nil},
			{"guest over a named pipe", "PLAIN", "guest", "guest", &net.UnixAddr{Name: "localhost"}, ErrLoopback},
		} {
			if got := a.Login(c.mechanism, c.user, c.password, c.peer); !errors.Is(got, c.want) {
				t.Errorf("%s: got %v, want %v", c.name, got, c.want)
			}
		}
	})
}

func TestGuestHashIsGuest(t *testing.T) {
	h, err := parseHash(guestHash)
	if err != nil {
		t.Fatal(err)
	}
	if !h.matches(Guest, 0) {
		t.Fatal("the hash of guest does not match guest")
	}
}

func TestNoGuest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, err := New(Options{NoGuest: true, Users: map[string]string{"alice": cheap(t, "x1")}})
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Login("PLAIN", "guest", "guest", loopback); !errors.Is(err, ErrRefused) {
			t.Fatalf("got %v", err)
		}
	})
}

// TestGuessing lets one address guess as fast as it can, many guesses at a
// time, and counts how many passwords it gets to try in a minute.
func TestGuessing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, map[string]string{"alice": cheap(t, "wonderland")})
		var mu sync.Mutex
		tried := 0
		end := time.Now().Add(time.Minute)
		var guessers sync.WaitGroup
		for i := range 100 {
			guessers.Go(func() {
				for n := 0; time.Now().Before(end); n++ {
					err := a.Login("PLAIN", "alice", fmt.Sprint("guess", i, n), stranger)
					mu.Lock()
					if errors.Is(err, ErrRefused) {
						tried++
					}
					mu.Unlock()
				}
			})
		}
		guessers.Wait()
		if limit := userBurst + int(time.Minute/userRefill) + 2; tried > limit || tried < userBurst {
			t.Errorf("%d guesses in a minute, want at most %d", tried, limit)
		}
		if testutil.ToFloat64(a.logins.WithLabelValues("throttled")) == 0 {
			t.Error("the metric counts no throttled login")
		}
		// Neither another user of that address nor the user at another address suffers.
		if err := a.Login("PLAIN", "alice", "wonderland", loopback); err != nil {
			t.Errorf("the user from elsewhere: %v", err)
		}
		// And the address may try again later.
		time.Sleep(userRefill)
		if err := a.Login("PLAIN", "alice", "wonderland", stranger); err != nil {
			t.Errorf("after the wait: %v", err)
		}
	})
}

// TestSpraying tries one password with many names.
func TestSpraying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, map[string]string{"alice": cheap(t, "wonderland")})
		a.cost, a.decoy = minIterations, newDecoy(minIterations)
		var mu sync.Mutex
		tried := 0
		var guessers sync.WaitGroup
		for i := range 500 {
			guessers.Go(func() {
				if errors.Is(a.Login("PLAIN", fmt.Sprint("user", i), "secret", stranger), ErrRefused) {
					mu.Lock()
					tried++
					mu.Unlock()
				}
			})
		}
		guessers.Wait()
		if limit := addrBurst + int(maxWait/addrRefill) + 1; tried > limit {
			t.Errorf("%d names tried at once, want at most %d", tried, limit)
		}
	})
}

// TestManyRightLogins opens a thousand connections of one user at once.
func TestManyRightLogins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, map[string]string{"alice": cheap(t, "wonderland")})
		var logins sync.WaitGroup
		for range 1000 {
			logins.Go(func() {
				if err := a.Login("PLAIN", "alice", "wonderland", stranger); err != nil {
					t.Error(err)
				}
			})
		}
		logins.Wait()
		if n := len(a.limit.budgets); n != 0 {
			t.Errorf("%d budgets are kept after right logins only", n)
		}
	})
}

func TestBudgetsAreBounded(t *testing.T) {
	var l limiter
	l.init()
	now := time.Now()
	l.now = func() time.Time { return now }
	for i := range maxBudgets {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		l.try([2]budgetKey{{"u", networkOf(addr)}, {"", networkOf(addr)}})
	}
	if n := len(l.budgets); n > maxBudgets+1 {
		t.Fatalf("%d budgets", n)
	}
	now = now.Add(time.Hour)
	l.mu.Lock()
	l.sweep(now)
	l.mu.Unlock()
	if n := len(l.budgets); n != 0 {
		t.Fatalf("%d budgets are left after an hour", n)
	}
}

func TestHashPassword(t *testing.T) {
	for _, blank := range []string{"", " ", "\t\n"} {
		if _, err := HashPassword(blank); !errors.Is(err, ErrBlank) {
			t.Errorf("%q: %v", blank, err)
		}
	}
	text, err := HashPassword("secret")
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseHash(text)
	if err != nil {
		t.Fatal(err)
	}
	if !h.matches("secret", 0) || h.matches("Secret", 0) {
		t.Fatal("the hash does not tell right from wrong")
	}
}

func TestBadUsers(t *testing.T) {
	good := cheap(t, "x1")
	for name, text := range map[string]string{
		"plain":     "secret",
		"empty":     "",
		"scheme":    strings.Replace(good, "sha256", "sha1", 1),
		"too cheap": strings.Replace(good, "i=10000", "i=1", 1),
		"too dear":  strings.Replace(good, "i=10000", "i=99999999999999999999", 1),
		"cut off":   good[:len(good)-1],
		"more":      good + "$",
	} {
		_, err := New(Options{Users: map[string]string{"alice": text}})
		if !errors.Is(err, ErrHash) || !strings.Contains(err.Error(), `"alice"`) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New(Options{Users: map[string]string{"": good}}); err == nil {
		t.Error("a user without a name is accepted")
	}
}

func FuzzParseHash(f *testing.F) {
	f.Add(guestHash)
	f.Add("$pbkdf2-sha256$i=10000$$")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parseHash(text)
		if err != nil {
			return
		}
		if len(h.salt) < minSalt || h.iterations < minIterations || h.iterations > maxIterations {
			t.Fatalf("%q gave %+v", text, h)
		}
	})
}
