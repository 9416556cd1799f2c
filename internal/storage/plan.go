package storage

import (
	"fmt"
	"maps"
	"slices"
	"sort"

	"waybill/internal/record"
)

const (
	remnant     = 64 << 10 // less than this of a log goes into a shared segment
	mergeSmall  = 8        // so many small chunks at the end of a log are written as one
	refineLimit = 256      // chunks in which one checkpoint looks for what is live
	rewriteMax  = 64 << 20 // live bytes of segments that one checkpoint rewrites
	spareMost   = 2        // checkpoints in a row for which a segment that is being drained is spared
)

// plan is one checkpoint in the making. It belongs to the flusher goroutine.
type plan struct {
	f       *flusher
	files   []sealedFile
	through uint64 // id of the last WAL file that it covers
	head    imageHead
	logs    map[record.LogID]*logPlan
	rewrite map[*segment]bool
	created []*segment
	kept    []*keeping
	sizes   map[*segment]int64 // of the segments that grew, before they did
	shared  *segment
	listed  map[uint64]*segment // by the checkpoint
}

// logPlan is what a checkpoint does with one log.
type logPlan struct {
	l       *Log
	asked   bool // c is new
	c       *Checkpoint
	known   bool // live tells what is needed at or below applied
	live    func(from, to record.Offset) bool
	was     record.Index // applied, when the plan was made
	applied record.Index
	// What is at or below it is kept only while it is live; not above applied.
	compacted record.Index
	parts     []part
	changes   bool // chunks takes the place of the log's
	chunks    []*chunk
	own       *segment
}

// part is a stretch of a log: a chunk that stays or is rewritten, or entries
// in memory, which are written or stay in their WAL file.
type part struct {
	chunk   *chunk // nil: items are from memory
	rewrite bool
	items   []item
	bytes   int64    // that will be written
	table   table    // where the items are, if they are from memory
	kept    []*chunk // of the WAL file, if they stay there
}

func (f *flusher) newPlan(files []sealedFile) *plan {
	p := &plan{
		f: f, files: files, head: f.image,
		logs:    make(map[record.LogID]*logPlan),
		rewrite: make(map[*segment]bool),
		sizes:   make(map[*segment]int64),
		shared:  f.shared,
	}
	for _, s := range f.segs.takeInstalled() {
		f.segments[s.number] = s
	}
	p.through = p.head.replayFrom - 1
	if n := len(files); n > 0 {
		p.through = files[n-1].id
		p.head.replayFrom, p.head.seq = files[n-1].id+1, files[n-1].seq
	}
	return p
}

// ask finds the logs that changed, and asks their owners.
func (p *plan) ask() {
	s := p.f.Store
	s.mu.RLock()
	logs := slices.Collect(maps.Values(s.logs))
	s.mu.RUnlock()
	sort.Slice(logs, func(i, j int) bool { return logs[i].id < logs[j].id })
	for _, l := range logs {
		l.mu.Lock()
		dirty := l.dirty && l.damage == nil && !l.deleted
		covered := len(l.tables) > 0 && l.tables[0].wal <= p.through
		l.dirty = l.dirty && !dirty
		l.cutBelow = noCut
		l.mu.Unlock()
		if !dirty && !covered {
			continue
		}
		lp := p.log(l)
		if dirty {
			lp.ask(s.opts.Checkpoint)
		}
	}
}

// log returns the plan of a log.
func (p *plan) log(l *Log) *logPlan {
	lp := p.logs[l.id]
	if lp == nil {
		l.mu.RLock()
		lp = &logPlan{l: l, c: l.checkpoint, known: l.asked, live: l.live, was: l.applied, applied: l.applied, compacted: l.compacted}
		l.mu.RUnlock()
		p.logs[l.id] = lp
	}
	return lp
}

