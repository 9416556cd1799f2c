package check_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"waybill/test/check"
)

func val(producer, counter uint32) check.Value {
	return check.Value{Producer: producer, Counter: counter}
}

// healthyQueue is what a good broker does with ten acked values, one refused
// and two whose outcome is unknown.
func healthyQueue(skip ...uint32) *check.Queue {
	q := new(check.Queue)
	for i := range uint32(10) {
		q.Attempt(val(1, i))
		q.Acked(val(1, i))
	}
	for _, v := range []check.Value{val(1, 10), val(1, 11), val(2, 0)} {
		q.Attempt(v)
	}
	q.Refused(val(2, 0))
	for i := range uint32(11) { // 10 is recovered, 11 is not
		if !slices.Contains(skip, i) {
			q.Received(val(1, i), false)
		}
	}
	return q
}

func TestQueueHealthy(t *testing.T) {
	q := healthyQueue()
	q.Received(val(1, 3), true)
	r := q.Report()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	want := "attempted 13, acked 10, refused 1, received 11, recovered 1, duplicates 1, discarded 0: no anomalies"
	if r.String() != want {
		t.Errorf("report: %s\nwant:   %s", r, want)
	}
	if q.Missing() != 0 {
		t.Errorf("%d missing", q.Missing())
	}
}

func TestQueueFinds(t *testing.T) {
	for _, c := range []struct {
		name  string
		kind  check.Kind
		count int
		text  string
		queue func() *check.Queue
	}{
		{"a prefix", check.Lost, 2, "2 acked values from 1-0 to 1-1, a prefix", func() *check.Queue { return healthyQueue(0, 1) }},
		{"a middle", check.Lost, 1, "1-5, in the middle", func() *check.Queue { return healthyQueue(5) }},
		{"two middles", check.Lost, 2, "1-7, in the middle", func() *check.Queue { return healthyQueue(5, 7) }},
		{"a postfix", check.Lost, 3, "3 acked values from 1-7 to 1-9, a postfix", func() *check.Queue { return healthyQueue(7, 8, 9) }},
		{"everything", check.Lost, 10, "everything", func() *check.Queue {
			return healthyQueue(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
		}},
		{"an invented value", check.Unexpected, 1, "9-9 was never attempted", func() *check.Queue {
			q := healthyQueue()
			q.Received(val(9, 9), false)
			return q
		}},
		{"a refused value", check.Unexpected, 1, "2-0 was refused", func() *check.Queue {
			q := healthyQueue()
			q.Received(val(2, 0), false)
			return q
		}},
		{"an unmarked duplicate", check.Duplicated, 1, "1-3 was delivered again", func() *check.Queue {
			q := healthyQueue()
			q.Received(val(1, 3), false)
			return q
		}},
		{"a settled value", check.RedeliveredSettle, 1, "1-3", func() *check.Queue {
			q := healthyQueue()
			q.Settled(val(1, 3))
			q.Received(val(1, 3), true)
			return q
		}},
		{"garbage", check.Malformed, 1, "oops", func() *check.Queue {
			q := healthyQueue()
			q.Malformed(errors.New("oops"))
			return q
		}},
	} {
		t.Run(c.name, func(t *testing.T) { expect(t, c.queue().Report(), c.kind, c.count, c.text) })
	}
}

// expect wants a report of that many anomalies of this kind alone.
func expect(t *testing.T, r *check.Report, kind check.Kind, count int, text string) {
	t.Helper()
	if r.Count(kind) != count || r.Err() == nil || r.Err(kind) != nil || !strings.Contains(r.Err().Error(), text) {
		t.Errorf("want %d %s alone, and %q; the report is\n%v", count, kind, text, r)
	}
}

func TestQueueDiscarded(t *testing.T) {
	q := healthyQueue(4, 5)
	if q.Missing() != 2 {
		t.Errorf("%d missing, want 2", q.Missing())
	}
	q.Discarded(val(1, 4))
	q.Discarded(val(1, 5))
	r := q.Report()
	if err := r.Err(); err != nil || r.Discarded != 2 || q.Missing() != 0 {
		t.Errorf("2 are discarded: %v", r)
	}
}

func TestPayload(t *testing.T) {
	for _, size := range []int{0, 5, 100, 1024} {
		v := val(4294967295, uint32(size))
		b := v.Payload(size)
		if len(b) < size {
			t.Errorf("a payload of %d bytes has %d", size, len(b))
		}
		if got, err := check.ParsePayload(b); got != v || err != nil {
			t.Errorf("ParsePayload: %v, %v", got, err)
		}
		for i := range b {
			b[i] ^= 1
			if got, err := check.ParsePayload(b); err == nil && got == v {
				t.Errorf("a changed byte %d of %d is not found", i, len(b))
			}
			b[i] ^= 1
		}
	}
	if v, err := check.ParseValue([]byte("12-345")); v != val(12, 345) || err != nil {
		t.Errorf("ParseValue: %v, %v", v, err)
	}
	for _, bad := range []string{"", "-", "1", "1-", "-1", "1-2x", "x1-2", "4294967296-1", "1-99999999999999999999", "1 2"} {
		if v, err := check.ParseValue([]byte(bad)); !errors.Is(err, check.ErrValue) {
			t.Errorf("ParseValue(%q): %v, %v", bad, v, err)
		}
		if v, err := check.ParsePayload([]byte(bad)); !errors.Is(err, check.ErrValue) {
			t.Errorf("ParsePayload(%q): %v, %v", bad, v, err)
		}
	}
}

func FuzzParsePayload(f *testing.F) {
	f.Add(val(1, 2).Payload(40))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := check.ParsePayload(b); err == nil {
			if again, err := check.ParsePayload(v.Payload(len(b))); again != v || err != nil {
				t.Errorf("%v, then %v, %v", v, again, err)
			}
		}
	})
}

func BenchmarkQueue(b *testing.B) {
	q := new(check.Queue)
	for i := range uint32(b.N) {
		v := val(i%8, i/8)
		q.Attempt(v)
		q.Acked(v)
		q.Received(v, false)
	}
	if err := q.Report().Err(); err != nil {
		b.Fatal(err)
	}
}
