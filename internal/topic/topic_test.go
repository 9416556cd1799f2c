package topic

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"waybill/internal/record"
	"waybill/internal/record/recordtest"
)

func defaults(t interface{ Fatal(...any) }, layers ...map[string]string) *Config {
	c, err := ParseConfig(layers...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// model is a partition as its clients see it: the batches in order, and for each
// producer its epoch and the batches it wrote in it.
type model struct {
	values    []string
	start     int
	producers map[int64]*modelProducer
}

type modelProducer struct {
	epoch   int16
	batches []modelBatch
}

type modelBatch struct {
	first, count int32
	base         int
}

// append says what must become of a batch: its base offset, or the reason why
// it is refused.
func (m *model) append(b record.Batch, values []string) (base int, reason Reason, ok bool) {
	first, n := b.BaseSequence(), b.Count()
	p := m.producers[b.ProducerID()]
	switch {
	case p == nil && first != 0:
		return 0, UnknownProducer, false
	case p != nil && b.ProducerEpoch() < p.epoch:
		return 0, StaleEpoch, false
	case p != nil && b.ProducerEpoch() > p.epoch && first != 0:
		return 0, OutOfOrder, false
	}
	if p == nil || b.ProducerEpoch() > p.epoch {
		p = &modelProducer{epoch: b.ProducerEpoch()}
		m.producers[b.ProducerID()] = p
	} else {
		for _, w := range p.batches[max(0, len(p.batches)-5):] {
			if w.first == first && w.count == n {
				return w.base, 0, true
			}
		}
		last := p.batches[len(p.batches)-1]
		if (int64(last.first)+int64(last.count))%(1<<31) != int64(first) {
			return 0, OutOfOrder, false
		}
	}
	p.batches = append(p.batches, modelBatch{first, n, len(m.values)})
	base = len(m.values)
	m.values = append(m.values, values...)
	return base, 0, true
}

// pair is a leader and a follower that applies the same entries.
type pair struct {
	leader, follower *Topic
	built            [][]byte
	applied          [][]byte
	term             uint64
	now              int64
}

func (p *pair) commit(t *rapid.T, n int) {
	for _, data := range p.built[:n] {
		for _, m := range []*Topic{p.leader, p.follower} {
			if err := m.Apply(p.term, bytes.Clone(data)); err != nil {
				t.Fatal(err)
			}
		}
		p.applied = append(p.applied, data)
	}
	p.built = p.built[n:]
}

func TestAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &pair{leader: New(), follower: New(), term: 2, now: 1000}
		p.leader.Lead(p.term)
		m := &model{producers: map[int64]*modelProducer{}}
		cfg := defaults(t)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				p.now += int64(rapid.IntRange(0, 5000).Draw(t, "ms"))
				p.leader.Begin(p.now, 0)
				if rapid.Bool().Draw(t, "whole") {
					appendOne(t, p, m, func(b record.Batch) (Result, error) {
						return p.leader.AddWhole(append(bytes.Repeat([]byte{0xff}, Overhead), b...), cfg)
					})
				} else {
					for range rapid.IntRange(1, 4).Draw(t, "batches") {
						appendOne(t, p, m, func(b record.Batch) (Result, error) { return p.leader.Add(b, cfg) })
					}
				}
				if data := p.leader.Entry(); data != nil {
					p.built = append(p.built, data)
				}
			},
			"commit": func(t *rapid.T) { p.commit(t, rapid.IntRange(0, len(p.built)).Draw(t, "entries")) },
			"move start": func(t *rapid.T) {
				p.commit(t, len(p.built))
				to := rapid.IntRange(0, len(m.values)).Draw(t, "to")
				p.built = append(p.built, p.leader.MoveStart(p.now, record.Offset(to)))
				p.commit(t, 1)
				m.start = max(m.start, to)
			},
			"fail over": func(t *rapid.T) {
				p.commit(t, len(p.built))
				p.leader.Follow()
				p.leader, p.follower = p.follower, p.leader
				p.term++
				p.leader.Lead(p.term)
			},
			"restart": func(t *rapid.T) {
				p.commit(t, len(p.built))
				restored := New()
				if err := restored.Restore(p.leader.Snapshot(nil)); err != nil {
					t.Fatal(err)
				}
				p.leader = restored
				p.leader.Lead(p.term)
			},
			"": func(t *rapid.T) { compare(t, p, m) },
		})
	})
}

