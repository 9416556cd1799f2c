package storage

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

var (
	crashSeed = flag.Uint64("crash.seed", 0, "replay this seed of the crash test")
	crashRuns = flag.Int("crash.runs", 5, "seeds of the crash test")
)

// model is what a log must hold: what was acknowledged, and what was asked
// for after.
type model struct {
	mu     sync.Mutex
	states []modelState // after each request, the first without any
	acked  int          // the last of states that is acknowledged
}

type modelState struct {
	entries []*raftpb.Entry // from index 2 on
	hard    hardState
	floor   uint64 // the machine's state is at this index or above, because it was installed
	deleted bool
}

func (s modelState) last() uint64 { return uint64(len(s.entries)) + 1 }

// newest is the state after all requests.
func (m *model) newest() modelState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[len(m.states)-1]
}

func (m *model) ask(s modelState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.states = append(m.states, s)
}

func (m *model) AppendDone(*Append) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.acked++
}

// ackedNow is the place in states of what a crash from now on must keep.
func (m *model) ackedNow() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.acked
}

// since are the states from one on.
func (m *model) since(n int) []modelState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.states[n:len(m.states):len(m.states)]
}

// world drives a store at random, and checks what crashes leave of it.
type world struct {
	t      *testing.T
	rng    *rand.Rand
	seed   uint64
	fs     *vfs.Mem
	store  *Store
	logs   map[record.LogID]*model
	ids    []record.LogID
	nextID record.LogID
	bodies [8][]byte
	stages map[record.LogID]*staging

	mu     sync.Mutex
	points int
	checks int

	installs, aborts int
	kept             int // chunks of logs in WAL files that are kept, seen at the ends
}

const deadBelow = 5 // of ten offsets are dead once applied

func alive(off record.Offset) bool { return off%10 >= deadBelow }

func anyAlive(from, to record.Offset) bool {
	for ; from < to; from++ {
		if alive(from) {
			return true
		}
	}
	return false
}

func (w *world) options() Options {
	return Options{
		WALFileSize: 16 << 10, SegmentSize: 32 << 10,
		Checkpoint: w.checkpoint,
		Logger:     quiet(),
		Fatal:      func(err error) { panic(err) },
	}
}

// checkpoint is the machines' answer: all that is acknowledged is applied.
func (w *world) checkpoint(id record.LogID) (Checkpoint, bool) {
	w.mu.Lock()
	m := w.logs[id]
	w.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.states[m.acked]
	applied := min(s.hard.commit, s.last())
	if s.deleted || applied < 2 || uint64(id)%4 == 0 {
		return Checkpoint{}, false
	}
	return Checkpoint{
		Applied: record.Index(applied), Term: s.entries[applied-2].GetTerm(),
		ConfState: &raftpb.ConfState{Voters: []uint64{uint64(id)}},
		State:     fmt.Appendf(nil, "%d applied %d", id, applied), Live: anyAlive,
	}, true
}

func (w *world) model(id record.LogID) *model {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.logs[id]
	if m == nil {
		m = &model{states: make([]modelState, 1)}
		w.logs[id] = m
		w.ids = append(w.ids, id)
	}
	return m
}

// step makes one random request.
func (w *world) step() {
	if len(w.ids) < 6 || w.rng.IntN(60) == 0 {
		w.nextID++
		w.model(w.nextID)
	}
	if w.rng.IntN(25) == 0 {
		w.elect()
		return
	}
	id := w.ids[w.rng.IntN(len(w.ids))]
	m := w.model(id)
	s := m.newest()
	if s.deleted {
		return
	}
	if w.rng.IntN(150) == 0 {
		w.delete(id, m)
		return
	}
	if w.stage(id, m) {
		return
	}
	a := &Append{Log: w.store.Log(id), Sync: true, Done: m}
	term := max(s.hard.term, 1) + uint64(w.rng.IntN(20)/19)
	first := s.last() + 1
	if w.rng.IntN(8) == 0 && s.hard.commit < s.last() { // overwrite what is not committed
		first = s.hard.commit + 1 + w.rng.Uint64N(s.last()-s.hard.commit)
		first = max(first, 2)
		term++
	}
	s.entries = s.entries[: first-2 : first-2]
	var next record.Offset
	for i := len(s.entries) - 1; i >= 0; i-- {
		if base, count := offsets(s.entries[i], -1); base >= 0 {
			next = base + record.Offset(count)
			break
		}
	}
	for range 1 + w.rng.IntN(4) {
		e := w.entry(s.last()+1, term, &next)
		s.entries = append(s.entries, e)
		a.Entries = append(a.Entries, e)
	}
	w.share(a)
	commit := max(s.hard.commit, s.last()-min(s.last()-1, w.rng.Uint64N(4)))
	if w.stages[id] != nil {
		commit = s.hard.commit // a leader that sends a snapshot sends nothing else
	}
	s.hard = hardState{term, id2vote(id), commit}
	a.HardState = hard(s.hard.term, s.hard.vote, s.hard.commit)
	m.ask(s)
	w.store.Append(a)
}

