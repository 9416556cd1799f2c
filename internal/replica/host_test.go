package replica

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"go.uber.org/goleak"

	"waybill/internal/record"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// node is a store with a host and some ledgers.
type node struct {
	t       testing.TB
	store   *storage.Store
	host    *Host
	ledgers map[record.LogID]*ledger
}

// startNode opens the store in fs, with small WAL files so that checkpoints are taken,
// and a ledger for each of the logs.
func startNode(t testing.TB, fs vfs.FS, logs int) *node {
	t.Helper()
	n := &node{t: t, ledgers: map[record.LogID]*ledger{}}
	var err error
	n.store, err = storage.Open(fs, "data", storage.Options{
		WALFileSize: 256 << 10,
		Checkpoint:  func(id record.LogID) (storage.Checkpoint, bool) { return n.host.Checkpoint(id) },
		Fatal:       func(err error) { panic(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.host = NewHost(Config{Store: n.store, ReplicaID: 1, Shards: 2})
	for id := record.LogID(1); id <= record.LogID(logs); id++ {
		n.open(id)
	}
	n.store.Start()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := n.host.Led(ctx); err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *node) open(id record.LogID) *ledger {
	n.t.Helper()
	l := newLedger()
	g, err := n.host.Open(id, []uint64{1}, l)
	if err != nil {
		n.t.Fatal(err)
	}
	l.group = g
	n.ledgers[id] = l
	g.Start()
	return l
}

func (n *node) stop() {
	n.host.Close()
	if err := n.store.Close(); err != nil {
		n.t.Error(err)
	}
}

// TestRestart: what was committed is there after an orderly restart, in order.
func TestRestart(t *testing.T) {
	fs := vfs.NewMem()
	n := startNode(t, fs, 3)
	for id, l := range n.ledgers {
		for i := range uint64(100) {
			if err := <-l.put(uint64(id)*1000 + i); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.stop()
	n = startNode(t, fs, 3)
	defer n.stop()
	for id, l := range n.ledgers {
		got := l.look()
		if len(got) != 100 || got[0] != uint64(id)*1000 || !slices.IsSorted(got) {
			t.Errorf("log %d holds %v", id, got)
		}
	}
}

// TestTermsGrow: every start is a new term, so that a leader epoch derived from it never goes back.
func TestTermsGrow(t *testing.T) {
	fs := vfs.NewMem()
	var last uint64
	for range 3 {
		n := startNode(t, fs, 1)
		if term := <-n.ledgers[1].lead; term <= last {
			t.Errorf("term %d after %d", term, last)
		} else {
			last = term
		}
		n.stop()
	}
}

// TestPowerCut: producers put values into several groups while the power is
// cut at a random sync; what was acknowledged is there afterwards, in order, once, and
// nothing that was never put. Over many cuts of the same disk.
func TestPowerCut(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	const logs = 4
	fs := vfs.NewMem()
	acked := map[record.LogID][]uint64{}
	tried := map[record.LogID]uint64{}
	for cut := range 25 {
		n := startNode(t, fs, logs)
		for id, l := range n.ledgers {
			checkLedger(t, id, l.look(), acked[id], tried[id])
			acked[id] = l.look()
			tried[id] = 0
			for _, v := range acked[id] {
				tried[id] = max(tried[id], v)
			}
		}
		after := 1 + rng.IntN(40)
		var syncs sync.Mutex // guards after: a WAL file is made, or flushed, meanwhile
		var clone *vfs.Mem
		var mu sync.Mutex // guards acked against the clone: what is acked before the cut must be on the disk that survives
		dead := make(chan struct{})
		fs.OnSync(func(vfs.SyncPoint) {
			syncs.Lock()
			after--
			cut := after == 0
			syncs.Unlock()
			if !cut {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			clone = fs.CrashClone(rng.Uint64())
			close(dead)
		})
		var producers sync.WaitGroup
		for id, l := range n.ledgers {
			producers.Go(func() {
				for {
					mu.Lock()
					select {
					case <-dead:
						mu.Unlock()
						return
					default:
					}
					tried[id]++
					v := tried[id]
					mu.Unlock()
					err := <-l.put(v)
					mu.Lock()
					select {
					case <-dead:
					default:
						if err == nil {
							acked[id] = append(acked[id], v)
						}
					}
					mu.Unlock()
				}
			})
		}
		producers.Wait()
		fs.OnSync(nil)
		n.stop()
		fs = clone
		if t.Failed() {
			t.Fatalf("after cut %d", cut)
		}
	}
}

// checkLedger: got begins with what was acked, goes on in order, and holds nothing beyond tried.
func checkLedger(t *testing.T, id record.LogID, got, acked []uint64, tried uint64) {
	t.Helper()
	for i, v := range acked {
		if i >= len(got) || got[i] != v {
			t.Errorf("log %d: acknowledged value %d is not at %d: %v", id, v, i, got)
			return
		}
	}
	for _, v := range got[len(acked):] {
		if v > tried {
			t.Errorf("log %d: holds %d, the last one tried was %d", id, v, tried)
		}
	}
	if !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("log %d: not in order or not once: %v", id, got)
	}
}

// TestCoalescing: what is posted while the disk syncs becomes few entries.
func TestCoalescing(t *testing.T) {
	fs := vfs.NewMem()
	n := startNode(t, fs, 1)
	defer n.stop()
	l := n.ledgers[1]
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fs.OnSync(func(p vfs.SyncPoint) {
		if p.Op != vfs.OpSyncData {
			return // of the next WAL file, which may still be being made
		}
		once.Do(func() {
			close(held)
			<-release
		})
	})
	first := l.put(0)
	<-held
	var rest []chan error
	for i := range uint64(1000) {
		rest = append(rest, l.put(i+1))
	}
	l.look() // all of them are in the machine now
	close(release)
	for _, done := range append(rest, first) {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	fs.OnSync(nil)
	entries := make(chan int, 1)
	l.group.Post(&call{func() { entries <- l.entries }})
	if got := <-entries; got != 2 {
		t.Errorf("1,001 values took %d entries, want 2", got)
	}
}

// TestLargeEntriesDoNotWait: what is posted while the disk syncs is built meanwhile, once it is much.
func TestLargeEntriesDoNotWait(t *testing.T) {
	fs := vfs.NewMem()
	n := startNode(t, fs, 1)
	defer n.stop()
	l := n.ledgers[1]
	held, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	fs.OnSync(func(p vfs.SyncPoint) {
		if p.Op != vfs.OpSyncData {
			return // of the next WAL file, which may still be being made
		}
		once.Do(func() {
			close(held)
			<-release
		})
	})
	all := []chan error{l.put(0)}
	<-held
	for i := range uint64(largeEntry/8 + 100) {
		all = append(all, l.put(i+1))
	}
	l.look() // all of them are in the machine, and its turn has come
	for range 10 {
		all = append(all, l.put(uint64(len(all))))
	}
	l.look()
	counts := make(chan [2]int, 1)
	l.group.Post(&call{func() { counts <- [2]int{len(l.built), len(l.waiting)} }})
	if got := <-counts; got[0] <= largeEntry/8 || got[1] < 10 {
		t.Errorf("%d values are built while the disk syncs the first, and %d wait; want a large entry built, and the rest waiting", got[0], got[1])
	}
	close(release)
	for _, done := range all {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	fs.OnSync(nil)
}

// TestRemove: a removed group answers everyone, and its log is gone for good.
func TestRemove(t *testing.T) {
	fs := vfs.NewMem()
	n := startNode(t, fs, 2)
	l := n.ledgers[2]
	if err := <-l.put(1); err != nil {
		t.Fatal(err)
	}
	n.host.Remove(2)
	select {
	case err := <-l.put(2):
		if err == nil {
			t.Error("a removed group commits")
		}
	case <-time.After(10 * time.Millisecond): // posted after Follow: the machine may keep it
	}
	if err := <-n.ledgers[1].put(1); err != nil { // carries the deletion to the disk
		t.Fatal(err)
	}
	n.stop()
	store, err := storage.Open(fs, "data", storage.Options{Fatal: func(err error) { panic(err) }})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if logs := store.Logs(); !slices.Equal(logs, []record.LogID{1}) {
		t.Errorf("logs %v after the removal of 2", logs)
	}
}

// TestRemoveUnderLoad: raft may have entries of a group still to apply when
// its log is deleted.
func TestRemoveUnderLoad(t *testing.T) {
	const groups = 200
	n := startNode(t, vfs.NewMem(), groups)
	defer n.stop()
	var answers []chan error
	for id := record.LogID(1); id <= groups; id++ {
		for v := range uint64(id % 7) {
			answers = append(answers, n.ledgers[id].put(v))
		}
		if id%2 == 0 {
			n.host.Remove(id)
		}
	}
	if err := <-n.ledgers[groups-1].put(9); err != nil {
		t.Error(err)
	}
	for _, answer := range answers {
		select {
		case <-answer:
		default: // posted after Follow: the machine may keep it
		}
	}
}

// TestTimer: it rings once, not before its time; a later request replaces an earlier one.
func TestTimer(t *testing.T) {
	n := startNode(t, vfs.NewMem(), 1)
	l := n.ledgers[1]
	begin := time.Now()
	for _, after := range []time.Duration{time.Hour, 5 * time.Millisecond} {
		set := make(chan struct{})
		l.group.Post(&wake{at: begin.Add(after), set: set})
		<-set
	}
	rung := make(chan []time.Time, 1)
	for deadline := time.Now().Add(time.Minute); ; {
		l.group.Post(&call{func() { rung <- slices.Clone(l.timers) }})
		times := <-rung
		if len(times) == 1 {
			if times[0].Before(begin.Add(5 * time.Millisecond)) {
				t.Errorf("rang after %s", times[0].Sub(begin))
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("rang %d times", len(times))
		}
	}
	n.stop()
}

// TestMissingCommitted: a log that ends before what was committed is refused,
// not served as if nothing had been lost.
func TestMissingCommitted(t *testing.T) {
	_, err := newRaftLog(&Group{log: emptyLog(t), applied: 1}, &raftpb.HardState{Commit: new(uint64(5))})
	if !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("error %v", err)
	}
}

// TestDamageAboveCheckpoint: a log with damage in what raft still has to read
// is refused; the node and its other logs work on.
func TestDamageAboveCheckpoint(t *testing.T) {
	fs := vfs.NewMem()
	options := storage.Options{
		WALFileSize: 256 << 10,
		// Nobody owns the logs, so all entries go to segments, above any checkpoint.
		Checkpoint: func(record.LogID) (storage.Checkpoint, bool) { return storage.Checkpoint{}, false },
		Fatal:      func(err error) { panic(err) },
	}
	open := func() *node {
		store, err := storage.Open(fs, "data", options)
		if err != nil {
			t.Fatal(err)
		}
		store.Start()
		return &node{t: t, store: store, host: NewHost(Config{Store: store, ReplicaID: 1}), ledgers: map[record.LogID]*ledger{}}
	}
	n := open()
	one, two := n.open(1), n.open(2)
	segments := func() []string {
		names, err := fs.List("data/seg")
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	for v := uint64(0); len(segments()) == 0; v++ { // until a WAL file is flushed
		if err := errors.Join(<-one.put(v), <-two.put(v)); err != nil {
			t.Fatal(err)
		}
	}
	n.stop()
	for _, name := range segments() {
		if err := fs.Rot("data/seg/"+name, 1, 2000); err != nil {
			t.Fatal(err)
		}
	}
	n = open()
	defer n.stop()
	for id := record.LogID(1); id <= 2; id++ {
		if _, err := n.host.Open(id, []uint64{1}, newLedger()); !errors.Is(err, storage.ErrDamaged) {
			t.Errorf("log %d: error %v", id, err)
		}
	}
	if err := <-n.open(3).put(1); err != nil {
		t.Error(err)
	}
}

// TestDamageWithoutEntries: a log of which nothing is left is refused too.
func TestDamageWithoutEntries(t *testing.T) {
	fs := vfs.NewMem()
	n := startNode(t, fs, 1)
	if err := <-n.ledgers[1].put(1); err != nil {
		t.Fatal(err)
	}
	n.stop()
	names, err := fs.List("data/wal")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if err := fs.Remove("data/wal/" + name); err != nil {
			t.Fatal(err)
		}
	}
	store, err := storage.Open(fs, "data", storage.Options{})
	if err != nil {
		t.Fatal(err)
	}
	n = &node{t: t, store: store, host: NewHost(Config{Store: store, ReplicaID: 1})}
	defer n.stop()
	if _, err := n.host.Open(1, []uint64{1}, newLedger()); !errors.Is(err, storage.ErrDamaged) {
		t.Errorf("error %v", err)
	}
}

func emptyLog(t *testing.T) *storage.Log {
	store, err := storage.Open(vfs.NewMem(), "data", storage.Options{Fatal: func(err error) { panic(err) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store.Log(1)
}

func BenchmarkPropose(b *testing.B) {
	for _, logs := range []int{1, 64} {
		b.Run(fmt.Sprintf("groups=%d", logs), func(b *testing.B) {
			n := startNode(b, vfs.NewMem(), logs)
			defer n.stop()
			b.ReportAllocs()
			var wait sync.WaitGroup
			for i := range b.N {
				wait.Add(1)
				p := &put{value: uint64(i), done: make(chan error, 1)}
				n.ledgers[record.LogID(1+i%logs)].group.Post(p)
				go func() { <-p.done; wait.Done() }()
			}
			wait.Wait()
		})
	}
}
