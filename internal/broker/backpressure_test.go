package broker

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestBudget: publishers wait while the budget is spent, one message larger
// than all of it passes, and what is given back lets the next ones in.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(100)
		b.acquire(1000) // larger than the budget, but it is unspent
		var in atomic.Int32
		for range 3 {
			go func() {
				b.acquire(60)
				in.Add(1)
			}()
		}
		synctest.Wait()
		if n := in.Load(); n != 0 {
			t.Fatalf("%d passed a spent budget", n)
		}
		b.release(1000)
		synctest.Wait()
		if n := in.Load(); n != 2 {
			t.Fatalf("%d passed, want 2: the second overdraws what is left", n)
		}
		b.release(60)
		synctest.Wait()
		if n := in.Load(); n != 3 {
			t.Fatalf("%d passed, want 3", n)
		}
		b.release(120)
		if n := b.used.Load(); n != 0 {
			t.Fatalf("%d bytes are in use after all was given back", n)
		}
	})
}

// TestAlarm: publishing waits while it is on; listeners hear each change once.
func TestAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Broker)
		b.alarm.init()
		b.SetAlarm("no disk")
		var heard []string
		stop := b.OnAlarm(func(reason string) { heard = append(heard, reason) })
		var passed atomic.Bool
		go func() {
			b.alarm.wait()
			passed.Store(true)
		}()
		synctest.Wait()
		if passed.Load() {
			t.Fatal("passed while the alarm was on")
		}
		b.SetAlarm("no disk")
		b.SetAlarm("")
		synctest.Wait()
		if !passed.Load() {
			t.Fatal("still waiting after the alarm")
		}
		stop()
		b.SetAlarm("again")
		if len(heard) != 2 || heard[0] != "no disk" || heard[1] != "" {
			t.Fatalf("heard %q", heard)
		}
	})
}
