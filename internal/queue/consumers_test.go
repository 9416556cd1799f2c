package queue

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"waybill/internal/record"
)

// shelf is a Source that has every message.
type shelf struct{ body []byte }

func (s shelf) Read(off record.Offset, m *record.Message) int {
	*m = record.Message{TTL: record.NoTTL, Body: s.body}
	return 22 + len(s.body)
}

// eater is a consumer with room for some messages.
type eater struct {
	Sub
	name string
	room int
	log  *[]string
}

func (e *eater) Take(int) bool {
	e.room--
	return e.room >= 0
}

func (e *eater) Deliver(d *Delivery) {
	*e.log = append(*e.log, fmt.Sprintf("%s%d", e.name, d.Offset))
}

// fill puts n messages into the queue, deliverable ones.
func fill(t testing.TB, m *Machine, l *Leader, n int, body []byte) {
	h := record.Header{Base: m.next, Count: uint32(n)}
	msg := record.Message{TTL: record.NoTTL, Body: body}
	batch := Batch{Count: n, Size: n * msg.EncodedLen(), Bytes: int64(n * len(body))}
	b := batch.AppendHead(l.Append(h.Append(nil), h.End()))
	for range n {
		b = msg.Append(b)
	}
	a, err := m.Apply(b)
	if err != nil {
		t.Fatal(err)
	}
	l.Applied(a)
}

func newEaters(t *testing.T, c Config, subs ...*eater) (*Machine, *Leader, *[]string) {
	m, log := &Machine{}, &[]string{}
	c.MessageTTL, c.MaxBytes = record.NoTTL, -1
	if c.MaxLength == 0 {
		c.MaxLength = -1
	}
	l := NewLeader(m, c, shelf{})
	for _, s := range subs {
		s.Consumer, s.log = s, log
		if err := l.Subscribe(&s.Sub); err != nil {
			t.Fatal(err)
		}
	}
	return m, l, log
}

func expect(t *testing.T, log *[]string, want string) {
	t.Helper()
	if got := strings.Join(*log, " "); got != want {
		t.Fatalf("delivered %q, want %q", got, want)
	}
	*log = nil
}

func TestConsumersTakeTurns(t *testing.T) {
	a, b, c := &eater{name: "a", room: 9}, &eater{name: "b", room: 1}, &eater{name: "c", room: 9}
	m, l, log := newEaters(t, Config{}, a, b, c)
	fill(t, m, l, 6, nil)
	l.Run(0, 0)
	expect(t, log, "a0 b1 c2 a3 c4 a5") // b has no room any more
	b.room = 1
	l.Resume(&b.Sub)
	fill(t, m, l, 3, nil)
	l.Run(0, 6)
	expect(t, log, "c6 a7 b8")
}

func TestConsumerPriority(t *testing.T) {
	low, high := &eater{name: "low", room: 9}, &eater{name: "high", room: 2}
	low.Priority, high.Priority = -1, 5
	m, l, log := newEaters(t, Config{}, low, high)
	fill(t, m, l, 4, nil)
	l.Run(0, 0)
	expect(t, log, "high0 high1 low2 low3")
	l.Cancel(&high.Sub)
	if n := len(l.consumers.levels); n != 1 {
		t.Fatalf("%d levels are left, want 1", n)
	}
}

func TestSingleActiveConsumer(t *testing.T) {
	a, b := &eater{name: "a", room: 1}, &eater{name: "b", room: 9}
	m, l, log := newEaters(t, Config{SingleActive: true}, a, b)
	fill(t, m, l, 3, nil)
	l.Run(0, 0)
	expect(t, log, "a0") // b does not step in
	if err := l.Pull(&Sub{}); !errors.Is(err, ErrSingleActive) {
		t.Fatalf("pull: %v", err)
	}
	l.Close(&a.Sub)
	l.Run(0, 0)
	expect(t, log, "b0 b1 b2")
}

func TestExclusiveConsumer(t *testing.T) {
	a := &eater{name: "a"}
	a.Exclusive = true
	_, l, _ := newEaters(t, Config{}, a)
	b := &eater{name: "b"}
	b.Consumer = b
	for _, err := range []error{l.Subscribe(&b.Sub), l.Pull(&Sub{})} {
		if !errors.Is(err, ErrExclusive) {
			t.Fatalf("beside an exclusive consumer: %v", err)
		}
	}
	l.Cancel(&a.Sub)
	if err := l.Subscribe(&b.Sub); err != nil {
		t.Fatal(err)
	}
	if err := l.Subscribe(&a.Sub); !errors.Is(err, ErrExclusive) {
		t.Fatalf("exclusive beside another: %v", err)
	}
}

func TestFullRejectsOnlyWhenNobodyHasRoom(t *testing.T) {
	a := &eater{name: "a", room: 1}
	m, l, _ := newEaters(t, Config{MaxLength: 2, Overflow: RejectPublish}, a)
	if l.Full(5, 0) {
		t.Fatal("full, though the consumer has room")
	}
	fill(t, m, l, 2, nil)
	l.Run(0, 0)
	if l.Full(0, 0) || !l.Full(1, 0) {
		t.Fatalf("with 1 of 2 ready: full %v, with one more on its way %v", l.Full(0, 0), l.Full(1, 0))
	}
}

// BenchmarkLeader is the leader's part of the life of a message: applied,
// delivered, acknowledged, settled.
func BenchmarkLeader(b *testing.B) {
	b.ReportAllocs()
	const batch = 64
	m := &Machine{}
	l := NewLeader(m, Config{MessageTTL: record.NoTTL, MaxLength: -1, MaxBytes: -1}, shelf{make([]byte, 1024)})
	s := &acker{}
	s.Consumer = s
	if err := l.Subscribe(&s.Sub); err != nil {
		b.Fatal(err)
	}
	msg := record.Message{TTL: record.NoTTL, Body: make([]byte, 1024)}
	p := Batch{Count: batch, Size: batch * msg.EncodedLen(), Bytes: batch * 1024}
	var messages, entry []byte
	for range batch {
		messages = msg.Append(messages)
	}
	for range b.N / batch {
		h := record.Header{Base: m.next, Count: batch}
		entry = p.AppendHead(l.Append(h.Append(entry[:0]), h.End()))
		entry = append(entry, messages...)
		a, err := m.Apply(entry)
		if err != nil {
			b.Fatal(err)
		}
		l.Applied(a)
		l.Run(0, a.Base)
		l.Accept(&s.Sub, s.got)
		s.got = s.got[:0]
	}
}

type acker struct {
	Sub
	got []record.Offset
}

func (a *acker) Take(int) bool       { return true }
func (a *acker) Deliver(d *Delivery) { a.got = append(a.got, d.Offset) }
