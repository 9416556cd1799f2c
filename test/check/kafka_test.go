package check_test

import (
	"errors"
	"testing"

	"pgregory.net/rapid"

	"waybill/test/check"
)

// log is a good broker's partition, and clients that tell the checker of it.
type log struct {
	k *check.Kafka
	p *check.Partition
	n int64
}

// healthyLog has ten acked values of producer 1, at their counters' offsets.
func healthyLog() *log {
	k := new(check.Kafka)
	l := &log{k: k, p: k.Partition("t", 0)}
	for i := range uint32(10) {
		l.send(val(1, i))
	}
	return l
}

func (l *log) send(v check.Value) {
	l.k.Attempt(v)
	l.p.Acked(v, l.n)
	l.n++
}

// drain reads everything, as values of producer 1 at their offsets, and calls
// see instead for the offsets it has.
func (l *log) drain(instead map[int64]func()) *check.Report {
	for off := range l.n {
		if f := instead[off]; f != nil {
			f()
		} else {
			l.p.Seen(val(1, uint32(off)), off)
		}
	}
	l.p.Drained(0, l.n)
	return l.k.Report()
}

func TestKafkaHealthy(t *testing.T) {
	l := healthyLog()
	l.k.Attempt(val(1, 10)) // unknown, and done
	l.n++
	l.k.Attempt(val(1, 11)) // unknown, and not done
	l.k.Attempt(val(2, 0))
	l.k.Refused(val(2, 0))
	l.drain(nil)
	r := l.drain(nil) // a second drain is no duplicate
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
	want := "attempted 13, acked 10, refused 1, received 11, recovered 1, duplicates 0, discarded 0: no anomalies"
	if r.String() != want {
		t.Errorf("report: %s\nwant:   %s", r, want)
	}
}

func TestKafkaDiscarded(t *testing.T) {
	l := healthyLog()
	for off := int64(4); off < 10; off++ {
		l.p.Seen(val(1, uint32(off)), off)
	}
	l.p.Drained(4, 10)
	if r := l.k.Report(); r.Err() != nil || r.Discarded != 4 {
		t.Errorf("4 are below the start: %v", r)
	}
}

