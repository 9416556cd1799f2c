package sim

import (
	"container/heap"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"waybill/internal/record"
	"waybill/test/check"
)

// Config says what one run is.
type Config struct {
	Seed  uint64
	Live  bool          // a minority stays broken in the end: the others must go on without it
	For   time.Duration // of faults, in virtual time; default 20 s
	Bug   Bug           // planted
	Trace io.Writer     // nil: none
}

// Bug is a fault of the broker that is planted to see whether it is found.
type Bug string

// The planted bugs.
const (
	AckBeforeSync  Bug = "ack before the sync"
	AckOnMinority  Bug = "ack on a minority"
	TruncateOnRot  Bug = "truncation on a CRC error"
	ReusedReplica  Bug = "a reused replica id"
	StaleRead      Bug = "a read that asks no other replica"
	ForgottenFlags Bug = "a redelivery that is not flagged"
)

// Result is what a run found.
type Result struct {
	Found  []string // violations; none: all is well
	Hash   string   // of everything that happened: the same for the same seed
	Acked  int
	Reads  int
	Faults map[string]int
}

// start of the virtual time; clocks that jump start here too.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// World is one run.
type World struct {
	cfg    Config
	rng    *rand.Rand
	now    time.Time
	events events
	seq    uint64
	hash   hash.Hash
	found  []string

	nodes    []*node
	replicas map[uint64]*node // of replica ids that are in use
	nextID   uint64           // of replicas
	logs     []*group
	net      network
	faults   faults
	clients  []client
	calm     bool // no new faults

	kafka check.Kafka
	queue check.Queue
	acked int
	reads int
}

// event is something that happens at a time.
type event struct {
	at  time.Time
	seq uint64 // breaks ties
	do  func()
}

type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *events) Push(x any) { *h = append(*h, x.(event)) }

// Pop implements heap.Interface.
func (h *events) Pop() any {
	n := len(*h) - 1
	e := (*h)[n]
	(*h)[n] = event{}
	*h = (*h)[:n]
	return e
}

// after has do called in so much time.
func (w *World) after(d time.Duration, do func()) {
	w.seq++
	heap.Push(&w.events, event{w.now.Add(d), w.seq, do})
}

// every has do called again and again, with pauses of about d.
func (w *World) every(d time.Duration, do func()) {
	w.after(d/2+w.upTo(d), func() {
		do()
		w.every(d, do)
	})
}

// upTo is a random time up to d.
func (w *World) upTo(d time.Duration) time.Duration { return time.Duration(w.rng.Int64N(int64(d) + 1)) }

// chance is true once in n times.
func (w *World) chance(n int) bool { return w.rng.IntN(n) == 0 }

// trace tells what happens.
func (w *World) trace(format string, args ...any) {
	line := fmt.Sprintf("%10.6f ", w.now.Sub(epoch).Seconds()) + fmt.Sprintf(format, args...) + "\n"
	_, _ = io.WriteString(w.hash, line)
	if w.cfg.Trace != nil {
		_, _ = io.WriteString(w.cfg.Trace, line)
	}
}

// fail notes a violation.
func (w *World) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.trace("VIOLATION %s", text)
	w.found = append(w.found, text)
}

// Run runs one simulation. Package crypto/rand must give what the seed
// says: see testing/cryptotest.
func Run(cfg Config) (r Result) {
	if cfg.For == 0 {
		cfg.For = 20 * time.Second
	}
	w := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), now: epoch, hash: sha256.New(),
		replicas: make(map[uint64]*node),
	}
	defer func() {
		if p := recover(); p != nil {
			w.fail("panic: %v\n%s", p, debug.Stack())
		}
		r = Result{Found: w.found, Hash: fmt.Sprintf("%x", w.hash.Sum(nil)[:8]), Acked: w.acked, Reads: w.reads, Faults: w.faults.count}
	}()
	w.build()
	w.run(cfg.For)
	w.heal()
	w.drain()
	if len(w.found) == 0 {
		w.judge()
	}
	return r
}

// build makes the cluster, its logs and its clients.
func (w *World) build() {
	w.net.init()
	w.faults.count = make(map[string]int)
	nodes := []int{3, 3, 4, 5}[w.rng.IntN(4)]
	for i := range nodes {
		w.nextID++
		w.nodes = append(w.nodes, newNode(w, i+1, w.nextID))
	}
	for id := record.LogID(1); id <= 4; id++ {
		w.logs = append(w.logs, w.newGroup(id, nodes))
	}
	for _, n := range w.nodes {
		n.start()
	}
	for _, g := range w.logs {
		w.addClients(g)
	}
	w.every(200*time.Millisecond, w.heartbeats)
	w.every(300*time.Millisecond, w.endHarm)
	w.every(1200*time.Millisecond, w.fault)
}

// run lets time pass, or stops at the first violation.
func (w *World) run(d time.Duration) { w.until(d, func() bool { return false }) }

// until lets time pass until done says so; false when it took longer than d.
func (w *World) until(d time.Duration, done func() bool) bool {
	end := w.now.Add(d)
	for len(w.found) == 0 && len(w.events) > 0 && !w.events[0].at.After(end) {
		e := heap.Pop(&w.events).(event)
		if e.at.After(w.now) {
			w.now = e.at
		}
		e.do()
		if done() {
			return true
		}
	}
	if len(w.found) == 0 {
		w.now = end
	}
	return false
}
