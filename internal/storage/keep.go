package storage

import (
	"fmt"
	"maps"
	"slices"

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
//
// A message that went to several queues stays in the file once, too. What is needed is
// counted as often as it would be written elsewhere, once for each queue: a file is kept when that is
// more than two thirds of what it takes. Of such messages a file may be full when
// most of it was not written yet, as they take more in memory; then the rest goes back to the file system.
const (
	keepShare  = 2.0 / 3 // of the space of a file that must be needed
	keepBlock  = 4 << 10 // mean length of the pieces in which the entries of a log lie, at least
	keepShared = 4       // pieces that share parts with those of other logs may be so many times smaller
	keepMarks  = 2048    // of a chunk, which bounds what is in memory of them
	cutShare   = 3.0 / 4 // a file of which less was written is cut off
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
		if float64(bytes) < keepShare*float64(f.keptSize()) {
			continue
		}
		k := &keeping{file: f, seg: p.f.segs.keep(f.id, f.keptSize() < f.size)}
		for i, pt := range parts {
			k.add(logs[i].l, pt)
		}
		k.seg.size = max(f.keptSize(), k.at()+int64(len(k.buf))) // what it takes on the disk
		p.kept = append(p.kept, k)
	}
}

// keptSize is what is left of a file that is kept, but for its chunks.
func (f *sealedFile) keptSize() int64 {
	if float64(f.pos) < cutShare*float64(f.size) {
		return alignUp(f.pos)
	}
	return f.size
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
	least := int64(0)
	for i := t.extent(first); i < len(t.extents) && t.extents[i].first <= last; i++ {
		switch x := &t.extents[i]; {
		case x.pos == scattered:
			return false
		case x.raw > 0:
			least += s.leastBlock() / keepShared
		default:
			least += s.leastBlock()
		}
	}
	return pt.bytes >= least
}

// lie notes where the entries from first on lie. More pieces than a file that is kept would
// have are not worth their memory.
func (t *table) lie(first record.Index, at place, most int) {
	n := len(t.extents)
	if n >= most {
		at = place{pos: scattered}
	}
	if n == 0 || at.pos != scattered || t.extents[n-1].pos != scattered {
		t.extents = append(t.extents, extent{first, at})
	}
}

// at is where in the file buf begins.
func (k *keeping) at() int64 { return alignUp(k.file.pos) }

// add has a part stay in the file: from its first item that is needed to the last, with what lies in between.
// Entries that share parts stay as whole requests.
func (k *keeping) add(l *Log, pt *part) {
	t := &pt.table
	from, to := pt.items[0].index(), pt.items[len(pt.items)-1].index()
	b := keptChunks{keeping: k, log: l}
	for e := t.extent(from); e < len(t.extents) && t.extents[e].first <= to; e++ {
		b.fresh = true
		at := t.extents[e].place
		items := t.within(e)
		for i := range items {
			it := &items[i]
			if at.raw > 0 || from <= it.index() && it.index() <= to {
				b.add(it, at)
			}
			if at.raw == 0 {
				at.pos += int64(entryLen(it.e))
			}
		}
	}
	b.finish()
	pt.kept, pt.rewrite, pt.items = b.chunks, false, nil
}

// keptChunks makes the chunks of a log in a file that is kept.
type keptChunks struct {
	*keeping
	log    *Log
	chunks []*chunk
	chunk  *chunk // nil: none
	marks  []mark
	fresh  bool // the next entry does not lie behind the one before it
}

// add adds the entry that lies at a place, or is one of those that lie there and share parts.
func (k *keptChunks) add(it *item, at place) {
	c, shared := k.chunk, at.raw > 0
	if c != nil && (k.fresh || !shared) && (c.data >= maxChunk || len(k.marks) == keepMarks) {
		k.finish()
		c = nil
	}
	if c == nil {
		c = &chunk{seg: k.seg, kept: true, first: it.index(), base: it.base}
		k.chunk, k.marks = c, k.marks[:0]
	}
	c.shared = c.shared || shared
	if n := len(k.marks); n == 0 || k.fresh || !shared && k.marks[n-1].len >= markEvery {
		k.marks = append(k.marks, mark{index: it.index(), base: max(it.base, c.end), pos: at.pos, raw: at.raw})
		k.fresh = false
	}
	n := int64(entryLen(it.e))
	k.marks[len(k.marks)-1].len += n
	c.data += n
	c.last, c.end = it.index(), max(it.base, c.end)+record.Offset(it.count)
	c.count++
}

// finish completes the chunk.
func (k *keptChunks) finish() {
	c := k.chunk
	if c == nil {
		return
	}
	c.pos, c.marks = k.at()+int64(len(k.buf)), uint32(len(k.marks))
	c.live = c.size()
	k.buf = c.appendHeader(k.buf, k.log.id)
	k.buf = appendMarks(k.buf, k.marks, c)
	k.chunks, k.chunk = append(k.chunks, c), nil
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
