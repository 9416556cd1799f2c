package queue

import (
	"bytes"
	"testing"

	"waybill/internal/record"
)

// seedMachine is a queue with some history, and an entry that it can apply.
func seedMachine(t testing.TB) (m *Machine, entry []byte) {
	m = &Machine{}
	l := NewLeader(m, Config{MessageTTL: record.NoTTL, MaxLength: -1, MaxBytes: -1}, shelf{})
	s := &acker{}
	s.Consumer = s
	if err := l.Subscribe(&s.Sub); err != nil {
		t.Fatal(err)
	}
	fill(t, m, l, 10, []byte("body"))
	l.Run(0, 0)
	l.Accept(&s.Sub, []record.Offset{1, 3, 4, 7})
	fill(t, m, l, 3, []byte("body"))
	l.Accept(&s.Sub, []record.Offset{0})
	l.Discard(&s.Sub, []record.Offset{5, 6})
	h := record.Header{Base: m.next, Count: 1}
	msg := record.Message{TTL: 5, Body: []byte("more")}
	batch := Batch{Count: 1, Size: msg.EncodedLen(), Bytes: 4, Expiring: true}
	return m, msg.Append(batch.AppendHead(l.Append(h.Append(nil), h.End())))
}

func FuzzApply(f *testing.F) {
	seed, entry := seedMachine(f)
	f.Add(entry)
	f.Add(AppendSeal(record.Header{Base: seed.next}.Append(nil)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, _ := seedMachine(t)
		count := m.Count()
		a, err := m.Apply(data)
		if err != nil {
			return
		}
		if m.Count() > count+int64(a.Count) || m.Bytes() < 0 || m.Delivered() > m.Next() {
			t.Fatalf("count %d, bytes %d, delivered %d of %d", m.Count(), m.Bytes(), m.Delivered(), m.Next())
		}
		_, payload, _ := record.ParseHeader(data)
		if _, err := Messages(payload); err != nil {
			t.Fatalf("applied, but its messages cannot be found: %v", err)
		}
	})
}

func FuzzRestore(f *testing.F) {
	m, entry := seedMachine(f)
	f.Add(m.Snapshot(nil))
	m.Apply(entry)
	f.Add(m.Snapshot(nil))
	m.sealed = true
	f.Add(m.Snapshot(nil))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m Machine
		if m.Restore(data) != nil {
			return
		}
		again := m.Snapshot(nil)
		var n Machine
		if err := n.Restore(again); err != nil || !bytes.Equal(n.Snapshot(nil), again) {
			t.Fatalf("a restored state does not survive a snapshot: %v", err)
		}
	})
}
