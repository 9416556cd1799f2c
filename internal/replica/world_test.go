package replica

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// world is a cluster in one goroutine: manual hosts over file systems in
// memory, a network and a clock. What happens follows from the seed, but for what the
// stores write together.
type world struct {
	t     testing.TB
	rng   *rand.Rand
	now   time.Time
	nodes map[uint64]*member
	ids   []uint64
	net   network
	log   *slog.Logger

	groups []record.LogID
	bodies bool // of the ledgers

	noCheckpoint bool // no log has an owner that could make one
	voters       []uint64
	applied      map[record.LogID]map[record.Index]uint64 // hashes of what was applied, by whoever was first
	acked        map[record.LogID][]uint64
	tried        map[record.LogID]uint64
	pending      []pendingPut
}

type pendingPut struct {
	group record.LogID
	value uint64
	done  chan error
	since time.Time
}

// member is a node; host is nil while it is down.
type member struct {
	id      uint64
	fs      *vfs.Mem
	store   *storage.Store
	host    *Host
	ledgers map[record.LogID]*ledger
	jobs    []func()
}

// network holds frames until they are due.
type network struct {
	list                 []envelope
	cut                  map[[2]uint64]bool // from, to
	drop, dup            float64
	delayMin, delayExtra time.Duration
}

type envelope struct {
	at       time.Time
	from, to uint64
	frame    []byte
}

