package replica

import (
	"testing"
	"time"
)

// TestLazyPostAfterTheRest: what is posted lazily while a rest ends is not left
// with a shard that has fallen asleep: the end of the rest is looked at under the
// lock under which the shard falls asleep.
func TestLazyPostAfterTheRest(t *testing.T) {
	s := newShard(&Config{Now: time.Now}, newMetrics(nil))
	s.pace.resting.Store(true)
	s.mu.Lock() // the shard is about to fall asleep
	posted := make(chan bool)
	begun := make(chan struct{})
	go func() {
		close(begun)
		posted <- s.postLazily(item{kind: itemPost})
	}()
	<-begun
	for s.pace.stirred.Load() == 0 { // it is on its way
		time.Sleep(time.Microsecond)
	}
	time.Sleep(time.Millisecond) // to whatever it looks at before the lock
	s.pace.resting.Store(false)
	s.asleep = true
	s.mu.Unlock()
	if !<-posted {
		t.Fatal("not posted")
	}
	select {
	case <-s.wake:
	default:
		t.Error("the shard sleeps, with something in its inbox")
	}
}
