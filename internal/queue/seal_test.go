package queue

import (
	"errors"
	"testing"

	"waybill/internal/record"
)

// A sealed queue takes no message any more, also after a snapshot; what it holds can still be settled.
func TestSeal(t *testing.T) {
	m, entry := seedMachine(t)
	if _, err := m.Apply(AppendSeal(record.Header{Base: m.next}.Append(nil))); err != nil || !m.Sealed() {
		t.Fatalf("sealed %v, %v", m.Sealed(), err)
	}
	var again Machine
	if err := again.Restore(m.Snapshot(nil)); err != nil || !again.Sealed() {
		t.Fatalf("sealed %v after a snapshot, %v", again.Sealed(), err)
	}
	if _, err := again.Apply(entry); !errors.Is(err, ErrEntry) {
		t.Errorf("a message after the seal: %v", err)
	}
	held := m.Count()
	var one Offsets
	first, _ := m.live.First()
	one.Add(first, first+1)
	settle := appendSettle(record.Header{Base: m.next}.Append(nil), Purged, 4, &one)
	if _, err := m.Apply(settle); err != nil || m.Count() != held-1 {
		t.Errorf("%d of %d messages are left, %v", m.Count(), held, err)
	}
}

// Snapshots of queues from before there were seals are read.
func TestRestoreVersion1(t *testing.T) {
	m, _ := seedMachine(t)
	now := m.Snapshot(nil)
	old := append([]byte{1}, now[2:]...)
	var again Machine
	if err := again.Restore(old); err != nil || again.Sealed() || string(again.Snapshot(nil)) != string(now) {
		t.Errorf("restored %+v, %v", again, err)
	}
}