func newWorld(t testing.TB, seed uint64, nodes, groups int, options ...func(*world)) *world {
	t.Helper()
	w := &world{
		t: t, rng: rand.New(rand.NewPCG(seed, 1)), now: time.Unix(1_700_000_000, 0),
		nodes: map[uint64]*member{}, applied: map[record.LogID]map[record.Index]uint64{},
		acked: map[record.LogID][]uint64{}, tried: map[record.LogID]uint64{},
		net: network{cut: map[[2]uint64]bool{}, delayMin: 200 * time.Microsecond, delayExtra: time.Millisecond},
		log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if os.Getenv("REPLICA_TRACE") != "" {
		w.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	for id := uint64(1); id <= uint64(nodes); id++ {
		w.voters = append(w.voters, id)
	}
	for g := record.LogID(1); g <= record.LogID(groups); g++ {
		w.groups = append(w.groups, g)
		w.applied[g] = map[record.Index]uint64{}
	}
	for _, option := range options {
		option(w)
	}
	for _, id := range w.voters {
		w.start(id, vfs.NewMem())
	}
	t.Cleanup(func() {
		for _, id := range w.ids {
			w.stop(id)
		}
	})
	return w
}

// wire is a node's Transport.
type wire struct {
	w    *world
	from uint64
}

func (x wire) Send(to uint64, parts ...[]byte) bool {
	n := &x.w.net
	if n.cut[[2]uint64{x.from, to}] || x.w.rng.Float64() < n.drop {
		return true
	}
	times := 1
	if x.w.rng.Float64() < n.dup {
		times = 2
	}
	for range times {
		delay := n.delayMin + time.Duration(x.w.rng.Int64N(int64(n.delayExtra)+1))
		n.list = append(n.list, envelope{x.w.now.Add(delay), x.from, to, slices.Concat(parts...)})
	}
	return true
}

func (x wire) Fetch(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	m := x.w.nodes[from]
	if m == nil || m.host == nil || x.w.net.cut[[2]uint64{x.from, from}] || x.w.net.cut[[2]uint64{from, x.from}] || x.w.rng.Float64() < x.w.net.drop {
		return nil, errors.New("unreachable")
	}
	return m.host.ServeFetch(ctx, x.from, request)
}

// start starts a node on a disk.
func (w *world) start(id uint64, fs *vfs.Mem) {
	w.t.Helper()
	m := &member{id: id, fs: fs, ledgers: map[record.LogID]*ledger{}}
	var err error
	var host *Host
	m.store, err = storage.Open(fs, "data", storage.Options{
		WALFileSize: 64 << 10,
		Checkpoint: func(g record.LogID) (storage.Checkpoint, bool) {
			if w.noCheckpoint {
				return storage.Checkpoint{}, false
			}
			return host.Checkpoint(g)
		},
		Fatal:  func(err error) { panic(err) },
		Logger: w.log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	host = NewHost(Config{
		Store: m.store, ReplicaID: id, Transport: wire{w, id}, Shards: 1, Manual: true,
		Now: func() time.Time { return w.now }, Go: func(job func()) { m.jobs = append(m.jobs, job) },
		Logger: w.log.With("node", id),
	})
	m.host = host
	w.nodes[id] = m
	if !slices.Contains(w.ids, id) {
		w.ids = append(w.ids, id)
	}
	for _, g := range w.groups {
		w.open(m, g)
	}
	m.store.Start()
	for _, other := range w.ids {
		w.peer(id, other, true)
		w.peer(other, id, true)
	}
}

func (w *world) open(m *member, id record.LogID) {
	w.t.Helper()
	l := newLedger()
	l.refuse, l.bodies, l.log = true, w.bodies, m.store.Log(id)
	l.applied = func(e Entry) {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d %d ", e.Index, e.Term)
		h.Write(e.Data)
		if was, ok := w.applied[id][e.Index]; ok && was != h.Sum64() {
			w.t.Fatalf("group %d: replica %d applies something else at index %d", id, m.id, e.Index)
		}
		w.applied[id][e.Index] = h.Sum64()
	}
	g, err := m.host.Open(id, w.voters, l)
	if err != nil {
		w.t.Fatal(err)
	}
	l.group = g
	m.ledgers[id] = l
	g.Start()
}

// peer tells a node of another, when both are up.
func (w *world) peer(id, other uint64, up bool) {
	if m := w.nodes[id]; m != nil && m.host != nil && id != other {
		m.host.Peer(other, up && w.nodes[other] != nil && w.nodes[other].host != nil)
	}
}

// stop ends a node in order, or what is left of it.
func (w *world) stop(id uint64) {
	m := w.nodes[id]
	if m == nil || m.host == nil {
		return
	}
	host := m.host
	jobs := m.jobs
	m.jobs = nil
	host.cancel()
	for _, job := range jobs {
		job()
	}
	host.Close()
	m.host = nil
	if err := m.store.Close(); err != nil {
		w.t.Error(err)
	}
}

// crash cuts the power of a node; restart boots it again.
func (w *world) crash(id uint64) {
	m := w.nodes[id]
	clone := m.fs.CrashClone(w.rng.Uint64())
	sent := len(w.net.list)
	w.stop(id)
	w.net.list = w.net.list[:sent]                                                            // a dead node takes no leave
	w.net.list = slices.DeleteFunc(w.net.list, func(e envelope) bool { return e.from == id }) // its connections are reset
	m.fs = clone
	for _, other := range w.ids {
		w.peer(other, id, false)
	}
}

func (w *world) restart(id uint64) { w.start(id, w.nodes[id].fs) }

// settle lets a node do all that it can do at this time.
func (w *world) settle(m *member) {
	deadline := time.Now().Add(time.Minute)
	for m.host != nil {
		worked := m.host.Step(w.now)
		for m.host.Writing() > 0 {
			runtime.Gosched()
			if time.Now().After(deadline) {
				w.t.Fatal("the store does not finish")
			}
		}
		jobs := m.jobs
		m.jobs = nil
		for _, job := range jobs {
			job()
		}
		if !worked && len(jobs) == 0 {
			return
		}
	}
}

// step lets a millisecond pass.
func (w *world) step() {
	w.now = w.now.Add(time.Millisecond)
	var due []envelope
	w.net.list = slices.DeleteFunc(w.net.list, func(e envelope) bool {
		if e.at.After(w.now) {
			return false
		}
		due = append(due, e)
		return true
	})
	slices.SortStableFunc(due, func(a, b envelope) int { return a.at.Compare(b.at) })
	for _, e := range due {
		if m := w.nodes[e.to]; m != nil && m.host != nil {
			if err := m.host.Receive(e.from, e.frame); err != nil {
				w.t.Errorf("frame from %d to %d: %v", e.from, e.to, err)
			}
		}
	}
	for _, id := range w.ids {
		w.settle(w.nodes[id])
	}
	w.collect()
}

// collect takes the answers to puts.
func (w *world) collect() {
	w.pending = slices.DeleteFunc(w.pending, func(p pendingPut) bool {
		select {
		case err := <-p.done:
			if err == nil {
				w.acked[p.group] = append(w.acked[p.group], p.value)
			}
			return true
		default:
			return false
		}
	})
}

// until steps until cond holds, and returns how long it took.
func (w *world) until(what string, limit time.Duration, cond func() bool) time.Duration {
	w.t.Helper()
	start := w.now
	for !cond() {
		if w.now.Sub(start) > limit {
			w.t.Fatalf("%s: not after %s; %s", what, limit, w)
		}
		w.step()
	}
	return w.now.Sub(start)
}

func (w *world) run(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		w.step()
	}
}

// leader is the node that leads a group, nil when none does.
func (w *world) leader(g record.LogID) *member {
	var best *member
	term := uint64(0)
	for _, id := range w.ids {
		m := w.nodes[id]
		if m.host == nil || m.ledgers[g] == nil || !m.ledgers[g].group.Leads() {
			continue
		}
		if _, t := m.ledgers[g].group.Leader(); t > term {
			best, term = m, t
		}
	}
	return best
}

// put proposes the next value at whoever leads; false when nobody does.
func (w *world) put(g record.LogID) bool {
	m := w.leader(g)
	if m == nil {
		return false
	}
	w.tried[g]++
	w.pending = append(w.pending, pendingPut{g, w.tried[g], m.ledgers[g].put(w.tried[g]), w.now})
	return true
}

// puts proposes n values and waits until they are acknowledged.
func (w *world) puts(g record.LogID, n int) {
	w.t.Helper()
	want := len(w.acked[g]) + n
	for range n {
		w.until("a leader", 20*time.Second, func() bool { return w.leader(g) != nil })
		w.put(g)
		w.step()
	}
	w.until("acknowledgements", 20*time.Second, func() bool { return len(w.acked[g]) >= want })
}

func (w *world) heal() {
	w.net.cut, w.net.drop, w.net.dup = map[[2]uint64]bool{}, 0, 0
	w.net.delayMin, w.net.delayExtra = 200*time.Microsecond, time.Millisecond
	for _, id := range w.ids {
		if w.nodes[id].host == nil {
			w.restart(id)
		}
		for _, other := range w.ids {
			w.peer(id, other, true)
		}
	}
}

// check heals everything, waits until all replicas have the same, and compares
// it with what was acknowledged.
func (w *world) check() {
	w.t.Helper()
	w.heal()
	for _, g := range w.groups {
		w.until("a put after healing", 30*time.Second, func() bool {
			before := len(w.acked[g])
			if !w.put(g) {
				return false
			}
			for range 200 {
				if w.step(); len(w.acked[g]) > before {
					return true
				}
			}
			return false
		})
		w.until("the same everywhere", 30*time.Second, func() bool { return w.same(g) })
		values := w.leader(g).ledgers[g].values
		live := slices.DeleteFunc(slices.Clone(values), func(v uint64) bool { return v == 0 })
		seen := map[uint64]int{0: -len(values)} // of what is dead
		for i, v := range values {
			if v > w.tried[g] {
				w.t.Errorf("group %d holds %d, the last one tried was %d", g, v, w.tried[g])
			}
			seen[v]++
			if seen[v] > 1 {
				w.t.Errorf("group %d holds %d twice, at %d", g, v, i)
			}
		}
		last := -1
		for _, v := range w.acked[g] {
			i := slices.Index(values, v)
			if i < 0 && len(live) < len(values) && v < slices.Min(live) {
				continue
			}
			if i < 0 {
				w.t.Errorf("group %d: acknowledged value %d is lost", g, v)
			}
			if i < last {
				w.t.Errorf("group %d: value %d is not in order", g, v)
			}
			last = i
		}
	}
	if w.t.Failed() {
		w.t.Fatalf("%s", w)
	}
}

// same reports whether all members of a group hold the same.
func (w *world) same(g record.LogID) bool {
	lead := w.leader(g)
	if lead == nil {
		return false
	}
	voters, learners := lead.ledgers[g].group.Members()
	for _, id := range append(slices.Clone(voters), learners...) {
		m := w.nodes[id]
		if m == nil || m.host == nil || m.ledgers[g] == nil || !slices.Equal(m.ledgers[g].values, lead.ledgers[g].values) {
			return false
		}
	}
	return true
}

func (w *world) String() string {
	s := ""
	for _, id := range w.ids {
		m := w.nodes[id]
		if m.host == nil {
			s += fmt.Sprintf("\nnode %d is down", id)
			continue
		}
		for _, g := range w.groups {
			l := m.ledgers[g]
			if l == nil {
				continue
			}
			x := l.group
			s += fmt.Sprintf("\nnode %d group %d: %s term %d leader %d, applied %d, last %d, commit %d, %d values, voters %v learners %v, awake %v, stopped %v, writes %d, held %d, fetch %v",
				id, g, x.state, x.raftTerm, x.lead, x.applied, x.last, x.commit, len(l.values), x.conf.GetVoters(), x.conf.GetLearners(), x.clock.place > 0, x.stopped, x.writes, len(x.toApply), x.fetch != nil)
		}
	}
	return s
}