func TestKafkaFinds(t *testing.T) {
	nothing := func() {}
	for _, c := range []struct {
		name  string
		kinds map[check.Kind]int
		run   func(l *log) *check.Report
	}{
		{"a lost write", map[check.Kind]int{check.Lost: 1, check.Gap: 1}, func(l *log) *check.Report {
			return l.drain(map[int64]func(){5: nothing})
		}},
		{"a lost write whose offset was given away", map[check.Kind]int{check.Lost: 1, check.Inconsistent: 1, check.BackInTime: 1},
			func(l *log) *check.Report {
				return l.drain(map[int64]func(){5: func() {
					l.k.Attempt(val(2, 0))
					l.p.Seen(val(2, 0), 5)
				}, 6: func() { l.p.Seen(val(1, 6), 6) }})
			}},
		{"an unseen tail", map[check.Kind]int{check.Unseen: 2}, func(l *log) *check.Report {
			l.n = 8
			return l.drain(nil)
		}},
		{"a duplicate", map[check.Kind]int{check.Duplicated: 1}, func(l *log) *check.Report {
			l.n++
			return l.drain(map[int64]func(){10: func() { l.p.Seen(val(1, 3), 10) }})
		}},
		{"a duplicate in another partition", map[check.Kind]int{check.Duplicated: 1}, func(l *log) *check.Report {
			l.k.Partition("t", 1).Seen(val(1, 9), 0)
			return l.drain(nil)
		}},
		{"a value acked twice", map[check.Kind]int{check.Duplicated: 1, check.Misplaced: 1}, func(l *log) *check.Report {
			l.p.Acked(val(1, 9), 20)
			return l.drain(nil)
		}},
		{"an offset that changes", map[check.Kind]int{check.Inconsistent: 1}, func(l *log) *check.Report {
			l.drain(nil)
			l.k.Attempt(val(3, 0))
			l.k.Attempt(val(3, 1))
			l.p.Seen(val(3, 0), 10)
			l.p.Seen(val(3, 1), 10)
			return l.k.Report()
		}},
		{"two acks with one offset", map[check.Kind]int{check.SharedAck: 1, check.Unseen: 2}, func(l *log) *check.Report {
			k := new(check.Kafka)
			p := k.Partition("t", 0)
			k.Attempt(val(1, 0))
			k.Attempt(val(2, 0))
			p.Acked(val(1, 0), 0)
			p.Acked(val(2, 0), 0)
			return k.Report()
		}},
		{"an ack where another value was seen", map[check.Kind]int{check.Inconsistent: 1, check.Lost: 1}, func(l *log) *check.Report {
			k := new(check.Kafka)
			p := k.Partition("t", 0)
			k.Attempt(val(1, 0))
			k.Attempt(val(2, 0))
			p.Seen(val(1, 0), 0)
			p.Acked(val(2, 0), 0)
			return k.Report()
		}},
		{"a record at another offset than acked", map[check.Kind]int{check.Misplaced: 1, check.Gap: 1},
			func(l *log) *check.Report {
				l.n++
				return l.drain(map[int64]func(){9: nothing, 10: func() { l.p.Seen(val(1, 9), 10) }})
			}},
		{"a gap", map[check.Kind]int{check.Gap: 2}, func(l *log) *check.Report {
			l.n += 3
			return l.drain(map[int64]func(){10: nothing, 11: nothing, 12: func() {
				l.k.Attempt(val(1, 12))
				l.p.Seen(val(1, 12), 12)
			}})
		}},
		{"an invented record", map[check.Kind]int{check.Unexpected: 1}, func(l *log) *check.Report {
			l.n++
			return l.drain(map[int64]func(){10: func() { l.p.Seen(val(7, 7), 10) }})
		}},
		{"a refused record", map[check.Kind]int{check.Unexpected: 1}, func(l *log) *check.Report {
			l.k.Attempt(val(1, 10))
			l.k.Refused(val(1, 10))
			l.n++
			return l.drain(nil)
		}},
		{"sends out of order", map[check.Kind]int{check.NonmonotonicSend: 1}, func(l *log) *check.Report {
			l.k.Attempt(val(1, 10))
			l.k.Attempt(val(1, 11))
			l.p.Acked(val(1, 11), 10)
			l.p.Acked(val(1, 10), 11)
			l.n = 12
			return l.drain(map[int64]func(){
				10: func() { l.p.Seen(val(1, 11), 10) },
				11: func() { l.p.Seen(val(1, 10), 11) },
			})
		}},
		{"a write into the past", map[check.Kind]int{check.BackInTime: 1, check.Unseen: 2}, func(l *log) *check.Report {
			k := new(check.Kafka)
			p := k.Partition("t", 0)
			k.Attempt(val(1, 0))
			p.Acked(val(1, 0), 5)
			k.Attempt(val(2, 0))
			p.Acked(val(2, 0), 4)
			return k.Report()
		}},
		{"a recovered write into the past", map[check.Kind]int{check.BackInTime: 1, check.Unseen: 1}, func(l *log) *check.Report {
			k := new(check.Kafka)
			p := k.Partition("t", 0)
			k.Attempt(val(1, 0))
			p.Acked(val(1, 0), 5)
			k.Attempt(val(2, 0))
			p.Seen(val(2, 0), 4)
			return k.Report()
		}},
		{"garbage", map[check.Kind]int{check.Malformed: 1}, func(l *log) *check.Report {
			l.k.Malformed(errors.New("oops"))
			return l.drain(nil)
		}},
		{"a poll that goes back", map[check.Kind]int{check.NonmonotonicPoll: 1}, func(l *log) *check.Report {
			l.drain(nil)
			c := l.k.Consumer()
			c.Polled(l.records(0, 1, 2))
			c.Polled(l.records(2, 3))
			return l.k.Report()
		}},
		{"a poll with a skip inside", map[check.Kind]int{check.InternalPollSkip: 1}, func(l *log) *check.Report {
			l.drain(nil)
			l.k.Consumer().Polled(l.records(0, 1, 4))
			return l.k.Report()
		}},
		{"a skip between polls", map[check.Kind]int{check.PollSkip: 1}, func(l *log) *check.Report {
			l.drain(nil)
			c := l.k.Consumer()
			c.Polled(l.records(0, 1))
			c.Polled(l.records(4))
			return l.k.Report()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.run(healthyLog())
			var kinds []check.Kind
			for kind, count := range c.kinds {
				kinds = append(kinds, kind)
				if r.Count(kind) != count {
					t.Errorf("want %d %s; the report is\n%v", count, kind, r)
				}
			}
			if r.Err() == nil || r.Err(kinds...) != nil {
				t.Errorf("want %v alone; the report is\n%v", kinds, r)
			}
		})
	}
}