func (lp *logPlan) ask(owner func(record.LogID) (Checkpoint, bool)) {
	l := lp.l
	c, ok := owner(l.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	lp.was, lp.applied, lp.compacted = l.applied, l.applied, l.compacted
	lp.c = l.checkpoint
	if !ok || c.Applied < l.applied {
		// No owner, or it has not taken a new snapshot yet: keep all.
		l.dirty = true
		lp.known, lp.live = false, nil
		return
	}
	if c.Applied > l.last {
		panic(fmt.Sprintf("storage: log %d: a checkpoint at index %d, the log ends at %d", l.id, c.Applied, l.last))
	}
	lp.asked, lp.known, lp.live, lp.c, lp.applied = true, true, c.Live, &c, c.Applied
	lp.compacted = c.Applied
	if c.Retain > 0 {
		lp.compacted = max(l.compacted, min(c.Applied, c.Retain-1))
	}
	// What was not applied yet may be dead once it is, without another write.
	l.dirty = l.dirty || lp.compacted < l.last
}

// keep reports whether an entry is still needed.
func (lp *logPlan) keep(it *item) bool {
	switch {
	case !lp.known || it.index() > lp.compacted:
		return true
	case it.count == 0 || lp.live == nil:
		return false
	}
	return lp.live(it.base, it.end())
}

// keepChunk reports whether a chunk holds something that is still needed.
func (lp *logPlan) keepChunk(c *chunk, last record.Index) bool {
	switch {
	case !lp.known || last > lp.compacted:
		return true
	case c.base == c.end || lp.live == nil:
		return false
	}
	return lp.live(c.base, c.end)
}

// arrange decides for every planned log which chunks stay, which are
// rewritten, and what of the memory is written.
func (p *plan) arrange() {
	for _, id := range slices.Sorted(maps.Keys(p.logs)) {
		p.logs[id].split(p.through)
	}
	p.keepFiles()
	p.refine()
	p.chooseRewrites()
	for _, id := range slices.Sorted(maps.Keys(p.logs)) {
		p.logs[id].load(p.rewrite)
	}
}

// split takes the log apart.
func (lp *logPlan) split(through uint64) {
	l := lp.l
	l.mu.RLock()
	chunks := slices.Clone(l.chunks)
	lasts := make([]record.Index, len(chunks))
	for i, c := range chunks {
		lasts[i] = c.last
	}
	var runs []table
	for _, t := range l.tables {
		if t.wal <= through {
			runs = append(runs, *t)
		}
	}
	l.mu.RUnlock()
	for i, c := range chunks {
		if lp.keepChunk(c, lasts[i]) {
			lp.parts = append(lp.parts, part{chunk: c})
		} else {
			lp.changes = true
		}
	}
	lp.mergeTail()
	for _, t := range runs {
		pt := part{rewrite: true, table: t}
		for i := range t.items {
			if it := &t.items[i]; lp.keep(it) {
				pt.items = append(pt.items, *it)
				pt.bytes += int64(entryLen(it.e))
			}
		}
		if len(pt.items) > 0 {
			lp.parts = append(lp.parts, pt)
		}
	}
	lp.changes = lp.changes || len(runs) > 0
}

// mergeTail has the small chunks at the end of a log written as one, when
// there are many: a log that gets a little in each WAL file would otherwise
// take memory for each of them.
func (lp *logPlan) mergeTail() {
	n := len(lp.parts)
	for n > 0 && lp.parts[n-1].chunk.data < remnant {
		n--
	}
	if small := lp.parts[n:]; len(small) >= mergeSmall {
		for i := range small {
			small[i].rewrite = true
		}
	}
}

// refine looks into chunks for what of them is live; first into those that
// were not looked into for the longest time.
func (p *plan) refine() {
	type candidate struct {
		lp *logPlan
		c  *chunk
	}
	var all []candidate
	for _, lp := range p.logs {
		if !lp.asked || lp.live == nil {
			continue
		}
		for i := range lp.parts {
			if c := lp.parts[i].chunk; c != nil && c.first <= lp.compacted {
				all = append(all, candidate{lp, c})
			}
		}
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := all[i], all[j]
		if a.c.looked != b.c.looked {
			return a.c.looked < b.c.looked
		}
		return a.lp.l.id < b.lp.l.id || a.lp.l.id == b.lp.l.id && a.c.first < b.c.first
	})
	for _, x := range all[:min(len(all), refineLimit)] {
		x.c.looked = p.f.number + 1
		x.lp.refine(x.c)
	}
}

