package replica

import (
	"errors"
	"testing"
	"time"

	"waybill/internal/record"
)

// A snapshot that was read to its end does not keep others from being read: a node that
// comes back with hundreds of groups fetches one after the other.
func TestServedSnapshotsMakeRoom(t *testing.T) {
	s := servings{list: map[serveKey]*serving{}}
	now := time.Unix(1, 0)
	add := func(group int) (*serving, error) {
		v := &serving{session: uint64(group), used: now}
		return v, s.add(serveKey{record.LogID(group), 2}, v)
	}
	for group := range 3 * servesLimit {
		v, err := add(group)
		if err != nil {
			t.Fatalf("group %d: %v", group, err)
		}
		v.through.Store(true)
	}
	for group := range servesLimit {
		if _, err := add(1000 + group); err != nil {
			t.Fatalf("group %d: %v", 1000+group, err)
		}
	}
	if _, err := add(2000); !errors.Is(err, errBusy) {
		t.Errorf("more than %d at once: %v", servesLimit, err)
	}
	now = now.Add(servesIdle + 1)
	if _, err := add(2000); err != nil {
		t.Errorf("after those that were given up: %v", err)
	}
}