// elect has all logs vote at once. The batches of several such elections look the same but
// for the terms.
func (w *world) elect() {
	for _, id := range w.ids {
		m := w.model(id)
		s := m.newest()
		if s.deleted {
			continue
		}
		s.hard.term, s.hard.vote = s.hard.term+1, id2vote(id)
		m.ask(s)
		w.store.Append(&Append{Log: w.store.Log(id), HardState: hard(s.hard.term, s.hard.vote, s.hard.commit), Sync: true, Done: m})
	}
}

// share puts bodies that other logs get, too, into some of the entries.
func (w *world) share(a *Append) {
	if w.rng.IntN(2) == 0 || w.seed%2 == 0 { // so that many WAL files are kept
		return
	}
	a.Shared = make([][]Span, len(a.Entries))
	for i, e := range a.Entries {
		for range w.rng.IntN(3) {
			k := w.rng.IntN(len(w.bodies))
			if w.bodies[k] == nil || w.rng.IntN(20) == 0 {
				w.bodies[k] = fmt.Appendf(nil, "%d%s", w.rng.Uint64(), strings.Repeat("s", w.rng.IntN(1000)))
			}
			if from, body := len(e.Data), w.bodies[k]; from > 0 {
				e.Data = append(e.Data, body...)
				a.Shared[i] = append(a.Shared[i], Span{from, len(e.Data), &body[0]})
			}
		}
	}
}

func id2vote(id record.LogID) uint64 { return uint64(id) % 3 }

func (w *world) entry(index, term uint64, next *record.Offset) *raftpb.Entry {
	if w.rng.IntN(10) == 0 {
		return &raftpb.Entry{Index: &index, Term: &term}
	}
	count := uint32(w.rng.IntN(4))
	size := 20
	if w.seed%2 == 0 {
		size = 1500
	}
	switch w.rng.IntN(10) {
	case 0:
		size = 3000
	case 1:
		size = 700
	}
	if w.rng.IntN(100) == 0 {
		size = 40 << 10 // larger than a WAL file
	}
	e := entry(index, term, *next, count, strings.Repeat(string(rune('a'+index%26)), 1+w.rng.IntN(size)))
	*next += record.Offset(count)
	return e
}

func (w *world) delete(id record.LogID, m *model) {
	s := m.newest()
	m.ask(modelState{entries: s.entries, hard: s.hard, deleted: true})
	w.store.Delete(id)
}

// crash checks what a power cut now would leave. It is called at sync points.
func (w *world) crash(p vfs.SyncPoint) {
	w.mu.Lock()
	w.points++
	n := w.points
	ids := append([]record.LogID(nil), w.ids...)
	w.mu.Unlock()
	if p.Name == "" || strings.HasSuffix(p.Name, newSuffix) && n%4 != 0 {
		return // zeroing: seldom of interest
	}
	before := make(map[record.LogID]int)
	for _, id := range ids {
		before[id] = w.model(id).ackedNow()
	}
	clone := w.fs.CrashClone(w.seed<<20 + uint64(n))
	after := make(map[record.LogID][]modelState)
	w.mu.Lock()
	ids = append([]record.LogID(nil), w.ids...)
	w.mu.Unlock()
	for _, id := range ids {
		after[id] = w.model(id).since(before[id])
	}
	if err := w.check(clone, after); err != nil {
		w.t.Errorf("seed %d, crash at sync point %d (%v of %s, done: %v): %v", w.seed, n, p.Op, p.Name, p.Done, err)
	}
	w.mu.Lock()
	w.checks++
	w.mu.Unlock()
}

