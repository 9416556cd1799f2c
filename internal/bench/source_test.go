package bench

import (
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

func TestSourceKeepsTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSource(3, 0, 0, nil)
		times := make([]int64, 10)
		if n := s.take(times); n != 3 {
			t.Fatalf("%d messages, want the window of 3", n)
		}
		got := make(chan int, 1)
		go func() { got <- s.take(times) }()
		synctest.Wait()
		select {
		case n := <-got:
			t.Fatalf("%d messages beyond the window", n)
		default:
		}
		s.done(2)
		if n := <-got; n != 2 {
			t.Fatalf("%d messages, want the 2 that became free", n)
		}
		go func() { got <- s.take(times) }()
		synctest.Wait()
		s.stop()
		if n := <-got; n != 0 {
			t.Fatalf("%d messages after the end", n)
		}
	})
}

// TestSourceChargesFromTheSchedule: what a full window held back is due when the
// schedule said, not when it is sent.
func TestSourceChargesFromTheSchedule(t *testing.T) {
	const interval = int64(time.Millisecond)
	s := newSource(1, float64(interval), 0, nil)
	start := time.Now().Add(-time.Second).UnixNano() // a second of stall
	s.begin(start)
	times := make([]int64, 1)
	for i := range int64(5) {
		if s.take(times) != 1 || times[0] != start+i*interval {
			t.Fatalf("message %d is due %d ns after the start, want %d", i, times[0]-start, i*interval)
		}
		s.done(1)
	}
}

func TestSourceOffersTheRate(t *testing.T) {
	s := newSource(1000, float64(time.Millisecond), 0, nil)
	s.begin(time.Now().UnixNano())
	times := make([]int64, 100)
	for sent := 0; sent < 20; {
		n := s.take(times)
		sent += n
		if last := times[n-1]; last > time.Now().UnixNano() {
			t.Fatalf("a message goes %v early", time.Duration(last-time.Now().UnixNano()))
		}
	}
}

func TestSourcesShareTheMessages(t *testing.T) {
	var left atomic.Int64
	left.Store(7)
	a, b := newSource(100, 0, 0, &left), newSource(100, 0, 0, &left)
	if n, m := a.take(make([]int64, 4)), b.take(make([]int64, 4)); n != 4 || m != 3 {
		t.Errorf("%d and %d of 7 messages", n, m)
	}
	if n := a.take(make([]int64, 4)); n != 0 {
		t.Errorf("%d messages too many", n)
	}
}

// TestUnconfirmed: confirms in any order give each message's time once.
func TestUnconfirmed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var u unconfirmed
		u.init(rapid.IntRange(1, 20).Draw(t, "window"))
		var open []uint64
		next := uint64(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(open) == 0 || rapid.Bool().Draw(t, "publish") {
				times := make([]int64, rapid.IntRange(1, 30).Draw(t, "messages"))
				for i := range times {
					times[i] = int64(next) * 10
					open = append(open, next)
					next++
				}
				u.add(times)
				continue
			}
			tag := rapid.SampledFrom(open).Draw(t, "tag")
			multiple := rapid.Bool().Draw(t, "multiple")
			var want []int64
			open = slices.DeleteFunc(open, func(o uint64) bool {
				hit := o == tag || multiple && o < tag
				if hit {
					want = append(want, int64(o)*10)
				}
				return hit
			})
			got, err := u.take(tag, multiple, nil)
			if err != nil || !slices.Equal(got, want) {
				t.Fatalf("confirm of %d, multiple %v: %v %v, want %v", tag, multiple, got, err, want)
			}
		}
		if _, err := u.take(next, false, nil); err == nil {
			t.Fatal("a confirm of a message that was not sent is taken")
		}
	})
}

func TestShares(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n, count := rapid.IntRange(1, 30).Draw(t, "queues"), rapid.IntRange(1, 30).Draw(t, "members")
		seen := make([]int, n)
		for i := range count {
			mine := share(i, count, n)
			if len(mine) == 0 {
				t.Fatalf("member %d of %d has none of %d queues", i, count, n)
			}
			for _, q := range mine {
				seen[q]++
			}
		}
		if slices.Contains(seen, 0) || count <= n && slices.Max(seen) > 1 {
			t.Fatalf("%d members serve the queues %v times", count, seen)
		}
	})
}

// TestHeld: where the rate of consuming is bounded, a worker is held until the messages that it
// has read are due, and let go at once when the run is over.
func TestHeld(t *testing.T) {
	r := newRecorder(true)
	r.interval = float64(time.Millisecond)
	began := time.Now()
	for range 3 {
		r.add(time.Now().UnixNano(), make([]int64, 10))
	}
	if took := time.Since(began); took < 30*time.Millisecond {
		t.Errorf("30 messages took %v at one a millisecond", took)
	}
	r.interval = float64(time.Hour)
	go r.stop()
	r.add(time.Now().UnixNano(), make([]int64, 10))
}