func appendOne(t *rapid.T, p *pair, m *model, add func(record.Batch) (Result, error)) {
	id := rapid.Int64Range(0, 2).Draw(t, "producer")
	epoch := rapid.Int16Range(0, 1).Draw(t, "epoch")
	n := rapid.IntRange(1, 3).Draw(t, "records")
	sequence := int32(0)
	if mp := m.producers[id]; mp != nil && rapid.IntRange(0, 9).Draw(t, "how") > 0 {
		epoch = mp.epoch
		k := rapid.IntRange(max(0, len(mp.batches)-7), len(mp.batches)).Draw(t, "batch")
		if k < len(mp.batches) { // again
			sequence, n = mp.batches[k].first, int(mp.batches[k].count)
		} else {
			last := mp.batches[k-1]
			sequence = record.AddSequence(last.first, last.count)
		}
	}
	b := recordtest.N(n, id, epoch, sequence)
	var values []string
	for i := range n {
		values = append(values, fmt.Sprintf("%d/%d/%d", id, epoch, record.AddSequence(sequence, int32(i))))
	}
	base, reason, ok := m.append(b, values)
	r, err := add(b)
	var refused *Error
	switch {
	case ok && (err != nil || r.Base != record.Offset(base) || r.End != record.Offset(base+n)):
		t.Fatalf("sequence %d of producer %d: %+v, %v; want base %d", sequence, id, r, err, base)
	case !ok && (!errors.As(err, &refused) || refused.Reason != reason):
		t.Fatalf("sequence %d of producer %d: %+v, %v; want reason %d", sequence, id, r, err, reason)
	}
}

func compare(t *rapid.T, p *pair, m *model) {
	if !bytes.Equal(p.leader.Snapshot(nil), p.follower.Snapshot(nil)) {
		t.Fatal("the replicas differ")
	}
	if int(p.leader.Start()) != m.start || int(p.leader.Next()) != len(m.values) {
		t.Fatalf("start %d, next %d; want %d, %d", p.leader.Start(), p.leader.Next(), m.start, len(m.values))
	}
	next := record.Offset(0)
	for _, data := range p.applied {
		h, _, err := record.ParseHeader(data)
		if err != nil {
			t.Fatal(err)
		}
		if h.Count == 0 {
			continue
		}
		b, err := Batches(data)
		if err != nil {
			t.Fatal(err)
		}
		for len(b) > 0 {
			var batch record.Batch
			if batch, b, err = record.NextBatch(b); err != nil {
				t.Fatal(err)
			}
			if batch.BaseOffset() != next || !bytes.Contains(batch, []byte(m.values[next])) {
				t.Fatalf("batch at %d, expected %d with value %q", batch.BaseOffset(), next, m.values[next])
			}
			next = batch.End()
		}
	}
	if next != p.leader.End() {
		t.Fatalf("entries end at %d, the high watermark is %d", next, p.leader.End())
	}
}

// log is a partition that commits whatever is appended at once.
type log struct {
	t    *testing.T
	m    *Topic
	term uint64
	cfg  *Config
}

func newLog(t *testing.T, configs ...map[string]string) *log {
	l := &log{t: t, m: New(), term: 2, cfg: defaults(t, configs...)}
	l.m.Lead(l.term)
	return l
}

func (l *log) apply(data []byte) {
	if err := l.m.Apply(l.term, data); err != nil {
		l.t.Fatal(err)
	}
}

func (l *log) append(now int64, b record.Batch) (Result, error) {
	l.m.Begin(now, len(b))
	r, err := l.m.Add(b, l.cfg)
	if data := l.m.Entry(); data != nil {
		l.apply(data)
	}
	return r, err
}

func (l *log) mustAppend(now int64, b record.Batch) Result {
	l.t.Helper()
	r, err := l.append(now, b)
	if err != nil {
		l.t.Fatal(err)
	}
	return r
}

func TestSequenceWraps(t *testing.T) {
	l := newLog(t)
	l.mustAppend(0, recordtest.N(1, 7, 0, 0))
	l.m.producers[7].batches[0].last = math.MaxInt32 - 2
	l.mustAppend(0, recordtest.N(5, 7, 0, math.MaxInt32-1))
	l.mustAppend(0, recordtest.N(1, 7, 0, 3))
	if r := l.mustAppend(0, recordtest.N(5, 7, 0, math.MaxInt32-1)); r.Base != 1 || r.End != 6 {
		t.Fatalf("the batch across the wrap, again: %+v", r)
	}
}

