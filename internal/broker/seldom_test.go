package broker

import (
	"testing"
	"time"
)

// TestSeldom: what happens again and again is said once a minute, and then how often it was not.
func TestSeldom(t *testing.T) {
	var s seldom
	now := time.Unix(1000, 0)
	if unsaid, ok := s.now(now); !ok || unsaid != 0 {
		t.Errorf("the first time: %d, %v", unsaid, ok)
	}
	for range 5 {
		now = now.Add(time.Second)
		if _, ok := s.now(now); ok {
			t.Error("it is said again")
		}
	}
	now = now.Add(seldomPause)
	if unsaid, ok := s.now(now); !ok || unsaid != 5 {
		t.Errorf("after a minute: %d, %v", unsaid, ok)
	}
}