// check opens what is left and compares every log with the states it may be in.
func (w *world) check(fs *vfs.Mem, may map[record.LogID][]modelState) error {
	opts := w.options()
	opts.Checkpoint = nil
	for round := range 2 { // the second sees what the first recovery wrote
		s, err := Open(fs, "data", opts)
		if err != nil {
			return fmt.Errorf("open, round %d: %w", round, err)
		}
		for id, states := range may {
			if err := matches(s.Log(id), states); err != nil {
				s.Close()
				return fmt.Errorf("log %d, round %d: %w", id, round, err)
			}
		}
		if err := allListed(s); err != nil {
			s.Close()
			return fmt.Errorf("round %d: %w", round, err)
		}
		for _, id := range s.Logs() {
			if may[id] == nil {
				s.Close()
				return fmt.Errorf("log %d was never made", id)
			}
		}
		if round == 0 {
			next := fs.StrictClone()
			s.Close()
			fs = next
			continue
		}
		s.Close()
	}
	return nil
}

// allListed checks that no segment is left over, and no WAL file but those that are about to be used.
func allListed(s *Store) error {
	segs, err := s.fs.List("data/seg")
	if err != nil {
		return err
	}
	wals, err := s.fs.List("data/wal")
	if err != nil {
		return err
	}
	listed, kept := make(map[string]bool), make(map[string]bool)
	s.mu.RLock()
	for _, l := range s.logs {
		l.mu.RLock()
		for _, c := range l.chunks {
			if name := path.Base(c.seg.name()); c.kept {
				kept[name] = true
			} else {
				listed[name] = true
			}
		}
		l.mu.RUnlock()
	}
	s.mu.RUnlock()
	if len(listed) != len(segs) {
		return fmt.Errorf("segments %v, in use are %v", segs, listed)
	}
	if most := len(kept) + s.preparer.pool.most() + maxSealed + 2; len(wals) > most {
		return fmt.Errorf("WAL files %v, kept are %v", wals, kept)
	}
	return nil
}

// matches reports whether the log is in one of the states.
func matches(l *Log, states []modelState) error {
	if err := l.Damaged(); err != nil {
		return err
	}
	var errs []error
	for _, s := range states {
		err := l.is(s)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs[:min(len(errs), 3)]...)
}

// is reports how the log differs from s.
func (l *Log) is(s modelState) error {
	if s.deleted {
		s = modelState{}
	}
	if uint64(l.LastIndex()) != s.last() {
		return fmt.Errorf("it ends at %d, not %d", l.LastIndex(), s.last())
	}
	if l.hard.term != s.hard.term || l.hard.vote != s.hard.vote || l.hard.commit != s.hard.commit {
		return fmt.Errorf("hard state %v, not %v", l.hard, s.hard)
	}
	if _, c := l.State(); c != nil && string(c.State) != fmt.Sprintf("%d applied %d", l.id, c.Applied) {
		return fmt.Errorf("machine %q at %d", c.State, c.Applied)
	}
	first := l.FirstIndex()
	if uint64(first) <= s.floor {
		return fmt.Errorf("it begins at %d, a stage ended at %d", first, s.floor)
	}
	for i := first; i <= l.LastIndex(); {
		ents, err := l.Entries(i, l.LastIndex()+1, 2000, true)
		if err != nil {
			return err
		}
		if err := equalEntries(ents, s.entries[i-2:min(uint64(i)-2+uint64(len(ents)), s.last()-1)]); err != nil {
			return err
		}
		i += record.Index(len(ents))
	}
	for i := max(first-1, 2); i <= l.LastIndex(); i++ {
		if term, err := l.Term(i); err != nil || term != s.entries[i-2].GetTerm() {
			return fmt.Errorf("term of %d: %d, %w, not %d", i, term, err, s.entries[i-2].GetTerm())
		}
	}
	return l.offsetsAre(s, first)
}

