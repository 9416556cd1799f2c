package storage

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/cryptotest"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

var (
	goonSeed = flag.Uint64("goon.seed", 0, "replay this seed of the test of a store that goes on after power cuts")
	goonRuns = flag.Int("goon.runs", 6, "seeds of that test")
)

const goonSteps = 600

// ledger is what a log must hold, and what its machine still needs of that.
type ledger struct {
	entries []*raftpb.Entry // from index 2 on
	commit  uint64
	applied uint64
	dead    record.Offset // below it only the multiples of every are alive
	every   record.Offset
}

func (m *ledger) last() uint64 { return uint64(len(m.entries)) + 1 }

func (m *ledger) term() uint64 {
	if len(m.entries) == 0 {
		return 1
	}
	return m.entries[len(m.entries)-1].GetTerm()
}

// next is the offset that the next message gets.
func (m *ledger) next() record.Offset {
	for _, e := range slices.Backward(m.entries) {
		if base, count := offsets(e, -1); base >= 0 {
			return base + record.Offset(count)
		}
	}
	return 0
}

func (m *ledger) live(from, to record.Offset) bool {
	for ; from < to; from++ {
		if from >= m.dead || from%m.every == 0 {
			return true
		}
	}
	return false
}

// needed returns the entries with a live offset and, if asked for, those with
// any offset that are not applied.
func (m *ledger) needed(unapplied bool) (all []*raftpb.Entry) {
	for _, e := range m.entries {
		base, count := offsets(e, 0)
		if count > 0 && (unapplied && e.GetIndex() > m.applied || m.live(base, base+record.Offset(count))) {
			all = append(all, e)
		}
	}
	return all
}

// progress has the machine commit and apply more, and need less. What is dead stays dead.
func (m *ledger) progress(rng *rand.Rand) {
	m.commit = max(m.commit, m.last()-min(m.last()-1, rng.Uint64N(4)))
	m.applied = max(m.applied, m.commit-min(m.commit-m.applied, rng.Uint64N(3)))
	if m.applied < 2 || rng.IntN(15) > 0 {
		return
	}
	base, _ := offsets(m.entries[m.applied-2], m.dead)
	if rng.IntN(2) == 0 {
		base /= 2
	}
	m.dead = max(m.dead, base)
	if rng.IntN(5) == 0 {
		m.every *= 3
	}
}

// sights are what happened in all runs: without them the test would test nothing.
type sights struct {
	kept, recycled int // WAL files
	full           int // writes behind the batches of such a file for which there was no space
	cuts           int
}

// traveler is a store that goes from one power cut to the next.
type traveler struct {
	t      *testing.T
	rng    *rand.Rand
	fs     *vfs.Mem
	store  *Store
	now    time.Time
	logs   map[record.LogID]*ledger
	lastID record.LogID
	bodies [][]byte        // that several logs hold; nil: none does
	kept   map[uint64]bool // WAL files that are kept now
	seen   *sights

	// Of the request under way:
	acked bool  // before the power was cut, if it was
	err   error // that it ended with

	cutIn int      // so many sync points from now the power is cut; 0: it is not
	left  *vfs.Mem // what is on the disk after the store ended; nil: it runs
	where string   // what ended the store, for messages
}

// AppendDone implements [Completion].
func (w *traveler) AppendDone(a *Append) {
	if w.left == nil { // nobody hears it after the power cut
		w.acked = a.Err == nil
	}
	w.err = a.Err
}

func (w *traveler) checkpoint(id record.LogID) (Checkpoint, bool) {
	m := w.logs[id]
	if m == nil || m.applied < 2 {
		return Checkpoint{}, false
	}
	frozen := *m
	c := Checkpoint{
		Applied: record.Index(m.applied), Term: m.entries[m.applied-2].GetTerm(),
		ConfState: &raftpb.ConfState{Voters: []uint64{1}}, Live: frozen.live,
	}
	if w.rng.IntN(5) == 0 {
		c.Retain = record.Index(1 + w.rng.Uint64N(m.applied))
	}
	return c, true
}

// atSync cuts the power when it is time. The store of before goes on with a disk that is nobody's.
func (w *traveler) atSync(p vfs.SyncPoint) {
	if w.cutIn == 0 {
		return
	}
	if w.cutIn--; w.cutIn == 0 {
		w.left = w.fs.CrashClone(w.rng.Uint64())
		w.where = fmt.Sprintf("power cut at %v of %s, done: %v", p.Op, p.Name, p.Done)
		w.seen.cuts++
	}
}