// refine finds out which blocks of a chunk are live.
func (lp *logPlan) refine(c *chunk) {
	c.seg.retain()
	defer c.seg.release()
	marks, err := lp.l.chunkMarks(c, true)
	if err != nil {
		return // the log knows that it is damaged; nothing of it is dropped
	}
	lp.l.mu.RLock()
	last := c.last
	lp.l.mu.RUnlock()
	c.live = c.size()
	for i, m := range marks {
		end, index := c.end, last+1
		if i+1 < len(marks) {
			end, index = marks[i+1].base, marks[i+1].index
		}
		if index <= lp.compacted+1 && (m.base == end || !lp.live(m.base, end)) {
			c.live -= m.len
		}
	}
}

// chooseRewrites picks segments of which less than half is live. One that is being drained waits for the next checkpoint, which may find
// nothing left of it.
func (p *plan) chooseRewrites() {
	type use struct {
		live  int64
		users map[*Log]bool
	}
	uses := make(map[*segment]*use)
	add := func(l *Log, c *chunk) {
		u := uses[c.seg]
		if u == nil {
			u = &use{users: make(map[*Log]bool)}
			uses[c.seg] = u
		}
		u.live += c.live
		u.users[l] = true
	}
	p.eachChunk(add)
	var segs []*segment
	for s, u := range uses {
		draining := s.drains(u.live)
		switch {
		case s.stuck || u.live >= s.size/2:
		case draining && s.spared < spareMost && !p.f.Low():
			s.spared++
			p.f.written.Store(true) // there is something to do, also when nothing is written any more
		default:
			s.spared = 0
			segs = append(segs, s)
		}
	}
	sort.Slice(segs, func(i, j int) bool {
		a, b := segs[i], segs[j]
		if la, lb := uses[a].live, uses[b].live; la != lb {
			return la < lb
		}
		return a.number < b.number
	})
	budget := int64(rewriteMax)
	for i, s := range segs {
		if budget -= uses[s].live; budget < 0 && i > 0 {
			break
		}
		p.rewrite[s] = true
		for l := range uses[s].users {
			if p.logs[l.id] == nil {
				p.log(l).split(0)
			}
		}
	}
}

// eachChunk calls fn for all chunks that will be left, of all logs.
func (p *plan) eachChunk(fn func(*Log, *chunk)) {
	s := p.f.Store
	s.mu.RLock()
	logs := slices.Collect(maps.Values(s.logs))
	s.mu.RUnlock()
	for _, l := range logs {
		if lp := p.logs[l.id]; lp != nil {
			for i := range lp.parts {
				if c := lp.parts[i].chunk; c != nil {
					fn(l, c)
				}
			}
			continue
		}
		l.mu.RLock()
		chunks := l.chunks
		l.mu.RUnlock()
		for _, c := range chunks {
			fn(l, c)
		}
	}
}

// load brings what is rewritten into memory. A chunk that is damaged stays as
// it is: what is left of it is the best there is.
func (lp *logPlan) load(rewrite map[*segment]bool) {
	for i := range lp.parts {
		pt := &lp.parts[i]
		if pt.chunk == nil || !pt.rewrite && !rewrite[pt.chunk.seg] {
			continue
		}
		items, err := lp.l.loadChunk(pt.chunk)
		if err != nil {
			pt.rewrite, pt.chunk.seg.stuck = false, true
			continue
		}
		pt.rewrite, lp.changes = true, true
		for k := range items {
			if lp.keep(&items[k]) {
				pt.items = append(pt.items, items[k])
				pt.bytes += int64(entryLen(items[k].e))
			}
		}
	}
}

// loadChunk reads all entries of a chunk that count.
func (l *Log) loadChunk(c *chunk) ([]item, error) {
	c.seg.retain()
	defer c.seg.release()
	marks, err := l.chunkMarks(c, true)
	if err != nil {
		return nil, err
	}
	p, err := l.readBlocks(c, marks, 0, len(marks), make([]byte, blocksLen(marks, 0, len(marks))))
	if err == nil && p.err == nil && len(p.items) != int(c.count) {
		p.err = fmt.Errorf("%w: log %d: %s: %d entries in a chunk of %d", ErrDamaged, l.id, c.seg.name(), len(p.items), c.count)
	}
	if err == nil && p.err != nil {
		err = l.rots(p.err)
	}
	if err != nil {
		return nil, err
	}
	l.mu.RLock()
	last := c.last
	l.mu.RUnlock()
	return between(p.items, 0, last), nil
}
