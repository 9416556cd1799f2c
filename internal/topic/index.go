package topic

import (
	"time"

	"waybill/internal/record"
)

const (
	// stretchBytes is the least size at which a stretch of the index is full.
	stretchBytes = 1 << 20
	// stretchParts is the number of stretches beyond which they grow with the
	// log, so that the index of a large log stays small.
	stretchParts = 4096
	// stretchTime is the age at which a stretch is full, so that retention by
	// time works on a trickle.
	stretchTime = int64(10 * time.Minute / time.Millisecond)
)

// stretch is a part of the log: what retention drops, and where a lookup by
// time begins to read.
type stretch struct {
	base     record.Offset // its first offset
	position int64         // bytes before it, since the log began
	maxTime  int64         // largest timestamp of a record
	began    int64         // time of its first entry
	ended    int64         // time of its last entry
}

// index is the sparse index of the log by size and by time.
type index struct {
	stretches []stretch // in order; no gap between them
	position  int64     // bytes up to the end, since the log began
}

// add notes a batch.
func (x *index) add(base record.Offset, size int, maxTime, now int64) {
	n := len(x.stretches)
	if n == 0 || x.full(&x.stretches[n-1], now) {
		x.stretches = append(x.stretches, stretch{base, x.position, maxTime, now, now})
	} else {
		s := &x.stretches[n-1]
		s.maxTime, s.ended = max(s.maxTime, maxTime), now
	}
	x.position += int64(size)
}

func (x *index) full(last *stretch, now int64) bool {
	return x.position-last.position >= max(stretchBytes, x.kept()/stretchParts) || now-last.began >= stretchTime
}

// kept is the number of bytes in all stretches.
func (x *index) kept() int64 {
	if len(x.stretches) == 0 {
		return 0
	}
	return x.position - x.stretches[0].position
}

// trim forgets the stretches that end at or before start; end is that of the log.
func (x *index) trim(start, end record.Offset) {
	s := x.stretches
	if start == end {
		s = nil
	}
	for len(s) > 1 && s[1].base <= start {
		s = s[1:]
	}
	x.stretches = append(x.stretches[:0], s...)
}

// Stretch returns the offsets [from, to) of the first stretch at or after the
// offset after that has a record with a timestamp at or after ms.
func (t *Topic) Stretch(ms int64, after record.Offset) (from, to record.Offset, ok bool) {
	after = max(after, t.start)
	for i, s := range t.index.stretches {
		to := t.end
		if i+1 < len(t.index.stretches) {
			to = t.index.stretches[i+1].base
		}
		if to > after && s.maxTime >= ms {
			return max(s.base, after), to, true
		}
	}
	return 0, 0, false
}

// MaxTime is the largest timestamp of a stretch that is kept, in ms; ok is
// false when the log is empty.
func (t *Topic) MaxTime() (ms int64, ok bool) {
	if t.start == t.end {
		return 0, false
	}
	ms = t.index.stretches[0].maxTime
	for _, s := range t.index.stretches {
		ms = max(ms, s.maxTime)
	}
	return ms, true
}