// open starts a store, with WAL files of another size now and then.
func (w *traveler) open() (err error) {
	sizes := []int64{48 << 10, 64 << 10, 64 << 10, 64 << 10, 96 << 10, 128 << 10}
	w.fs.OnSync(w.atSync)
	w.store, err = Open(w.fs, "data", Options{
		WALFileSize: sizes[w.rng.IntN(len(sizes))], SegmentSize: 128 << 10, Reserve: 1,
		Checkpoint: w.checkpoint, Manual: true, Now: func() time.Time { return w.now }, Logger: quiet(),
		Fatal: func(err error) { w.t.Errorf("fatal: %v", err) },
	})
	if err != nil {
		return err
	}
	w.watch()
	w.store.Start()
	return nil
}

// step makes one request, and sees what is left of it when the power is cut meanwhile.
func (w *traveler) step() error {
	id := w.pick()
	if w.rng.IntN(3) == 0 {
		w.logs[id].progress(w.rng)
	}
	w.now = w.now.Add(time.Duration(w.rng.IntN(5)) * time.Second)
	w.acked, w.err, w.cutIn = false, nil, 0
	if w.rng.IntN(6) == 0 {
		w.cutIn = 1 + w.rng.IntN(8)
	}
	after, err := w.request(id)
	if err != nil {
		return err
	}
	w.cutIn = 0
	if w.left == nil && w.rng.IntN(40) == 0 {
		if err := w.stop(); err != nil {
			return err
		}
	}
	switch {
	case w.left != nil:
		after, err = w.goOn(id, after)
	case w.rng.IntN(5) == 0:
		err = w.holds(id, after)
	}
	if w.logs[id] = after; after == nil {
		delete(w.logs, id)
	}
	w.look()
	return err
}

// pick returns one of the logs, of which there are always a few.
func (w *traveler) pick() record.LogID {
	for len(w.logs) < 4 {
		w.lastID++
		w.logs[w.lastID] = &ledger{commit: 1, applied: 1, every: record.Offset(1 + w.rng.IntN(9))}
	}
	return w.ids()[w.rng.IntN(len(w.logs))]
}

func (w *traveler) ids() []record.LogID { return slices.Sorted(maps.Keys(w.logs)) }

// request appends to a log or deletes it, and returns what it must hold then, nil: nothing.
func (w *traveler) request(id record.LogID) (after *ledger, err error) {
	if w.rng.IntN(120) == 0 {
		w.store.Delete(id)
		w.work()
		w.acked = w.left == nil && !w.store.Holds(id)
	} else {
		var a *Append
		after, a = w.append(id)
		full := w.fillDisk(a)
		w.store.Append(a)
		w.work()
		if full && len(w.store.flusher.waiting) > 0 {
			w.seen.full++
		}
	}
	if w.err == nil && w.left == nil && !w.acked {
		return after, fmt.Errorf("log %d: the request is not done", id)
	}
	return after, w.err
}

func (w *traveler) work() {
	for w.store.Step() {
	}
}

// append makes a request of a few entries, which may replace some that are not committed.
func (w *traveler) append(id record.LogID) (*ledger, *Append) {
	after := *w.logs[id]
	first, term := after.last()+1, after.term()
	if w.rng.IntN(8) == 0 && after.commit < after.last() {
		first = after.commit + 1 + w.rng.Uint64N(after.last()-after.commit)
		term++
	}
	after.entries = after.entries[: first-2 : first-2]
	size := []int{40, 3000, 6000, 9000}[w.rng.IntN(4)]
	a := &Append{Log: w.store.Log(id), Done: w}
	share := len(w.bodies) > 0 && w.rng.IntN(4) > 0
	for range 1 + w.rng.IntN(5) {
		index := after.last() + 1
		e := &raftpb.Entry{Index: &index, Term: &term}
		if w.rng.IntN(12) > 0 {
			text := strings.Repeat(fmt.Sprintf("%d.%d.%d;", id, index, term), 1+w.rng.IntN(size)/8)
			e = entry(index, term, after.next(), uint32(w.rng.IntN(3)), text)
		}
		if share {
			a.Shared = append(a.Shared, w.share(e))
		}
		after.entries = append(after.entries, e)
	}
	a.Entries = after.entries[first-2:]
	return &after, a
}