func TestSilentProducerIsForgotten(t *testing.T) {
	l := newLog(t)
	l.mustAppend(0, recordtest.N(1, 7, 3, 0))
	l.mustAppend(producerLife, recordtest.N(1, 7, 3, 1)) // just in time
	_, err := l.append(2*producerLife+1, recordtest.N(1, 7, 3, 2))
	var refused *Error
	if !errors.As(err, &refused) || refused.Reason != UnknownProducer {
		t.Fatal(err)
	}
	l.mustAppend(2*producerLife+1, recordtest.N(1, 7, 0, 0)) // as new, in an older epoch
	l.mustAppend(4*producerLife, recordtest.New("of nobody"))
	if l.m.Producers() != 0 {
		t.Fatal("an expired producer is kept")
	}
}

// TestProducersAreBounded: with too many producers those are forgotten that were
// silent for the longest time, and nobody who writes.
func TestProducersAreBounded(t *testing.T) {
	l := newLog(t)
	const busy = int64(2 * maxProducers) // an id beside those of the others
	sequence := int32(0)
	for id := range int64(2 * maxProducers) {
		l.mustAppend(id, recordtest.N(1, id, 0, 0))
		if id%1000 == 0 {
			l.mustAppend(id, recordtest.N(1, busy, 0, sequence))
			sequence++
		}
		if n := l.m.Producers(); n > maxProducers {
			t.Fatalf("%d producers are remembered", n)
		}
	}
	again := l.m.End()
	if r := l.mustAppend(1e6, recordtest.N(1, busy, 0, sequence-1)); r.End > again {
		t.Fatal("a batch of the busy producer was written twice")
	}
	_, err := l.append(1e6, recordtest.N(1, 0, 0, 1))
	var refused *Error
	if !errors.As(err, &refused) || refused.Reason != UnknownProducer {
		t.Fatalf("the first one is remembered: %v", err)
	}
}

func TestLogAppendTime(t *testing.T) {
	l := newLog(t, map[string]string{"message.timestamp.type": "LogAppendTime"})
	r := l.mustAppend(5000, recordtest.N(2, 7, 0, 0))
	if r.Time != 5000 {
		t.Fatalf("%+v", r)
	}
	if again := l.mustAppend(9000, recordtest.N(2, 7, 0, 0)); again != r {
		t.Fatalf("%+v, want %+v", again, r)
	}
	if r = l.mustAppend(4000, recordtest.New("the clock went back")); r.Time != 9000 {
		t.Fatalf("%+v: time must not decrease", r)
	}
	if ms, ok := l.m.MaxTime(); ms != 9000 || !ok {
		t.Fatal(ms, ok)
	}
}

func TestEndOfEpoch(t *testing.T) {
	l := newLog(t)
	for _, step := range []struct {
		term uint64
		n    int
	}{{2, 5}, {4, 3}, {7, 0}, {9, 2}} {
		l.term = step.term
		l.m.Lead(step.term)
		if step.n > 0 {
			l.mustAppend(0, recordtest.N(step.n, -1, -1, -1))
		}
	}
	for _, c := range []struct {
		epoch, want int32
		end         record.Offset
	}{{-1, -1, -1}, {1, 1, 0}, {2, 2, 5}, {3, 2, 5}, {4, 4, 8}, {7, 4, 8}, {8, 4, 8}, {9, 9, 10}, {10, 10, 10}, {11, -1, -1}} {
		if epoch, end := l.m.EndOfEpoch(c.epoch, 10); epoch != c.want || end != c.end {
			t.Errorf("epoch %d: %d ends at %d; want %d at %d", c.epoch, epoch, end, c.want, c.end)
		}
	}
	l.apply(l.m.MoveStart(0, 6))
	if epoch, end := l.m.EndOfEpoch(2, 10); epoch != 2 || end != 6 {
		t.Errorf("after the start moved: %d ends at %d", epoch, end)
	}
}

func TestRetention(t *testing.T) {
	big := recordtest.Batch{Values: [][]byte{make([]byte, stretchBytes)}, Time: 1}
	fill := func(configs map[string]string) *log {
		l := newLog(t, configs)
		for i := range int64(10) {
			l.mustAppend(i*1000, big.Encode())
		}
		return l
	}
	for name, c := range map[string]struct {
		configs map[string]string
		now     int64
		start   record.Offset
		next    int64
	}{
		"keeps all":            {map[string]string{"retention.ms": "-1"}, math.MaxInt64 - 1, 0, 0},
		"nothing expired":      {map[string]string{"retention.ms": "10000"}, 10000, 0, 10001},
		"three expired":        {map[string]string{"retention.ms": "10000"}, 12001, 3, 13001},
		"all expired":          {map[string]string{"retention.ms": "0"}, 99999, 10, 0},
		"the clock went back":  {map[string]string{"retention.ms": "0"}, -99999, 0, 1},
		"half a stretch above": {map[string]string{"retention.ms": "-1", "retention.bytes": fmt.Sprint(stretchBytes * 5 / 2)}, 0, 7, 0},
		"never the last":       {map[string]string{"retention.ms": "-1", "retention.bytes": "0"}, 0, 9, 0},
	} {
		l := fill(c.configs)
		r := l.m.Retain(c.now, l.cfg)
		if r.Start != c.start || r.Next != c.next {
			t.Errorf("%s: %+v, want start %d, next %d", name, r, c.start, c.next)
			continue
		}
		l.apply(l.m.MoveStart(c.now, r.Start))
		if r = l.m.Retain(c.now, l.cfg); l.m.Start() != c.start || r.Start != c.start {
			t.Errorf("%s: moved to %d, then %+v", name, l.m.Start(), r)
		}
	}
}