// offsetsAre checks ReadFrom: every live offset is there, once and in order.
func (l *Log) offsetsAre(s modelState, first record.Index) error {
	var want []*raftpb.Entry
	for _, e := range s.entries {
		base, count := offsets(e, 0)
		if count > 0 && (record.Index(e.GetIndex()) >= first || anyAlive(base, base+record.Offset(count))) {
			want = append(want, e)
		}
	}
	var off record.Offset
	for {
		ents, err := l.ReadFrom(off, 1<<40, 3000, true)
		if err != nil {
			return err
		}
		if len(ents) == 0 {
			break
		}
		for _, e := range ents {
			base, count := offsets(e, -1)
			if base+record.Offset(count) <= off {
				return fmt.Errorf("offset %d after %d", base, off)
			}
			off = base + record.Offset(count)
			if len(want) > 0 && want[0].GetIndex() == e.GetIndex() {
				if err := equalEntries([]*raftpb.Entry{e}, want[:1]); err != nil {
					return err
				}
				want = want[1:]
			} else if len(want) > 0 && want[0].GetIndex() < e.GetIndex() {
				return fmt.Errorf("index %d was skipped", want[0].GetIndex())
			}
		}
	}
	if len(want) > 0 {
		return fmt.Errorf("%d entries are missing from index %d on", len(want), want[0].GetIndex())
	}
	return nil
}

// TestCrashAtEverySync cuts the power before and after every sync of a random
// run, and looks whether all that was acknowledged is there, in order, once,
// and nothing else half.
func TestCrashAtEverySync(t *testing.T) {
	seeds := make([]uint64, *crashRuns)
	for i := range seeds {
		seeds[i] = rand.Uint64N(1 << 40)
	}
	if *crashSeed != 0 {
		seeds = []uint64{*crashSeed}
	}
	for _, seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			crashRun(t, seed, 150)
		})
	}
}

func crashRun(t *testing.T, seed uint64, steps int) {
	w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 7)), seed: seed, fs: vfs.NewMem(), logs: make(map[record.LogID]*model)}
	w.fs.OnSync(w.crash)
	defer func() {
		if t.Failed() {
			t.Logf("replay: go test ./internal/storage -run TestCrashAtEverySync -crash.seed=%d", seed)
		}
	}()
	for restart := range 3 {
		s, err := Open(w.fs, "data", w.options())
		if err != nil {
			t.Fatalf("seed %d: open %d: %v", seed, restart, err)
		}
		w.store, w.stages = s, make(map[record.LogID]*staging)
		w.afterRestart()
		s.Start()
		for range steps {
			w.step()
			if w.rng.IntN(5) == 0 {
				w.settle()
			}
			if t.Failed() {
				break
			}
		}
		w.settle()
		for _, id := range w.ids {
			if now := w.model(id).newest(); !now.deleted {
				l := s.Log(id)
				first := l.FirstIndex()
				err := l.is(now)
				for ; err != nil && first != l.FirstIndex(); err = l.is(now) {
					first = l.FirstIndex() // a checkpoint came between
				}
				if err != nil {
					t.Errorf("seed %d, log %d: %v", seed, id, err)
				}
				wals, _ := keptIn(l)
				w.kept += len(wals)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatalf("seed %d: close: %v", seed, err)
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("seed %d: %d sync points, %d crashes checked, %d stages installed, %d aborted, %d × a log in a WAL file that is kept", seed, w.points, w.checks, w.installs, w.aborts, w.kept)
}

// afterRestart drops the deleted logs from the model.
func (w *world) afterRestart() {
	var ids []record.LogID
	for _, id := range w.ids {
		if !w.logs[id].newest().deleted {
			ids = append(ids, id)
		}
	}
	w.mu.Lock()
	w.ids = ids
	w.mu.Unlock()
}

// settle waits until all requests are acknowledged.
func (w *world) settle() {
	eventually(w.t, "acknowledgements", func() bool {
		for _, id := range w.ids {
			m := w.model(id)
			m.mu.Lock()
			n := len(m.states) - 1 - m.acked
			if m.states[len(m.states)-1].deleted {
				n-- // nobody is told of a deletion
			}
			m.mu.Unlock()
			if n > 0 && !w.t.Failed() {
				return false
			}
		}
		return true
	})
}
