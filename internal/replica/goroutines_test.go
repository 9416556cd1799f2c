package replica

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// mesh connects hosts that have goroutines; a dead one takes nothing.
type mesh struct {
	mu    sync.RWMutex // guards hosts
	hosts map[uint64]*Host
}

func (m *mesh) host(id uint64) *Host {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.hosts[id]
}

type meshWire struct {
	m    *mesh
	from uint64
}

func (x meshWire) Send(to uint64, parts ...[]byte) bool {
	if h := x.m.host(to); h != nil && x.m.host(x.from) != nil {
		return h.Receive(x.from, slices.Concat(parts...)) == nil
	}
	return false
}

func (x meshWire) Fetch(ctx context.Context, from uint64, request []byte) ([]byte, error) {
	if h := x.m.host(from); h != nil {
		return h.ServeFetch(ctx, x.from, request)
	}
	return nil, errors.New("unreachable")
}

// meshNode is a node of it, with ledgers.
type meshNode struct {
	store   *storage.Store
	host    *Host
	ledgers map[record.LogID]*ledger
}

func startMesh(t testing.TB, m *mesh, id uint64, fs vfs.FS, logs int) *meshNode {
	t.Helper()
	n := &meshNode{ledgers: map[record.LogID]*ledger{}}
	var host atomic.Pointer[Host]
	var err error
	n.store, err = storage.Open(fs, "data", storage.Options{
		WALFileSize: 256 << 10,
		Checkpoint:  func(id record.LogID) (storage.Checkpoint, bool) { return host.Load().Checkpoint(id) },
		Fatal:       func(err error) { panic(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.host = NewHost(Config{Store: n.store, ReplicaID: id, Transport: meshWire{m, id}, Shards: 2, Tick: 10 * time.Millisecond, CatchUpRate: 64 << 20})
	host.Store(n.host)
	for g := record.LogID(1); g <= record.LogID(logs); g++ {
		l := newLedger()
		l.refuse = true
		group, err := n.host.Open(g, []uint64{1, 2, 3}, l)
		if err != nil {
			t.Fatal(err)
		}
		l.group, n.ledgers[g] = group, l
	}
	m.mu.Lock()
	m.hosts[id] = n.host
	m.mu.Unlock()
	for _, l := range n.ledgers {
		l.group.Start()
	}
	n.store.Start()
	return n
}

func (n *meshNode) stop(t testing.TB, m *mesh, id uint64) {
	n.host.Close()
	m.mu.Lock()
	m.hosts[id] = nil
	m.mu.Unlock()
	if err := n.store.Close(); err != nil {
		t.Error(err)
	}
}

// TestGoroutines: three hosts with all their goroutines; nodes are stopped and
// started again while producers put values wherever the group is led.
func TestGoroutines(t *testing.T) {
	const logs = 3
	m := &mesh{hosts: map[uint64]*Host{}}
	var mu sync.RWMutex // guards nodes
	nodes := map[uint64]*meshNode{}
	disks := map[uint64]vfs.FS{}
	for id := uint64(1); id <= 3; id++ {
		disks[id] = vfs.NewMem()
		nodes[id] = startMesh(t, m, id, disks[id], logs)
	}
	leader := func(g record.LogID) *ledger {
		mu.RLock()
		defer mu.RUnlock()
		for _, n := range nodes {
			if n.ledgers[g].group.Leads() {
				return n.ledgers[g]
			}
		}
		return nil
	}
	ctx, cancel := context.WithCancel(context.Background())
	var producers sync.WaitGroup
	acked := make([][]uint64, logs+1)
	for g := record.LogID(1); g <= logs; g++ {
		producers.Go(func() {
			for v := uint64(1); ctx.Err() == nil; v++ {
				l := leader(g)
				if l == nil {
					continue
				}
				if err := <-l.put(v); err == nil {
					acked[g] = append(acked[g], v)
				}
			}
		})
	}
	for id := uint64(1); id <= 3; id++ {
		<-time.After(200 * time.Millisecond) // of load
		mu.Lock()
		n := nodes[id]
		n.stop(t, m, id)
		for _, other := range nodes {
			if other != n {
				other.host.Peer(id, false)
			}
		}
		n = startMesh(t, m, id, disks[id], logs)
		for _, other := range nodes {
			other.host.Peer(id, true)
		}
		nodes[id] = n
		mu.Unlock()
		led, stop := context.WithTimeout(ctx, time.Minute)
		if err := n.host.Led(led); err != nil {
			t.Error(err)
		}
		stop()
	}
	cancel()
	producers.Wait()
	for g := record.LogID(1); g <= logs; g++ {
		for id, n := range nodes {
			done := make(chan error, 1)
			n.ledgers[g].group.Read(func(err error) { done <- err })
			if err := <-done; err != nil {
				t.Errorf("group %d: node %d cannot read: %v", g, id, err)
				continue
			}
			got := map[uint64]bool{}
			for _, v := range n.ledgers[g].look() {
				if got[v] {
					t.Errorf("group %d: node %d holds %d twice", g, id, v)
				}
				got[v] = true
			}
			for _, v := range acked[g] {
				if !got[v] {
					t.Errorf("group %d: node %d lacks the acknowledged %d", g, id, v)
				}
			}
		}
		t.Logf("group %d: %d acknowledged", g, len(acked[g]))
	}
	for id, n := range nodes {
		n.stop(t, m, id)
	}
}

// BenchmarkReplicated is BenchmarkPropose with three replicas in one process.
func BenchmarkReplicated(b *testing.B) {
	for _, logs := range []int{1, 64} {
		b.Run(fmt.Sprintf("groups=%d", logs), func(b *testing.B) {
			m := &mesh{hosts: map[uint64]*Host{}}
			nodes := map[uint64]*meshNode{}
			for id := uint64(1); id <= 3; id++ {
				nodes[id] = startMesh(b, m, id, vfs.NewMem(), logs)
			}
			for _, n := range nodes {
				if err := n.host.Led(context.Background()); err != nil {
					b.Fatal(err)
				}
			}
			var ledgers []*ledger
			for g := record.LogID(1); g <= record.LogID(logs); g++ {
				for _, n := range nodes {
					if n.ledgers[g].group.Leads() {
						ledgers = append(ledgers, n.ledgers[g])
					}
				}
			}
			b.ReportAllocs()
			b.ResetTimer()
			var wait sync.WaitGroup
			for i := range b.N {
				wait.Add(1)
				p := &put{value: uint64(i), done: make(chan error, 1)}
				ledgers[i%len(ledgers)].group.Post(p)
				go func() { <-p.done; wait.Done() }()
			}
			wait.Wait()
			b.StopTimer()
			for id, n := range nodes {
				n.stop(b, m, id)
			}
		})
	}
}

// BenchmarkIdle is a tick of three nodes in one process with 2,000 groups: when
// none of them sleeps, and when all do.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b, 1, 3, 2000)
	w.net.delayMin, w.net.delayExtra = time.Millisecond, 0
	asleep := func() bool {
		return !slices.ContainsFunc(w.ids, func(id uint64) bool { return len(w.nodes[id].host.shards[0].clock.awake) > 0 })
	}
	tick := func() {
		w.now = w.now.Add(96 * time.Millisecond)
		for range 4 { // what is said, and answered
			w.step()
		}
	}
	for range 10 {
		tick()
	}
	b.Run("awake", func(b *testing.B) {
		for range b.N {
			tick()
			for _, m := range w.nodes {
				for _, l := range m.ledgers {
					l.group.clock.quiet = 0
				}
			}
		}
	})
	for i := 0; !asleep(); i++ {
		if tick(); i > 200 {
			b.Fatal("they do not sleep")
		}
	}
	b.Run("asleep", func(b *testing.B) {
		for range b.N {
			tick()
		}
	})
}
