package broker

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// TestIntakeLetsOneGetOn: when all is taken by clients of which none is done,
// one of them gets on; and then the next.
func TestIntakeLetsOneGetOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := NewIntake(100, time.Minute)
		expel := func() { t.Error("expelled") }
		a, b, c := i.Share(expel), i.Share(expel), i.Share(expel)
		for _, s := range []*Share{a, b} {
			if !s.Grow(50) {
				t.Fatal("no room in an empty intake")
			}
		}
		if !a.Grow(70) { // gets the turn
			t.Fatal("nobody gets on")
		}
		var grown sync.WaitGroup
		got := make(chan *Share, 2)
		for _, s := range []*Share{b, c} {
			grown.Go(func() {
				if s.Grow(60) {
					got <- s
				}
			})
		}
		synctest.Wait()
		if len(got) != 0 || i.Used() != 170 {
			t.Fatalf("%d got on beside the turn, %d are used", len(got), i.Used())
		}
		a.Shrink(120)
		synctest.Wait()
		if len(got) != 1 {
			t.Fatalf("%d got on when the turn ended", len(got))
		}
		first := <-got
		first.Close()
		grown.Wait()
		second := <-got
		second.Close()
		b.Close()
		if i.Used() != 0 {
			t.Fatalf("%d are left", i.Used())
		}
	})
}

// TestIntakeExpels: who has the turn and does not get on is expelled once others wait.
func TestIntakeExpels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := NewIntake(100, time.Minute)
		var a, b *Share
		expelled := time.Time{}
		a = i.Share(func() { expelled = time.Now(); a.Close() })
		b = i.Share(func() { t.Error("expelled the one who waited") })
		if !a.Grow(200) {
			t.Fatal("refused")
		}
		time.Sleep(time.Hour) // of the bubble: nobody waits
		if !expelled.IsZero() {
			t.Fatal("expelled although nobody waited")
		}
		began := time.Now()
		if !b.Grow(10) {
			t.Fatal("refused")
		}
		if waited := expelled.Sub(began); waited != time.Minute {
			t.Fatalf("expelled after %v", waited)
		}
		if a.Grow(1) {
			t.Fatal("a closed share grows")
		}
		a.Shrink(200) // it has given all back already
		if i.Used() != 10 {
			t.Fatalf("%d are used", i.Used())
		}
		b.Shrink(10)
	})
}

// TestIntakeCloseWakes: who waits is woken by the end of its own client.
func TestIntakeCloseWakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := NewIntake(10, 0)
		a, b := i.Share(func() {}), i.Share(func() {})
		a.Grow(11)
		ended := make(chan bool, 1)
		go func() { ended <- b.Grow(1) }()
		synctest.Wait()
		b.Close()
		if <-ended {
			t.Fatal("granted to a closed share")
		}
		if len(i.waiting) != 0 {
			t.Fatal("it still waits")
		}
		a.Close()
	})
}

// TestIntakeBound: whatever clients do, no more is used than the limit and what
// one of them takes beyond it, and all get on.
func TestIntakeBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const limit, most = 1000, 300
		i := NewIntake(limit, 0)
		clients := rapid.IntRange(1, 12).Draw(t, "clients")
		var sizes [][]int64
		for range clients {
			sizes = append(sizes, rapid.SliceOfN(rapid.Int64Range(1, most), 0, 20).Draw(t, "sizes"))
		}
		var all sync.WaitGroup
		for _, list := range sizes {
			s := i.Share(func() { panic("expelled") })
			all.Go(func() {
				defer s.Close()
				for n := range list {
					if !s.Grow(list[n]) {
						panic("refused")
					}
					if used := i.Used(); used > limit+20*most {
						panic("the bound does not hold")
					}
					if n%3 == 2 {
						s.Shrink(list[n] + list[n-1] + list[n-2])
					}
				}
			})
		}
		all.Wait()
		if i.Used() != 0 || i.turn != nil || len(i.waiting) != 0 {
			t.Fatalf("left: %d bytes, %d waiting", i.Used(), len(i.waiting))
		}
	})
}
