package storage

import (
	"testing"
	"time"
)

// TestBlankingLeavesTheDisk: the next WAL file does not come about at the cost of
// the batches, and is there in time all the same.
func TestBlankingLeavesTheDisk(t *testing.T) {
	const size = 64 << 20
	b := &blanking{store: &Store{}, size: size, next: blankLeast}
	for _, c := range []struct {
		what    string
		at      int64 // of the file that is being filled
		filled  int64 // of the one that is written
		batches bool
		next    int64
		pause   time.Duration
	}{
		{"batches", size / 2, size / 8, true, blankLeast, 4 * time.Millisecond},
		{"none", size / 2, size / 8, false, 2 * blankLeast, 0},
		{"none again", size / 2, size / 8, false, 4 * blankLeast, 0},
		{"and again", size / 2, size / 8, false, blankMost, 0},
		{"batches again", size / 2, size / 4, true, blankLeast, 4 * time.Millisecond},
		{"many batches", size / 2, size/2 + 1<<20, true, blankMost, 0},
		{"an empty file", 0, 0, true, blankLeast, 4 * time.Millisecond},
		{"and a batch", 0, 1 << 20, true, blankMost, 0},
	} {
		b.at = c.at
		b.store.filled.set(c.filled, size)
		if pause := b.judge(time.Millisecond, c.batches); pause != c.pause || b.next != c.next {
			t.Errorf("%s: then %d bytes after %v, want %d after %v", c.what, b.next, pause, c.next, c.pause)
		}
	}
	if pause := b.judge(time.Second, true); pause > leaveMost {
		t.Errorf("a slow disk is left alone for %v", pause)
	}
}
