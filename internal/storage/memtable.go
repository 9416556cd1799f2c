package storage

import (
	"slices"
	"sort"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// item is an entry in memory, with what finds and checks it.
type item struct {
	e     *raftpb.Entry
	base  record.Offset // first offset of the entry; the next free one when it has none
	count uint32        // offsets in the entry
	crc   uint32        // of its frame
}

func (it *item) end() record.Offset  { return it.base + record.Offset(it.count) }
func (it *item) index() record.Index { return record.Index(it.e.GetIndex()) }

// offsets returns the offsets that e holds; next is where the log's offsets
// continue, the answer for an entry that holds none.
func offsets(e *raftpb.Entry, next record.Offset) (base record.Offset, count uint32) {
	if e.GetType() == raftpb.EntryNormal && len(e.Data) > 0 {
		if h, _, err := record.ParseHeader(e.Data); err == nil {
			return h.Base, h.Count
		}
	}
	return next, 0
}

// table is the memtable of one log for one WAL file: the entries that are
// in that file and not in a segment, with contiguous indexes.
type table struct {
	wal     uint64 // id of the WAL file
	first   record.Index
	items   []item   // appended to, never changed: readers hold slices of it
	extents []extent // where the items lie in the file; appended to, never changed
	bytes   int64    // of data
}

// extent says where in a WAL file some entries lie one behind the other: those from
// index first on, up to the next extent's.
type extent struct {
	first record.Index
	place
}

// place is where the entries of a request lie in a WAL file.
type place struct {
	pos int64 // scattered: they do not lie there like that
	raw int64 // bytes that they take, when they share parts with those of other logs (see shared.go); 0: they are frames
}

// scattered is the position of entries that were replayed, or of which only a part counts: they are
// written again when they outlive their WAL file.
const scattered = -1

func (t *table) end() record.Index { return t.first + record.Index(len(t.items)) }

func (t *table) add(it item) {
	t.items = append(t.items, it)
	t.bytes += int64(len(it.e.Data))
}

// cut drops all from index i on. The capacity goes too, so that the next add
// does not write where a reader may look.
func (t *table) cut(i record.Index) {
	n := int(i - t.first)
	for k := range t.items[n:] {
		t.bytes -= int64(len(t.items[n+k].e.Data))
	}
	t.items = t.items[:n:n]
	n = t.extent(i)
	if x := t.extents[n]; x.first == i {
		t.extents = t.extents[:n:n]
	} else if t.extents = t.extents[: n+1 : n+1]; x.raw > 0 {
		t.extents = slices.Clone(t.extents) // readers hold the other one
		t.extents[n].place = place{pos: scattered}
	}
}

// extent is which one holds the entry at i.
func (t *table) extent(i record.Index) int {
	return sort.Search(len(t.extents), func(n int) bool { return t.extents[n].first > i }) - 1
}

// within returns the items of an extent.
func (t *table) within(e int) []item {
	end := t.end()
	if e+1 < len(t.extents) {
		end = t.extents[e+1].first
	}
	return t.items[t.extents[e].first-t.first : end-t.first]
}

// query is what a read asks for: entries by index or by offset.
type query struct {
	byOffset bool
	from, to uint64 // [from, to)
	max      int    // bytes of data, but at least one entry
}

func indexQuery(lo, hi record.Index, limit uint64) query {
	return query{from: uint64(lo), to: uint64(hi), max: int(min(limit, 1<<40))}
}

func offsetQuery(off, end record.Offset, limit int) query {
	return query{byOffset: true, from: uint64(max(off, 0)), to: uint64(max(end, 0)), max: limit}
}

// before reports whether it lies before the first wanted entry.
func (q *query) before(it *item) bool {
	if q.byOffset {
		return uint64(it.end()) <= q.from
	}
	return uint64(it.index()) < q.from
}

// after reports whether it lies after the last wanted entry.
func (q *query) after(it *item) bool {
	if q.byOffset {
		return uint64(it.base) >= q.to
	}
	return uint64(it.index()) >= q.to
}

// seek returns the items that are not before the wanted ones.
func (q *query) seek(items []item) []item {
	return items[sort.Search(len(items), func(i int) bool { return !q.before(&items[i]) }):]
}

// result gathers the answer to a query.
type result struct {
	entries []*raftpb.Entry
	bytes   int
	full    bool // no more is wanted
	loan    *Loan
	checked bool // the items that come next match their checksums
	verifier
}

// take adds what q wants of items. It reports the item that failed its
// check, and nothing after it is added.
func (r *result) take(q *query, items []item) (bad *item) {
	n, bytes := 0, r.bytes
	for ; n < len(items) && !r.full; n++ { // first count, then allocate once
		it := &items[n]
		size := len(it.e.Data)
		if q.byOffset && it.count == 0 {
			size = 0 // left out
		}
		if q.after(it) || size > 0 && bytes+size > q.max && (bytes > 0 || len(r.entries) > 0) {
			r.full = true
			break
		}
		bytes += size
	}
	if cap(r.entries)-len(r.entries) < n {
		grown := make([]*raftpb.Entry, len(r.entries), len(r.entries)+n)
		copy(grown, r.entries)
		r.entries = grown
	}
	for i := range items[:n] {
		it := &items[i]
		if q.byOffset && it.count == 0 {
			continue
		}
		if !r.checked && !r.valid(it) {
			return it
		}
		r.entries = append(r.entries, it.e)
	}
	r.bytes = bytes
	return nil
}
