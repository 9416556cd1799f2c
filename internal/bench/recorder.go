package bench

import (
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of what is recorded, in microseconds; beyond the upper one a latency
// counts as that.
const (
	lowest  = 1
	highest = 10 * 60 * 1e6
	digits  = 3
)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(lowest, highest, digits) }

// recorder collects one kind of latency from all workers. They lock it once
// for all the messages of a read.
type recorder struct {
	mu    sync.Mutex
	total *hdrhistogram.Histogram // since the measuring began
	tick  *hdrhistogram.Histogram // since the last tick
	since int64                   // messages due before this time do not count
	until int64                   // nor those due after it
	off   bool                    // count only: the times mean nothing
	count int64                   // messages since the beginning, the warm-up included

	interval float64 // nanoseconds between two messages, at least; 0: whatever comes
	start    int64   // of the first message, if there is an interval
	stopped  bool    // nobody is held any more
}

func newRecorder(off bool) *recorder {
	return &recorder{total: newHistogram(), tick: newHistogram(), until: 1<<63 - 1, off: off}
}

// add records messages that were due at the times and are answered now, nanoseconds
// since the epoch. Where the rate is bounded it holds the worker until more may come.
func (r *recorder) add(now int64, times []int64) {
	r.record(now, times)
	for next := r.next(now); time.Now().UnixNano() < next; next = r.next(now) {
		sleepUntil(next)
	}
}

// next is when the next message may come, nanoseconds since the epoch; now is when one came.
func (r *recorder) next(now int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.interval == 0 || r.stopped {
		return 0
	}
	if r.start == 0 {
		r.start = now
	}
	return r.start + int64(float64(r.count)*r.interval)
}

// stop lets go those who are held.
func (r *recorder) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}

func (r *recorder) record(now int64, times []int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count += int64(len(times))
	if r.off {
		return
	}
	for len(times) > 0 {
		first, n := times[0], 1 // messages of one write have one time
		for n < len(times) && times[n] == first {
			n++
		}
		times = times[n:]
		latency := min(max((now-first)/int64(time.Microsecond), lowest), highest)
		_ = r.tick.RecordValues(latency, int64(n)) // it is within the bounds
		if first >= r.since && first < r.until {
			_ = r.total.RecordValues(latency, int64(n))
		}
	}
}

// counted is the number of messages since the beginning.
func (r *recorder) counted() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// window makes only those count that are due in a time.
func (r *recorder) window(since, until time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since, r.until = since.UnixNano(), until.UnixNano()
}

// p99 is the 99th percentile since it was called last.
func (r *recorder) p99() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	v := r.tick.ValueAtQuantile(99)
	r.tick.Reset()
	return time.Duration(v) * time.Microsecond
}

// Latency is a distribution, in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
	Mean float64 `json:"mean"`
	N    int64   `json:"n"`
}

// latency is what was recorded; nil when that is nothing.
func (r *recorder) latency() *Latency {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.total
	if h.TotalCount() == 0 {
		return nil
	}
	at := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1e3 }
	return &Latency{P50: at(50), P99: at(99), P999: at(99.9), Max: float64(h.Max()) / 1e3, Mean: h.Mean() / 1e3, N: h.TotalCount()}
}
