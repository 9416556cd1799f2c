package check

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
)

// Kafka checks what was produced to topics and fetched from them. It expects
// every offset to hold a record: no transactions, no compaction.
type Kafka struct {
	mu         sync.Mutex
	producers  map[uint32]*table[sent]
	partitions map[partitionKey]*Partition
	byNumber   []*Partition // number−1 → partition
	clock      uint32       // attempts so far
	consumers  []*Consumer
	found      Report
}

// sent is what is known of a value.
type sent struct {
	ackOffset  int64
	seenOffset int64 // where it was seen: at the acked offset, if it ever was seen there
	ackPart    int32 // Partition.number; 0: not acked
	seenPart   int32 // 0: not seen
	began      uint32
	state      queueState
}

type partitionKey struct {
	topic     string
	partition int32
}

// Partition is one partition of a topic.
type Partition struct {
	k       *Kafka
	key     partitionKey
	number  int32
	offsets table[slot]
	known   []knowledge // how the highest known offset grew
	high    int64       // the highest offset seen; -1: none
	drains  []drain
}

// slot is what is known of an offset.
type slot struct {
	value       Value
	acked, seen bool
}

// knowledge: attempts after clock begin when offset is known.
type knowledge struct {
	clock  uint32
	offset int64
}

// drain is a stretch of offsets [from, to) that a consumer read completely.
type drain struct{ from, to int64 }

// Partition returns the partition of that topic and number.
func (k *Kafka) Partition(topic string, partition int32) *Partition {
	k.mu.Lock()
	defer k.mu.Unlock()
	key := partitionKey{topic, partition}
	p := k.partitions[key]
	if p == nil {
		if k.partitions == nil {
			k.partitions = make(map[partitionKey]*Partition)
		}
		p = &Partition{k: k, key: key, number: int32(len(k.byNumber) + 1), high: -1}
		k.partitions[key] = p
		k.byNumber = append(k.byNumber, p)
	}
	return p
}

func (p *Partition) String() string { return fmt.Sprintf("%s/%d", p.key.topic, p.key.partition) }

func (k *Kafka) sent(v Value) *sent {
	if k.producers == nil {
		k.producers = make(map[uint32]*table[sent])
	}
	t := k.producers[v.Producer]
	if t == nil {
		t = new(table[sent])
		k.producers[v.Producer] = t
	}
	return t.at(uint64(v.Counter))
}

// Attempt tells that v is about to be produced, to whatever partition.
func (k *Kafka) Attempt(v Value) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.clock++
	s := k.sent(v)
	s.began = k.clock
	s.state |= attempted
}

// Refused tells that v was definitely not taken.
func (k *Kafka) Refused(v Value) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sent(v).state |= refused
}

// Malformed tells that something was fetched that is no value.
func (k *Kafka) Malformed(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.found.add(Malformed, "%v", err)
}

// Acked tells that v was acked at offset.
func (p *Partition) Acked(v Value, offset int64) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	s := p.k.sent(v)
	if s.ackPart != 0 && (s.ackPart != p.number || s.ackOffset != offset) {
		p.k.found.add(Duplicated, "%v was acked at offset %d of %v and at %d of %v",
			v, s.ackOffset, p.k.byNumber[s.ackPart-1], offset, p)
	}
	s.ackPart, s.ackOffset = p.number, offset
	s.state |= acked
	at := p.offsets.at(uint64(offset))
	switch {
	case at.value == v || !at.acked && !at.seen:
	case at.acked:
		p.k.found.add(SharedAck, "%v and %v were both acked at offset %d of %v", at.value, v, offset, p)
	default:
		p.k.found.add(Inconsistent, "offset %d of %v holds %v, and %v was acked there", offset, p, at.value, v)
	}
	if !at.seen {
		at.value = v
	}
	at.acked = true
	p.checkTime(v, s, offset)
	p.learn(offset)
}

// Seen tells that v was fetched from offset.
func (p *Partition) Seen(v Value, offset int64) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	p.seen(v, offset)
}

func (p *Partition) seen(v Value, offset int64) {
	at := p.offsets.at(uint64(offset))
	if at.seen && at.value == v {
		return
	}
	s := p.k.sent(v)
	switch {
	case s.state&attempted == 0:
		p.k.found.add(Unexpected, "%v at offset %d of %v was never attempted", v, offset, p)
	case s.state&refused != 0:
		p.k.found.add(Unexpected, "%v at offset %d of %v was refused", v, offset, p)
	}
	if (at.acked || at.seen) && at.value != v {
		how := "seen"
		if !at.seen {
			how = "acked"
		}
		p.k.found.add(Inconsistent, "offset %d of %v holds %v, where %v was %s before", offset, p, v, at.value, how)
	}
	at.value, at.seen = v, true
	if s.seenPart != 0 {
		p.k.found.Duplicates++
		p.k.found.add(Duplicated, "%v is at offset %d of %v and at %d of %v",
			v, s.seenOffset, p.k.byNumber[s.seenPart-1], offset, p)
	}
	if s.seenPart == 0 || s.ackPart == p.number && s.ackOffset == offset {
		s.seenPart, s.seenOffset = p.number, offset
	}
	s.state |= received
	p.high = max(p.high, offset)
	p.checkTime(v, s, offset)
	p.learn(offset)
}

