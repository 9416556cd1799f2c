package storage

import (
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// Log is one raft log. Its methods are safe for concurrent use; entries become
// readable when their Append is done. An empty log has FirstIndex 2, LastIndex
// 1 and Term(1) = 1.
//
// What it holds, in the order of indexes:
//
//	chunks …  in segments; may have gaps at or below compacted
//	tables …  in memory, one for each WAL file that is not flushed yet
//
// At or below compacted is what consumers may still need, above it what raft may
// still need, without a gap.
type Log struct {
	id    record.LogID
	seed  uint32 // of the CRCs of its entries
	store *Store

	mu          sync.RWMutex // protects all below
	applied     record.Index // of the last checkpoint
	appliedTerm uint64
	compacted   record.Index // what is above it raft may read, without a gap; not above applied
	last        record.Index
	next        record.Offset // a lower bound of the next entry's base, exact after an entry with offsets
	terms       []termRun     // of the entries above compacted
	chunks      []*chunk
	tables      []*table
	hard        hardState
	hasHard     bool                              // hard was written
	checkpoint  *Checkpoint                       // nil: never made
	live        func(from, to record.Offset) bool // of the checkpoint; only when asked since the store was opened
	asked       bool                              // live is known, nil or not
	fromWAL     bool                              // checkpoint came with a snapshot, and no checkpoint file holds it yet
	installed   installation                      // the last of a stage, in a WAL file that is not flushed yet
	dirty       bool                              // the next checkpoint must ask the owner
	cutBelow    record.Index                      // lowest index overwritten while a flush runs
	damage      error                             // part of what was acknowledged is lost
	rotten      error                             // the first damage that a read found in a segment
	deleted     bool
	staging     bool // there is a Stage

	own *segment // takes the next chunks; owned by the flusher

	seen atomic.Uint64 // the highest index that consumers have read from memory
	far  atomic.Int64  // while it is more than following.files, somebody reads far behind the log's end

	awaits uint64 // of recovery: an installation that the checkpoint holds; what the WAL says before it does not count

	// Protected by wal.turn.
	lazy    hardState // waits for the next batch
	hasLazy bool
	gone    bool // the deletion was written
}

// hardState is raft's, without pointers.
type hardState struct{ term, vote, commit uint64 }

func newHardState(h *raftpb.HardState) hardState {
	return hardState{term: h.GetTerm(), vote: h.GetVote(), commit: h.GetCommit()}
}

// termRun says that the entries from first on have this term, up to the next run.
type termRun struct {
	first record.Index
	term  uint64
}

const noCut = ^record.Index(0)

func newLog(s *Store, id record.LogID) *Log {
	return &Log{
		id: id, seed: seed64(uint64(id)), store: s,
		applied: 1, appliedTerm: 1, compacted: 1, last: 1,
		cutBelow: noCut, installed: installation{cut: noCut},
	}
}

// ID names the log.
func (l *Log) ID() record.LogID { return l.id }

// State returns what recovery found: the hard state (nil when none was ever
// written), and the last checkpoint (nil when the log never had one).
func (l *Log) State() (*raftpb.HardState, *Checkpoint) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if !l.hasHard {
		return nil, l.checkpoint
	}
	h := l.hard
	return &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}, l.checkpoint
}

// Damaged returns nil or, wrapping [ErrDamaged], which part of the log is
// lost: found by the recovery, then nothing can be read or appended; or by
// a read of a segment, then only reads of that part fail.
func (l *Log) Damaged() error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.damage != nil {
		return l.damage
	}
	return l.rotten
}

// FirstIndex is the first entry that raft may still read: the one after the
// last checkpoint's Applied, or earlier when that checkpoint said so in Retain.
func (l *Log) FirstIndex() record.Index {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.compacted + 1
}

// LastIndex is the index of the last entry.
func (l *Log) LastIndex() record.Index {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.last
}

// Term returns the term of the entry at i, FirstIndex-1 ≤ i ≤ LastIndex.
func (l *Log) Term(i record.Index) (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if err := l.readable(); err != nil {
		return 0, err
	}
	if i < l.compacted || i > l.last {
		return 0, fmt.Errorf("%w: term at index %d of [%d, %d]", ErrNotFound, i, l.compacted, l.last)
	}
	return l.termAt(i), nil
}

