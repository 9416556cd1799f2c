package sim

import (
	"container/heap"
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
	// Broker has whole brokers run on the nodes, instead of raft groups alone. The run is
	// inside of a bubble of testing/synctest then.
	Broker bool
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

// epoch is the start of the virtual time, where there is no bubble.
var epoch = time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)

// World is one run. All of it belongs to one goroutine, but for the log below. With
// brokers there are others, which have something done here by post.
type World struct {
	cfg     Config
	rng     *rand.Rand
	dice    *rand.Rand // of the faults, with brokers
	began   time.Time
	now     time.Time
	events  events
	seq     uint64
	bubble  bubble
	journal journal

	nodes    []*node
	replicas map[uint64]*node // of replica ids that are in use
	nextID   uint64           // of replicas
	logs     []*group
	net      network
	faults   faults
	clients  []client
	calm     bool   // no new faults
	whole    *whole // with brokers

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

// Run runs one simulation. Package crypto/rand must give what the seed
// says: see testing/cryptotest. With brokers it must be called in a bubble of testing/synctest.
func Run(cfg Config) (r Result) {
	if cfg.For == 0 {
		cfg.For = 20 * time.Second
	}
	w := &World{
		cfg: cfg, rng: rand.New(rand.NewPCG(cfg.Seed, 1)), dice: rand.New(rand.NewPCG(cfg.Seed, 2)), began: epoch,
		replicas: make(map[uint64]*node),
	}
	if cfg.Broker {
		w.began = time.Now()
		w.bubble.init()
	}
	w.now = w.began
	w.journal.init(cfg.Trace)
	defer func() {
		if p := recover(); p != nil {
			w.fail("panic: %v\n%s", p, debug.Stack())
		}
		w.end()
		r = Result{Found: w.journal.found, Hash: w.journal.sum(), Acked: w.acked, Reads: w.reads, Faults: w.faults.count}
	}()
	w.build()
	w.run(cfg.For)
	w.heal()
	w.drain()
	if !w.failed() {
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
	if w.cfg.Broker {
		w.whole = newWhole(w)
	} else {
		for id := record.LogID(1); id <= 4; id++ {
			w.logs = append(w.logs, w.newGroup(id, nodes))
		}
	}
	for _, n := range w.nodes {
		n.start()
	}
	if w.cfg.Broker {
		w.whole.open()
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
	for !w.failed() {
		if w.cfg.Broker {
			w.settle()
		}
		if len(w.events) == 0 || w.events[0].at.After(end) {
			if !w.cfg.Broker || !w.now.Before(end) {
				w.now = end
				return false
			}
			w.sleep(end)
			continue
		}
		if w.cfg.Broker && !w.sleep(w.events[0].at) {
			continue // something has come up before
		}
		e := heap.Pop(&w.events).(event)
		if e.at.After(w.now) {
			w.now = e.at
		}
		e.do()
		if done() {
			return true
		}
	}
	return false
}