// learn notes that offset is taken, for the attempts that begin from now on.
func (p *Partition) learn(offset int64) {
	i := len(p.known) - 1
	switch {
	case i >= 0 && p.known[i].offset >= offset:
	case i >= 0 && p.known[i].clock == p.k.clock:
		p.known[i].offset = offset
	default:
		p.known = append(p.known, knowledge{p.k.clock, offset})
	}
}

// checkTime finds a write at an offset that was passed before it began.
func (p *Partition) checkTime(v Value, s *sent, offset int64) {
	if s.state&attempted == 0 {
		return
	}
	// The first knowledge that was not there yet when the attempt began.
	i := sort.Search(len(p.known), func(i int) bool { return p.known[i].clock >= s.began })
	if i > 0 && p.known[i-1].offset >= offset {
		p.k.found.add(BackInTime, "%v got offset %d of %v, and began when offset %d was known",
			v, offset, p, p.known[i-1].offset)
	}
}

// Drained tells that all records from offset from up to, but not including, to
// were fetched and given to Seen or Polled: the whole partition, from its
// start to its high watermark, before Report.
func (p *Partition) Drained(from, to int64) {
	p.k.mu.Lock()
	defer p.k.mu.Unlock()
	p.drains = append(p.drains, drain{from, to})
}

// Report compares, once everything is drained. What was acked below the start
// of a partition's last drain counts as discarded.
func (k *Kafka) Report() *Report {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.found.clone()
	for _, id := range slices.Sorted(maps.Keys(k.producers)) {
		k.reportProducer(r, k.producers[id], id)
	}
	for _, p := range k.byNumber {
		p.reportGaps(r)
	}
	for _, c := range k.consumers {
		c.report(r)
	}
	return r
}

func (k *Kafka) reportProducer(r *Report, t *table[sent], id uint32) {
	l := losses{producer: id}
	last := make(map[int32]uint32) // partition → counter of the last acked value
	for n, s := range t.all() {
		counter := uint32(n)
		v := Value{id, counter}
		count(&r.Attempted, s.state&attempted != 0)
		count(&r.Acked, s.state&acked != 0)
		count(&r.Refused, s.state&refused != 0)
		count(&r.Received, s.state&received != 0)
		count(&r.Recovered, s.state&(received|acked) == received)
		if s.state&acked == 0 {
			continue
		}
		lost := k.reportAcked(r, v, s)
		l.add(counter, lost, !lost)
		if before, ok := last[s.ackPart]; ok && t.at(uint64(before)).ackOffset >= s.ackOffset {
			r.add(NonmonotonicSend, "%v was acked at offset %d of %v, and %v, sent before, at %d",
				v, s.ackOffset, k.byNumber[s.ackPart-1], Value{id, before}, t.at(uint64(before)).ackOffset)
		}
		last[s.ackPart] = counter
	}
	l.report(r)
}

// reportAcked tells whether an acked value is lost, and reports other faults.
func (k *Kafka) reportAcked(r *Report, v Value, s *sent) (lost bool) {
	p := k.byNumber[s.ackPart-1]
	switch {
	case s.seenPart == s.ackPart && s.seenOffset == s.ackOffset:
	case s.seenPart != 0:
		r.add(Misplaced, "%v was acked at offset %d of %v and is at %d of %v",
			v, s.ackOffset, p, s.seenOffset, k.byNumber[s.seenPart-1])
	case len(p.drains) > 0 && s.ackOffset < p.drains[len(p.drains)-1].from:
		r.Discarded++
	case s.ackOffset > p.high:
		r.add(Unseen, "%v was acked at offset %d of %v, whose highest offset seen is %d", v, s.ackOffset, p, p.high)
	default:
		return true
	}
	return false
}

func (p *Partition) reportGaps(r *Report) {
	for _, d := range p.drains {
		missing, first := 0, int64(0)
		for off := d.from; off < d.to; off++ {
			if p.offsets.get(uint64(off)).seen {
				continue
			}
			if missing == 0 {
				first = off
			}
			missing++
		}
		if missing > 0 {
			r.addN(Gap, missing, "%d offsets of %v hold nothing, the first is %d of [%d, %d)", missing, p, first, d.from, d.to)
		}
	}
}
