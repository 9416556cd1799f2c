package storage

import (
	"cmp"
	"maps"
	"slices"
)

// write writes the parts to segments and makes them durable.
func (p *plan) write() error {
	for _, id := range slices.Sorted(maps.Keys(p.logs)) {
		if err := p.writeLog(p.logs[id]); err != nil {
			return err
		}
	}
	for _, k := range p.kept {
		if err := k.write(p.f.metrics); err != nil {
			return err
		}
	}
	for _, w := range []*segWriter{&p.f.own, &p.f.rem} {
		if err := w.flush(); err != nil {
			return err
		}
		p.f.metrics.segBytes.Add(float64(w.written))
		w.written = 0
	}
	for _, s := range p.grown() {
		f, err := s.handle()
		if err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return mustNotRetry{err}
		}
	}
	if len(p.created) > 0 {
		return p.f.syncDir(segName)
	}
	return nil
}

// grown are the segments that were appended to, in the order of their numbers.
func (p *plan) grown() []*segment {
	return slices.SortedFunc(maps.Keys(p.sizes), func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
}

// mustNotRetry is the error of a sync, whatever it says: not even for
// want of space may it be tried again.
type mustNotRetry struct{ error }

// writeLog writes each run of parts that do not stay as one row of chunks.
func (p *plan) writeLog(lp *logPlan) (err error) {
	if !lp.changes {
		return nil
	}
	for parts := lp.parts; len(parts) > 0; {
		switch pt := &parts[0]; {
		case pt.kept != nil:
			lp.chunks = append(lp.chunks, pt.kept...)
		case !pt.rewrite:
			lp.chunks = append(lp.chunks, pt.chunk)
		}
		if !parts[0].rewrite {
			parts = parts[1:]
			continue
		}
		n, bytes := 0, int64(0)
		for n < len(parts) && parts[n].rewrite {
			bytes += parts[n].bytes
			n++
		}
		w, err := p.writer(lp, bytes)
		if err != nil {
			return err
		}
		for i := range parts[:n] {
			if lp.chunks, err = w.write(lp.l, parts[i].items, lp.chunks); err != nil {
				return err
			}
			parts[i].items = nil
		}
		if lp.chunks, err = w.endRun(lp.chunks); err != nil {
			return err
		}
		parts = parts[n:]
	}
	return nil
}

// writer returns the writer for so many bytes of a log, directed to a segment
// with room.
func (p *plan) writer(lp *logPlan, bytes int64) (*segWriter, error) {
	w, seg := &p.f.own, &lp.own
	if *seg == nil {
		*seg = lp.l.own
	}
	shared := bytes < remnant
	if shared {
		w, seg = &p.f.rem, &p.shared
	}
	if *seg == nil || (*seg).size >= p.f.opts.SegmentSize || p.rewrite[*seg] {
		s, err := p.newSegment(lp.l.id, shared)
		if err != nil {
			return nil, err
		}
		*seg = s
	}
	s := *seg
	if _, ok := p.sizes[s]; !ok {
		p.sizes[s] = s.size
		s.retain() // until commit or abandon
	}
	return w, w.use(s)
}

// image is the checkpoint file.
func (p *plan) image() *image {
	s := p.f.Store
	m := &image{replayFrom: p.head.replayFrom, seq: p.head.seq, synced: s.synced.Load()}
	if s.damage != nil {
		m.damage = s.damage.what
	}
	s.mu.RLock()
	logs := maps.Clone(s.logs)
	s.mu.RUnlock()
	segs := make(map[uint64]*segment)
	for _, id := range slices.Sorted(maps.Keys(logs)) {
		if l := logs[id]; l.holds() || p.logs[id] != nil {
			m.logs = append(m.logs, p.logImage(l, segs))
		}
	}
	for _, n := range slices.Sorted(maps.Keys(segs)) {
		s := segs[n]
		m.segments = append(m.segments, segmentImage{number: n, size: s.size, shared: s.shared, owner: s.owner, wal: s.wal})
	}
	p.listed = segs
	m.nextSegment = s.segs.nextNumber()
	return m
}

func (p *plan) logImage(l *Log, segs map[uint64]*segment) logImage {
	l.mu.RLock()
	defer l.mu.RUnlock()
	li := logImage{id: l.id, applied: l.applied, appliedTerm: l.appliedTerm, checkpoint: l.checkpoint}
	chunks := l.chunks
	if lp := p.logs[l.id]; lp != nil {
		if lp.changes {
			chunks = l.overtake(lp.chunks)
		}
		if lp.asked && lp.was == l.applied {
			li.applied, li.appliedTerm, li.checkpoint = lp.c.Applied, lp.c.Term, lp.c
		}
	}
	if l.hasHard {
		h := l.hard
		li.hard = &h
	}
	li.damage = l.ownDamage()
	if l.installed.wal > p.through {
		li.awaits = l.installed.number
	}
	li.terms = trimTerms(l.terms, li.applied)
	for _, c := range chunks {
		li.chunks = append(li.chunks, chunkImage{segment: c.seg.number, chunk: *c})
		segs[c.seg.number] = c.seg
	}
	return li
}

// commit makes the durable checkpoint the state of the logs, and returns the segments that it does not list.
func (p *plan) commit() (dead []*segment) {
	f := p.f
	for _, lp := range p.logs {
		lp.commit(p.through)
	}
	for s := range p.sizes {
		s.release()
	}
	old := f.segments
	f.segments = p.listed // a stage may have brought more: the next plan takes note of them
	for _, n := range slices.Sorted(maps.Keys(old)) {
		if s := old[n]; p.listed[n] != s {
			dead = append(dead, s)
		}
	}
	for _, s := range p.created {
		if p.listed[s.number] != s {
			dead = append(dead, s)
		}
	}
	if f.shared = p.shared; f.shared != nil && p.listed[f.shared.number] != f.shared {
		f.shared = nil
	}
	p.disown()
	f.own, f.rem = segWriter{buf: f.own.buf}, segWriter{buf: f.rem.buf}
	f.image = p.head
	f.number++
	f.last = f.opts.Now()
	return dead
}

// disown has no log append to a segment that is gone.
func (p *plan) disown() {
	s := p.f.Store
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, l := range s.logs {
		if lp := p.logs[l.id]; lp != nil && lp.own != nil {
			l.own = lp.own
		}
		if l.own != nil && p.listed[l.own.number] != l.own {
			l.own = nil
		}
	}
}

// overtake returns the chunks of a plan with what has happened to the log since
// they were planned: entries were overwritten, a stage brought others.
func (l *Log) overtake(chunks []*chunk) []*chunk {
	if l.cutBelow == noCut {
		return chunks
	}
	chunks = cutChunks(chunks, l.cutBelow)
	return append(chunks, l.chunks[chunksBelow(l.chunks, l.cutBelow):]...)
}

// commit gives the log its new chunks and lets go of the memory.
func (lp *logPlan) commit(through uint64) {
	l := lp.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if lp.changes {
		l.chunks = l.overtake(lp.chunks)
		setReach(l.chunks)
		n := 0
		for n < len(l.tables) && l.tables[n].wal <= through {
			l.store.metrics.memBytes.Add(-l.tables[n].bytes)
			n++
		}
		l.tables = slices.Clone(l.tables[n:])
	}
	if lp.asked && lp.was == l.applied { // a snapshot has not overtaken it
		l.applied, l.appliedTerm, l.compacted = lp.c.Applied, lp.c.Term, lp.compacted
		l.checkpoint, l.live, l.asked = lp.c, lp.live, true
		l.terms = trimTerms(l.terms, l.compacted)
	}
}

// abandon undoes what was not finished, so that the space is free again and a
// later attempt begins anew.
func (p *plan) abandon(err error) error {
	for _, w := range []*segWriter{&p.f.own, &p.f.rem} {
		*w = segWriter{buf: w.buf[:0]}
	}
	for _, lp := range p.logs {
		lp.l.mu.Lock()
		lp.l.dirty = true
		lp.l.mu.Unlock()
	}
	created := make(map[*segment]bool)
	for _, s := range p.created {
		created[s] = true
		s.drop()
	}
	for _, s := range p.grown() {
		size := p.sizes[s]
		s.size = size
		if f, e := s.handle(); e == nil && !created[s] {
			// Without it the space comes back later: the bytes are written over.
			if e := f.Truncate(size); e != nil {
				p.f.opts.Logger.Warn("cannot cut off an unfinished flush", "error", e)
			}
		}
		s.release()
	}
	return err
}