func TestStretchByTime(t *testing.T) {
	l := newLog(t)
	for _, ms := range []int64{100, 300, 200, 400} {
		l.mustAppend(0, recordtest.Batch{Values: [][]byte{make([]byte, stretchBytes)}, Time: ms}.Encode())
	}
	for _, c := range []struct {
		ms       int64
		after    record.Offset
		from, to record.Offset
		ok       bool
	}{{0, 0, 0, 1, true}, {150, 0, 1, 2, true}, {150, 2, 2, 3, true}, {301, 0, 3, 4, true}, {401, 0, 0, 0, false}} {
		from, to, ok := l.m.Stretch(c.ms, c.after)
		if from != c.from || to != c.to || ok != c.ok {
			t.Errorf("%d after %d: %d to %d, %v", c.ms, c.after, from, to, ok)
		}
	}
}

func TestIndexStaysSmall(t *testing.T) {
	var x index
	for i := range 100_000 {
		x.add(record.Offset(i), 1<<20, 0, 0)
	}
	if n := len(x.stretches); n > 20_000 {
		t.Fatalf("%d stretches", n)
	}
}

func TestConfigs(t *testing.T) {
	if !slices.IsSortedFunc(definitions, func(a, b Definition) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) }) {
		t.Error("the definitions are not in order")
	}
	for _, bad := range []map[string]string{
		{"retention": "1"}, {"retention.ms": "soon"}, {"retention.ms": "-2"}, {"cleanup.policy": "compact"},
		{"compression.type": "zstd"}, {"unclean.leader.election.enable": "true"}, {"preallocate": "maybe"},
		{"min.cleanable.dirty.ratio": "2"}, {"min.cleanable.dirty.ratio": "NaN"}, {"min.insync.replicas": "0"}, {"max.message.bytes": ""},
	} {
		var refused *Error
		if _, err := ParseConfig(bad); !errors.As(err, &refused) || refused.Reason != BadConfig {
			t.Errorf("%v: %v", bad, err)
		}
	}
	c := defaults(t, map[string]string{"retention.ms": "5", "min.insync.replicas": "2"}, map[string]string{"retention.ms": "7"})
	if c.RetentionMs != 7 || c.MinInsync != 2 || c.MaxMessageBytes != 1048588 || c.TimestampBefore != math.MaxInt64 {
		t.Errorf("%+v", c)
	}
}

func FuzzRestore(f *testing.F) {
	m := New()
	f.Add(m.Snapshot(nil))
	m.Lead(2)
	m.Begin(0, 0)
	if _, err := m.Add(recordtest.N(3, 7, 0, 0), &Config{}); err != nil {
		f.Fatal(err)
	}
	if err := m.Apply(2, m.Entry()); err != nil {
		f.Fatal(err)
	}
	f.Add(m.Snapshot(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := New()
		if m.Restore(b) != nil {
			return
		}
		again := New()
		if err := again.Restore(m.Snapshot(nil)); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzApply(f *testing.F) {
	m := New()
	m.Lead(2)
	m.Begin(0, 0)
	if _, err := m.Add(recordtest.N(3, 7, 0, 0), &Config{}); err != nil {
		f.Fatal(err)
	}
	f.Add(m.Entry())
	f.Add(m.MoveStart(0, 0))
	f.Fuzz(func(t *testing.T, b []byte) { _ = New().Apply(2, b) }) // any error will do, but no panic
}

// TestWholeIsAlone: a batch that becomes an entry must not take the place of others.
func TestWholeIsAlone(t *testing.T) {
	m := New()
	m.Lead(1)
	m.Begin(0, 0)
	b := recordtest.New("v")
	if _, err := m.Add(b, &Config{}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("the first batch is gone")
		}
	}()
	_, _ = m.AddWhole(append(make([]byte, Overhead), b...), &Config{})
}