// share puts bodies that other logs have, too, into an entry.
func (w *traveler) share(e *raftpb.Entry) (spans []Span) {
	for range w.rng.IntN(3) {
		k := w.rng.IntN(len(w.bodies))
		if w.bodies[k] == nil || w.rng.IntN(6) == 0 {
			w.bodies[k] = []byte(strings.Repeat(fmt.Sprintf("body %d;", w.rng.Uint64()), 1+w.rng.IntN(200)))
		}
		if from, body := len(e.Data), w.bodies[k]; from > 0 {
			e.Data = append(e.Data, body...)
			spans = append(spans, Span{from, len(e.Data), &body[0]})
		}
	}
	return spans
}

// fillDisk leaves no space for something of the next checkpoints now and then. It returns whether that
// is what goes behind the batches of a WAL file that is kept: nothing else is written to the
// file any more, as the request does not fit.
func (w *traveler) fillDisk(a *Append) bool {
	fault := vfs.Fault{Times: 1 + w.rng.IntN(3), Err: syscall.ENOSPC}
	need := int64(0)
	for _, e := range a.Entries {
		need += int64(entryLen(e))
	}
	f := w.store.wal.file
	full := need > f.size-f.pos && w.rng.IntN(3) == 0
	switch {
	case full:
		fault.Op, fault.Name = vfs.OpWrite, fileName(f.id, walSuffix)
		w.fs.Heal()
	case w.rng.IntN(25) == 0:
		fault.Op = []vfs.Op{vfs.OpWrite, vfs.OpCreate}[w.rng.IntN(2)]
		fault.Name = []string{checkpointSuffix, segSuffix}[w.rng.IntN(2)]
	default:
		return false
	}
	w.fs.Inject(fault)
	return full
}

// stop ends the process, after which the power may fail, too.
func (w *traveler) stop() error {
	if err := w.store.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	w.where = "close"
	if w.rng.IntN(2) == 0 {
		w.left = w.fs.StrictClone()
	} else {
		w.left = w.fs.Clone()
	}
	return nil
}

// goOn opens what is left, and returns what a log holds then: after, or what it held before a
// request that was not acknowledged. The power may be cut once more meanwhile.
func (w *traveler) goOn(id record.LogID, after *ledger) (*ledger, error) {
	if w.rng.IntN(3) == 0 {
		w.cutIn = 1 + w.rng.IntN(10)
	}
	for w.left != nil {
		w.fs, w.left = w.left, nil
		if err := w.open(); err != nil {
			return nil, err
		}
	}
	w.cutIn = 0
	if err := allListed(w.store); err != nil {
		return nil, err
	}
	before := w.logs[id]
	err := w.holds(id, after)
	if err != nil && !w.acked {
		if e := w.holds(id, before); e != nil {
			err = errors.Join(err, e)
		} else {
			after, err = before, nil
		}
	}
	for _, other := range w.ids() {
		if other != id && err == nil {
			err = w.holds(other, w.logs[other])
		}
	}
	if err != nil {
		return nil, fmt.Errorf("after %s: %w", w.where, err)
	}
	return after, nil
}

// holds compares a log with what it must hold, read in all ways there are.
func (w *traveler) holds(id record.LogID, m *ledger) error {
	if m == nil {
		if w.store.Holds(id) {
			return fmt.Errorf("log %d is there although it was deleted", id)
		}
		return nil
	}
	l, limit := w.store.Log(id), 1<<w.rng.IntN(20)
	readFrom := func(off record.Offset) ([]*raftpb.Entry, *Loan, error) {
		entries, err := l.ReadFrom(off, 1<<40, limit, true)
		return entries, nil, err
	}
	borrow := func(off record.Offset) ([]*raftpb.Entry, *Loan, error) {
		loan, err := l.Borrow(off, 1<<40, limit)
		if err != nil {
			return nil, nil, err
		}
		return loan.Entries, loan, nil
	}
	for _, seen := range []struct {
		how string
		err error
	}{
		{"Damaged", l.Damaged()},
		{"Entries", m.sameByIndex(l, limit)},
		{"ReadFrom", m.sameByOffset(readFrom)},
		{"Borrow", m.sameByOffset(borrow)},
		{"LiveEntries", m.sameLive(l, limit)},
	} {
		if seen.err != nil {
			return fmt.Errorf("log %d: %s: %w", id, seen.how, seen.err)
		}
	}
	return nil
}