func (l *Log) termAt(i record.Index) uint64 {
	n := sort.Search(len(l.terms), func(n int) bool { return l.terms[n].first > i })
	if i == l.applied || n == 0 {
		return l.appliedTerm
	}
	return l.terms[n-1].term
}

func (l *Log) readable() error {
	switch {
	case l.damage != nil:
		return l.damage
	case l.deleted:
		return fmt.Errorf("%w: log %d was deleted", ErrNotFound, l.id)
	}
	return nil
}

// Entries returns the entries of [lo, hi), at least one and then no more than
// maxBytes of data. They and the slices they hold are shared: read only.
// [ErrNotFound] when lo is below FirstIndex or beyond LastIndex; [ErrCold] when
// lo is not in memory and disk is false.
func (l *Log) Entries(lo, hi record.Index, maxBytes uint64, disk bool) ([]*raftpb.Entry, error) {
	l.mu.RLock()
	compacted, last, err := l.compacted, l.last, l.readable()
	l.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	if lo <= compacted || lo > last {
		return nil, fmt.Errorf("%w: index %d of [%d, %d]", ErrNotFound, lo, compacted+1, last)
	}
	ents, err := l.read(indexQuery(lo, hi, maxBytes), disk)
	if err == nil && hi > lo && (len(ents) == 0 || record.Index(ents[0].GetIndex()) != lo) {
		// Dropped in between by a checkpoint.
		return nil, fmt.Errorf("%w: index %d", ErrNotFound, lo)
	}
	return ents, err
}

// ReadFrom returns the entries that hold the offsets from off on, up to but
// not including the offset end: the first one holds off itself or, where it
// was dropped, the next offset after it that exists; entries without offsets
// are left out; at least one entry and then no more than maxBytes of data, and
// possibly less when they come from the disk. It returns no entry when none is
// left below end. [ErrCold] when the first entry is not in memory and disk is
// false. Every entry is checked against its CRC.
func (l *Log) ReadFrom(off, end record.Offset, maxBytes int, disk bool) ([]*raftpb.Entry, error) {
	return l.read(offsetQuery(off, end, maxBytes), disk)
}

// read answers q from chunks and tables. After each chunk it looks again under
// the lock, so a flush that moves entries meanwhile hides none.
func (l *Log) read(q query, disk bool) ([]*raftpb.Entry, error) { return l.readFor(q, disk, nil) }

// readFor is read for loan, or for good when that is nil.
func (l *Log) readFor(q query, disk bool, loan *Loan) ([]*raftpb.Entry, error) {
	r := result{verifier: verifier{seed: l.seed}, loan: loan}
	var after record.Index // all up to here was looked at
	for !r.full {
		l.mu.RLock()
		if err := l.readable(); err != nil {
			l.mu.RUnlock()
			return nil, err
		}
		c := l.findChunk(&q, after)
		if c == nil {
			var buf [4][]item
			runs := l.findItems(buf[:0], &q, after)
			l.mu.RUnlock()
			r.checked = false
			cold := len(r.entries)
			for _, items := range runs {
				if bad := r.take(&q, items); bad != nil {
					return r.entries, l.badMemory(&r, bad)
				}
			}
			if q.byOffset {
				l.follow(r.entries[cold:])
			}
			return r.entries, nil
		}
		limit := c.last
		c.seg.retain()
		l.mu.RUnlock()
		err := l.readChunk(&r, &q, c, after, limit, disk)
		c.seg.release()
		if err != nil {
			if len(r.entries) > 0 {
				return r.entries, nil // the next call meets it again
			}
			return nil, err
		}
		after = limit
	}
	return r.entries, nil
}

// findChunk returns the first chunk beyond after that can hold what q wants.
// There may be none of it in it.
func (l *Log) findChunk(q *query, after record.Index) *chunk {
	n := sort.Search(len(l.chunks), func(n int) bool {
		c := l.chunks[n]
		if q.byOffset && uint64(c.reach) <= q.from || !q.byOffset && uint64(c.last) < q.from {
			return false
		}
		return c.last > after
	})
	if n == len(l.chunks) {
		return nil
	}
	return l.chunks[n]
}

// findItems appends to runs the items of the tables from the first wanted one on.
func (l *Log) findItems(runs [][]item, q *query, after record.Index) [][]item {
	for _, t := range l.tables {
		items := t.items
		if t.end() <= after+1 {
			continue
		}
		if t.first <= after {
			items = items[after+1-t.first:]
		}
		if len(runs) == 0 {
			items = q.seek(items)
		}
		if len(items) > 0 {
			runs = append(runs, items)
		}
	}
	return runs
}

