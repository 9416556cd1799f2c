package storage

import (
	"fmt"
	"maps"
	"slices"
	"sort"

	"waybill/internal/record"
)

// A full WAL file of which most is still needed is kept: it stays where it is and is a segment from then on,
// so what is in it has been written once. Behind its last batch the flusher writes where in the file
// the entries of each log lie (chunk.go), and syncs that; the checkpoint that lists
// the file is what makes it a segment. Before it the file is replayed, whatever
// is behind its batches. When too little of it is needed any more it is rewritten like any other segment, and once nothing
// lists it, it is used for the WAL again.
//
// Of a log of which there is little, or which lies in many small pieces, the entries are
// written to a segment: a reader would have to look for them all over the file.
const (
	keepShare = 2.0 / 3 // of the space of a file that must be needed
	keepBlock = 4 << 10 // mean length of the pieces in which the entries of a log lie, at least
	keepMarks = 2048    // of a chunk, which bounds what is in memory of them
)

// keeping is a WAL file that is kept.
type keeping struct {
	file sealedFile
	seg  *segment
	buf  []byte // what goes behind the batches
}

// keepFiles decides which of the files are kept.
func (p *plan) keepFiles() {
	for _, f := range p.files {
		var parts []*part
		var logs []*logPlan
		var bytes int64
		for _, id := range slices.Sorted(maps.Keys(p.logs)) {
			lp := p.logs[id]
			for i := range lp.parts {
				if pt := &lp.parts[i]; pt.chunk == nil && pt.table.wal == f.id && p.f.worthKeeping(pt) {
					parts, logs, bytes = append(parts, pt), append(logs, lp), bytes+pt.bytes
				}
			}
		}
		if float64(bytes) < keepShare*float64(f.size) {
			continue
		}
		k := &keeping{file: f, seg: p.f.segs.keep(f.id)}
		for i, pt := range parts {
			k.add(logs[i].l, pt)
		}
		k.seg.size = max(f.size, k.at()+int64(len(k.buf))) // what it takes on the disk
		p.kept = append(p.kept, k)
	}
}

// leastBlock is the mean length of the pieces of a log in a file that is kept, at least.
func (s *Store) leastBlock() int64 {
	if small := s.opts.WALFileSize; small < 16*remnant { // as in tests
		return max(1, small/256)
	}
	return keepBlock
}

// worthKeeping reports whether what is needed of a log in a WAL file can be read from there.
func (s *Store) worthKeeping(pt *part) bool {
	if pt.bytes < min(remnant, s.opts.WALFileSize/16) {
		return false
	}
	t, first, last := &pt.table, pt.items[0].index(), pt.items[len(pt.items)-1].index()
	n := int64(0)
	for i := t.extent(first); i < len(t.extents) && t.extents[i].first <= last; i++ {
		if t.extents[i].pos == scattered {
			return false
		}
		n++
	}
	return pt.bytes >= n*s.leastBlock()
}

// lie notes that the entries from first on lie at pos. More pieces than a file that is kept would
// have are not worth their memory.
func (t *table) lie(first record.Index, pos int64, most int) {
	n := len(t.extents)
	if n >= most {
		pos = scattered
	}
	if n == 0 || pos != scattered || t.extents[n-1].pos != scattered {
		t.extents = append(t.extents, extent{first, pos})
	}
}

// extent is which one holds the entry at i.
func (t *table) extent(i record.Index) int {
	return sort.Search(len(t.extents), func(n int) bool { return t.extents[n].first > i }) - 1
}

// at is where in the file buf begins.
func (k *keeping) at() int64 { return alignUp(k.file.pos) }

// add has a part stay in the file: from its first item that is needed to the last, with what lies in between.
func (k *keeping) add(l *Log, pt *part) {
	t := &pt.table
	from, to := pt.items[0].index(), pt.items[len(pt.items)-1].index()
	items := t.items[from-t.first : to+1-t.first]
	e := t.extent(from)
	pos := t.extents[e].pos
	for _, it := range t.items[t.extents[e].first-t.first : from-t.first] {
		pos += int64(entryLen(it.e))
	}
	var c *chunk
	var marks []mark
	for i := range items {
		it := &items[i]
		fresh := e+1 < len(t.extents) && t.extents[e+1].first == it.index()
		if fresh {
			e++
			pos = t.extents[e].pos
		}
		if c != nil && (c.data >= maxChunk || len(marks) == keepMarks) {
			k.finish(l, c, marks)
			pt.kept = append(pt.kept, c)
			c = nil
		}
		if c == nil {
			c, marks = &chunk{seg: k.seg, kept: true, first: it.index(), base: it.base}, marks[:0]
		}
		if n := len(marks); n == 0 || fresh || marks[n-1].len >= markEvery {
			marks = append(marks, mark{index: it.index(), base: max(it.base, c.end), pos: pos})
		}
		n := int64(entryLen(it.e))
		marks[len(marks)-1].len += n
		pos += n
		c.data += n
		c.last, c.end = it.index(), max(it.base, c.end)+record.Offset(it.count)
		c.count++
	}
	k.finish(l, c, marks)
	pt.kept = append(pt.kept, c)
	pt.rewrite, pt.items = false, nil
}

// finish completes a chunk.
func (k *keeping) finish(l *Log, c *chunk, marks []mark) {
	c.pos, c.marks = k.at()+int64(len(k.buf)), uint32(len(marks))
	c.live = c.size()
	k.buf = c.appendHeader(k.buf, l.id)
	k.buf = appendMarks(k.buf, marks, k.seg)
}

// write makes what is behind the batches durable. The batches are.
func (k *keeping) write(m *metrics) error {
	f := k.file.file
	if _, err := f.WriteAt(k.buf, k.at()); err != nil {
		return fmt.Errorf("write to %s: %w", f.Name(), err)
	}
	m.segBytes.Add(float64(len(k.buf)))
	if err := f.Sync(); err != nil {
		return mustNotRetry{fmt.Errorf("sync of %s: %w", f.Name(), err)}
	}
	return nil
}