func (m *ledger) sameByIndex(l *Log, limit int) error {
	if uint64(l.LastIndex()) != m.last() {
		return fmt.Errorf("the log ends at %d, not %d", l.LastIndex(), m.last())
	}
	for i := l.FirstIndex(); i <= l.LastIndex(); {
		entries, err := l.Entries(i, l.LastIndex()+1, uint64(limit), true)
		if err != nil {
			return err
		}
		from := int(i) - 2
		if err := equalEntries(entries, m.entries[from:min(from+len(entries), len(m.entries))]); err != nil {
			return err
		}
		i += record.Index(len(entries))
	}
	return nil
}

// sameByOffset checks that all that is needed is there, once and in order. What is dead may be there, too.
func (m *ledger) sameByOffset(read func(record.Offset) ([]*raftpb.Entry, *Loan, error)) error {
	want := m.needed(true)
	off := record.Offset(0)
	for {
		entries, loan, err := read(off)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			return equalEntries(nil, want)
		}
		for _, e := range entries {
			i := e.GetIndex()
			if i < 2 || i > m.last() {
				return fmt.Errorf("index %d, the last is %d", i, m.last())
			}
			if err := equalEntries([]*raftpb.Entry{e}, m.entries[i-2:i-1]); err != nil {
				return err
			}
			base, count := offsets(e, 0)
			if base+record.Offset(count) <= off {
				return fmt.Errorf("offset %d after %d", base, off)
			}
			off = base + record.Offset(count)
			if len(want) > 0 && want[0].GetIndex() < i {
				return fmt.Errorf("index %d was skipped", want[0].GetIndex())
			}
			if len(want) > 0 && want[0].GetIndex() == i {
				want = want[1:]
			}
		}
		loan.Release(off)
	}
}

func (m *ledger) sameLive(l *Log, limit int) error {
	var all []*raftpb.Entry
	for after := record.Index(1); after < l.LastIndex(); {
		entries, next, err := l.LiveEntries(after, l.LastIndex(), m.live, limit)
		if err != nil {
			return err
		}
		all, after = append(all, entries...), next
	}
	return equalEntries(all, m.needed(false))
}

// look counts the WAL files that are kept.
func (w *traveler) look() {
	now := make(map[uint64]bool)
	for _, id := range w.ids() {
		wals, _ := keptIn(w.store.Log(id))
		for _, n := range wals {
			if !w.kept[n] && !now[n] {
				w.seen.kept++
			}
			now[n] = true
		}
	}
	w.kept = now
}

// watch counts the kept WAL files that the store takes for the WAL again.
func (w *traveler) watch() {
	pool, recycle := &w.store.preparer.pool, w.store.segs.recycle
	w.store.segs.recycle = func(name string, size int64) error {
		before := pool.len()
		err := recycle(name, size)
		w.seen.recycled += pool.len() - before
		return err
	}
}

// TestGoesOnAfterPowerCuts cuts the power at random, also of a store that recovers from
// the last cut. Each time the store goes on with what is left, so that an error which shows
// only some power cuts later is found, too.
func TestGoesOnAfterPowerCuts(t *testing.T) {
	seeds := make([]uint64, *goonRuns)
	for i := range seeds {
		seeds[i] = rand.Uint64N(1 << 40)
	}
	if *goonSeed != 0 {
		seeds = []uint64{*goonSeed}
	}
	var seen sights
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { travel(t, seed, &seen) })
	}
	t.Logf("%d power cuts, %d WAL files kept, %d of them recycled, %d times no space to keep one", seen.cuts, seen.kept, seen.recycled, seen.full)
	if !t.Failed() && (seen.kept == 0 || seen.recycled == 0 || seen.full == 0 || seen.cuts == 0) {
		t.Error("which is not enough to find anything")
	}
}

func travel(t *testing.T, seed uint64, seen *sights) {
	cryptotest.SetGlobalRandom(t, seed) // the store's id
	defer func() {
		if t.Failed() {
			t.Logf("replay: go test ./internal/storage -run TestGoesOnAfterPowerCuts -goon.seed=%d", seed)
		}
	}()
	w := &traveler{t: t, rng: rand.New(rand.NewPCG(seed, 3)), fs: vfs.NewMem(), now: time.Unix(0, 0), logs: make(map[record.LogID]*ledger), seen: seen}
	if seed%2 == 0 {
		w.bodies = make([][]byte, 4)
	}
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	for n := range goonSteps {
		if err := w.step(); err != nil {
			t.Fatalf("seed %d, step %d: %v", seed, n, err)
		}
	}
	if err := w.store.Close(); err != nil {
		t.Fatalf("seed %d: close: %v", seed, err)
	}
}