// badMemory reports an entry that changed in memory. With some entries before it
// there is something to return; the next read meets it again.
func (l *Log) badMemory(r *result, bad *item) error {
	if len(r.entries) > 0 {
		return nil
	}
	return fmt.Errorf("%w: log %d, index %d: its memory does not match its checksum", ErrDamaged, l.id, bad.index())
}

// append adds entries that WAL file wal holds at a place, or [scattered]. Called with mu locked, by the
// WAL goroutine and by recovery; only recovery may leave a gap before them,
// which entries that follow will have overwritten. An error is a broken
// invariant of whoever made the entries.
func (l *Log) append(wal uint64, at place, entries []*raftpb.Entry, crcs []uint32) error {
	first := record.Index(entries[0].GetIndex())
	if first <= l.last {
		l.truncate(first)
	}
	t := l.tail(wal, first)
	t.lie(first, at, int(l.store.opts.WALFileSize/l.store.leastBlock()*keepShared))
	for i, e := range entries {
		base, count := offsets(e, l.next)
		if base < l.next {
			return fmt.Errorf("%w: log %d, index %d: offset %d follows %d", errRecord, l.id, e.GetIndex(), base, l.next)
		}
		t.add(item{e: e, base: base, count: count, crc: crcs[i]})
		l.next = base + record.Offset(count)
		if n := len(l.terms); n == 0 || l.terms[n-1].term != e.GetTerm() {
			l.terms = append(l.terms, termRun{record.Index(e.GetIndex()), e.GetTerm()})
		}
		l.store.metrics.memBytes.Add(int64(len(e.Data)))
	}
	l.last = t.end() - 1
	l.dirty = true
	return nil
}

// tail returns the table that takes the entry at first.
func (l *Log) tail(wal uint64, first record.Index) *table {
	if n := len(l.tables); n > 0 && l.tables[n-1].wal == wal && l.tables[n-1].end() == first {
		return l.tables[n-1]
	}
	t := &table{wal: wal, first: first}
	l.tables = append(l.tables, t)
	return t
}

// truncate drops the entries from index i on.
func (l *Log) truncate(i record.Index) {
	for n := len(l.tables); n > 0 && l.tables[n-1].end() > i; n-- {
		t := l.tables[n-1]
		before := t.bytes
		if t.first < i {
			t.cut(i)
			l.store.metrics.memBytes.Add(t.bytes - before)
			break
		}
		l.store.metrics.memBytes.Add(-before)
		l.tables = l.tables[: n-1 : n-1]
	}
	l.chunks = cutChunks(l.chunks, i)
	l.cutBelow = min(l.cutBelow, i)
	for n := len(l.terms); n > 0 && l.terms[n-1].first >= i; n-- {
		l.terms = l.terms[:n-1]
	}
	l.last = i - 1
	l.next = l.nextOffset()
}

// nextOffset is the lowest offset that the next entry may begin with.
func (l *Log) nextOffset() record.Offset {
	if n := len(l.tables); n > 0 {
		items := l.tables[n-1].items
		return items[len(items)-1].end()
	}
	if n := len(l.chunks); n > 0 {
		if c := l.chunks[n-1]; !c.cut {
			return c.end
		}
		return l.chunks[n-1].base // it may hold more, but not less
	}
	return 0
}

// reset replaces all that the log holds by a snapshot. Called with mu locked.
func (l *Log) reset(c *Checkpoint) {
	l.truncate(0)
	l.begin(c)
	l.fromWAL, l.installed.cut = true, noCut
}

// begin has the log begin after a machine's state. All above was dropped.
func (l *Log) begin(c *Checkpoint) {
	l.applied, l.appliedTerm, l.compacted, l.last = c.Applied, c.Term, c.Applied, c.Applied
	l.checkpoint, l.live, l.asked = c, c.Live, true
	l.terms = nil
	l.dirty = true
}

// trim forgets the terms at or below applied.
func trimTerms(terms []termRun, applied record.Index) []termRun {
	n := sort.Search(len(terms), func(n int) bool { return terms[n].first > applied })
	if n > 0 {
		n-- // the run that holds applied
	}
	return slices.Clone(terms[n:])
}