func (l *log) records(offsets ...int64) (recs []check.Polled) {
	for _, off := range offsets {
		recs = append(recs, check.Polled{Partition: l.p, Offset: off, Value: val(1, uint32(off))})
	}
	return recs
}

func TestConsumerMayMove(t *testing.T) {
	l := healthyLog()
	l.drain(nil)
	c := l.k.Consumer()
	c.Polled(l.records(0, 1, 2))
	c.Moved(l.p)
	c.Polled(l.records(1, 2))
	c.Moved(l.p)
	c.Polled(l.records(7, 8))
	if err := l.k.Report().Err(); err != nil {
		t.Error(err)
	}
}

// Random histories of a correct partition have no anomalies.
func TestKafkaNeverCriesWolf(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		k := new(check.Kafka)
		p := k.Partition("t", 0)
		var counters [3]uint32
		var stored []check.Value
		var open []check.Value // attempted, not stored
		ack := make(map[check.Value]int64)
		c := k.Consumer()
		next := 0
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				id := rapid.IntRange(0, 2).Draw(t, "producer")
				v := val(uint32(id), counters[id])
				counters[id]++
				k.Attempt(v)
				open = append(open, v)
			case 1:
				if len(open) > 0 {
					ack[open[0]] = int64(len(stored))
					stored, open = append(stored, open[0]), open[1:]
				}
			case 2:
				for v, off := range ack {
					if rapid.Bool().Draw(t, "answered") {
						p.Acked(v, off)
					}
					delete(ack, v)
					break
				}
			case 3:
				var recs []check.Polled
				for range rapid.IntRange(0, len(stored)-next).Draw(t, "polled") {
					recs = append(recs, check.Polled{Partition: p, Offset: int64(next), Value: stored[next]})
					next++
				}
				c.Polled(recs)
			}
		}
		for off, v := range stored {
			p.Seen(v, int64(off))
		}
		p.Drained(0, int64(len(stored)))
		if err := k.Report().Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestCommits(t *testing.T) {
	var c check.Commits
	fetched := func(off int64) { c.Fetched("g", "t", 0, off) }
	try := func(off int64) { c.Attempt("g", "t", 0, off) }
	fetched(check.NoCommit)
	try(5)
	c.Answered("g", "t", 0, 5)
	fetched(5)
	try(7) // unknown
	try(9) // unknown
	fetched(7)
	fetched(7)
	r := c.Report()
	if err := r.Err(); err != nil || r.Recovered != 1 {
		t.Fatal(r)
	}
	fetched(9) // decided twice
	expect(t, c.Report(), check.CommitUnexpected, 1, "9 is committed")
	c = check.Commits{}
	try(5)
	c.Answered("g", "t", 0, 5)
	try(7)
	c.Answered("g", "t", 0, 7)
	fetched(5)
	expect(t, c.Report(), check.CommitLost, 1, "7 was answered, and 5 is committed")
	c = check.Commits{}
	try(5)
	c.Answered("g", "t", 0, 5)
	fetched(check.NoCommit)
	expect(t, c.Report(), check.CommitLost, 1, "-1 is committed")
}

func BenchmarkKafka(b *testing.B) {
	k := new(check.Kafka)
	p := k.Partition("t", 0)
	c := k.Consumer()
	for i := range b.N {
		v := val(uint32(i%8), uint32(i/8))
		k.Attempt(v)
		p.Acked(v, int64(i))
		c.Polled([]check.Polled{{Partition: p, Offset: int64(i), Value: v}})
	}
	p.Drained(0, int64(b.N))
	if err := k.Report().Err(); err != nil {
		b.Fatal(err)
	}
}
