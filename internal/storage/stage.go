package storage

import (
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"syscall"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// ErrHeld is the error of an Append with a Stage whose log need not be replaced: it
// holds the entry at the stage's Applied already, or is ahead of it. Entries after it
// may be acknowledged, and would be lost.
var ErrHeld = errors.New("storage: the log holds what was staged")

// Stage gathers what a replica that is too far behind lacks, beside what its
// log holds now: a machine's state, and the live entries at or below it.
//
//	st := store.Stage(log)
//	st.Append(entries) …       // straight to segments: bounded memory
//	st.Seal(checkpoint, keep)  // all durable; the log is still the old one
//	store.Append(&Append{Log: l, Stage: st, HardState: …, Done: …}) // the switch
//
// Until the last step is done the old log is whole, and what it acknowledged
// counts; after it the new one is: one record of the WAL decides. What a power
// cut leaves of a stage that was not installed is removed when the store is opened.
//
// A stage belongs to one goroutine at a time. The log itself may be used as ever while it is
// filled, and deleted.
//
// Entries do not go through the WAL: they may be gigabytes, would be written twice,
// and would keep those of all other logs waiting. See docs/storage.md, "Stages".
type Stage struct {
	log    *Log
	w      segWriter
	seg    *segment // that w writes to; nil: none yet
	segs   []*segment
	chunks []*chunk // in the order of their indexes
	sums   verifier
	first  record.Index // of the first staged entry
	last   record.Index // of the last
	next   record.Offset
	cut    record.Index // what is above it is not kept; set by Seal
	state  *Checkpoint  // set by Seal

	aborted bool

	// Owned by the WAL goroutine, from the Append that installs until it is done.
	number    uint64
	installed bool
}

// Stage begins. There may be one at a time for a log.
func (s *Store) Stage(log record.LogID) *Stage {
	l := s.Log(log)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.staging {
		panic(fmt.Sprintf("storage: log %d is being staged already", log))
	}
	l.staging = true
	return &Stage{log: l, sums: verifier{seed: l.seed}}
}

// Append adds live entries: indexes increase, with gaps where entries are dead.
// It writes to the disk as it goes, and syncs now and then: that is the
// back-pressure. After an error the stage can only be aborted; it is
// [syscall.ENOSPC] when the disk is, or would soon be, full.
func (st *Stage) Append(entries []*raftpb.Entry) error {
	s := st.log.store
	if s.Low() {
		return fmt.Errorf("storage: stage log %d: the disk is nearly full: %w", st.log.id, syscall.ENOSPC)
	}
	items := make([]item, len(entries))
	for i, e := range entries {
		base, count := offsets(e, st.next)
		it := item{e: e, base: base, count: count, crc: st.sums.sum(e)}
		if it.index() <= st.last || base < st.next {
			return fmt.Errorf("%w: stage log %d: index %d, offset %d after index %d, offset %d", errRecord, st.log.id, it.index(), base, st.last, st.next)
		}
		if st.first == 0 {
			st.first = it.index()
		}
		st.last, st.next = it.index(), it.end()
		items[i] = it
	}
	return st.write(items)
}

// write writes items, and makes them durable in pieces, so that no sync has so much
// to write that those of the WAL wait for long.
func (st *Stage) write(items []item) (err error) {
	for len(items) > 0 {
		if err := st.open(); err != nil {
			return err
		}
		n, bytes := 0, 0
		for n < len(items) && (n == 0 || bytes < maxRead) {
			bytes += entryLen(items[n].e)
			n++
		}
		chunks := len(st.chunks)
		if st.chunks, err = st.w.write(st.log, items[:n], st.chunks); err != nil {
			return err
		}
		if len(st.chunks) > chunks {
			if err := st.sync(); err != nil {
				return err
			}
		}
		items = items[n:]
	}
	return nil
}

// open directs the writer to a segment with room.
func (st *Stage) open() error {
	s := st.log.store
	if st.seg != nil && st.w.pos() < s.opts.SegmentSize {
		return nil
	}
	if err := st.endSegment(); err != nil {
		return err
	}
	seg, err := s.segs.make(st.log.id, false)
	if err != nil {
		return err
	}
	seg.retain() // until the stage is installed or aborted
	st.seg, st.segs = seg, append(st.segs, seg)
	return st.w.use(seg)
}

func (st *Stage) endSegment() (err error) {
	if st.seg == nil {
		return nil
	}
	if st.chunks, err = st.w.endRun(st.chunks); err != nil {
		return err
	}
	return st.sync()
}

// sync makes what was written durable. If that fails the store must not go on.
func (st *Stage) sync() error {
	if err := st.w.flush(); err != nil {
		return err
	}
	m := st.log.store.metrics
	m.segBytes.Add(float64(st.w.written))
	st.w.written = 0
	if err := st.w.file.Sync(); err != nil {
		err = fmt.Errorf("sync of %s: %w", st.seg.name(), mustNotRetry{err})
		st.log.store.fail(err)
		return err
	}
	return nil
}

// Seal makes what was staged durable. c is the machine's state; keep is the
// index up to which the log's own live entries belong to the new log too: its commit
// index when the first staged entry was asked for. All staged entries lie in (keep, c.Applied].
func (st *Stage) Seal(c Checkpoint, keep record.Index) error {
	if st.first != 0 && (st.first <= keep || st.last > c.Applied) || keep > c.Applied {
		return fmt.Errorf("%w: stage log %d: indexes %d to %d, to follow %d, of a state at %d", errRecord, st.log.id, st.first, st.last, keep, c.Applied)
	}
	if err := st.endSegment(); err != nil {
		return err
	}
	kept, err := st.keep(&c, keep)
	if err != nil {
		return err
	}
	st.chunks = append(kept, st.chunks...)
	if len(st.segs) > 0 {
		if err := st.log.store.syncDir(segName); err != nil {
			st.log.store.fail(err)
			return err
		}
	}
	st.state = &c
	return nil
}

// keep copies what the log has in memory of the entries up to keep: in a log
// all chunks lie before what is in memory, and the staged chunks lie behind both.
// Entries up to keep are committed, so what the flusher does with them
// meanwhile does no harm: the chunks that it adds are cut off where the copy begins.
func (st *Stage) keep(c *Checkpoint, keep record.Index) ([]*chunk, error) {
	l := st.log
	var have record.Index
	var runs [][]item
	l.mu.RLock()
	if n := len(l.chunks); n > 0 {
		have = l.chunks[n-1].last
	}
	for _, t := range l.tables {
		if items := between(t.items, have, keep); len(items) > 0 {
			runs = append(runs, items)
		}
	}
	l.mu.RUnlock()
	st.cut = min(have, keep) + 1
	staged := st.chunks
	st.chunks = nil
	lp := &logPlan{known: true, live: c.Live, compacted: c.Applied}
	for _, items := range runs {
		items = slices.Clone(items)
		if err := st.write(slices.DeleteFunc(items, func(it item) bool { return !lp.keep(&it) })); err != nil {
			return nil, err
		}
	}
	err := st.endSegment()
	kept := st.chunks
	st.chunks = staged
	return kept, err
}

// Install seals and switches, and waits. When it returns nil the new log is
// durable. Nothing else may be appended to the log meanwhile.
func (st *Stage) Install(c Checkpoint, hard *raftpb.HardState, keep record.Index) error {
	if err := st.Seal(c, keep); err != nil {
		return err
	}
	s := st.log.store
	done := make(stageDone, 1)
	s.Append(&Append{Log: st.log, Stage: st, HardState: hard, Done: done})
	select {
	case a := <-done:
		return a.Err
	case <-s.wal.done:
	}
	select {
	case a := <-done:
		return a.Err
	default:
		return fmt.Errorf("%w: log %d: the outcome of an installation is known when the store is opened again", ErrClosed, st.log.id)
	}
}

type stageDone chan *Append

// AppendDone implements [Completion].
func (d stageDone) AppendDone(a *Append) { d <- a }

// Abort forgets what was staged, unless it was installed. It may be called when
// the Append that was to install it is done, or when there was none.
func (st *Stage) Abort() {
	if st.installed || st.aborted {
		return
	}
	st.aborted = true
	l := st.log
	l.mu.Lock()
	l.staging = false
	l.mu.Unlock()
	for _, seg := range st.segs {
		if l.store.alive() { // else it may be installed after all: the next Open knows
			seg.drop()
		}
		seg.release()
	}
}

// refused returns why the stage cannot be installed now, or nil.
func (st *Stage) refused() error {
	l := st.log
	l.mu.RLock()
	defer l.mu.RUnlock()
	c := st.state
	switch {
	case c == nil:
		panic(fmt.Sprintf("storage: log %d: a stage is installed that was not sealed", l.id))
	case c.Applied <= l.applied, c.Applied <= l.last && l.termAt(c.Applied) == c.Term:
		return fmt.Errorf("%w: log %d has entries (%d, %d], the stage ends at %d", ErrHeld, l.id, l.applied, l.last, c.Applied)
	}
	return nil
}

// installation says that a stage took the place of what a log held. It is what
// the WAL has of a stage; the entries are in segments.
//
//	uint64   number, increasing
//	uint64   index from which on nothing is kept; all ones: a later checkpoint holds all of it
//	state    applied, term, membership, state: as in a snapshot record
//	uvarint  number of segments, then of each: as in a checkpoint
//	uvarint  number of chunks, then of each: as in a checkpoint
type installation struct {
	number uint64
	wal    uint64 // id of the WAL file that holds it
	cut    record.Index
}

func appendInstallation(b []byte, number uint64, cut record.Index, c *Checkpoint, chunks []*chunk) []byte {
	b = le.AppendUint64(b, number)
	b = le.AppendUint64(b, uint64(cut))
	b = appendCheckpoint(b, c)
	var segs []segmentImage
	var images []chunkImage
	for _, c := range chunks {
		s := c.seg
		if !slices.ContainsFunc(segs, func(si segmentImage) bool { return si.number == s.number }) {
			segs = append(segs, segmentImage{number: s.number, size: s.size, shared: s.shared, owner: s.owner, wal: s.wal})
		}
		images = append(images, chunkImage{segment: s.number, chunk: *c})
	}
	return appendChunkImages(appendSegmentImages(b, segs), images)
}

// parseInstallation reads what appendInstallation wrote. What it returns aliases b.
func parseInstallation(b []byte) (in installation, c *Checkpoint, segs []segmentImage, chunks []chunkImage, err error) {
	d := &decoder{b: b}
	in.number, in.cut = d.u64(), record.Index(d.u64())
	if d.err == nil {
		c, d.b, d.err = parseCheckpoint(d.b)
	}
	segs, known := d.segmentImages()
	chunks = d.chunkImages(known)
	n := len(chunks)
	if d.err == nil && (len(d.b) > 0 || n > 0 && (chunks[0].first < in.cut || chunks[n-1].last > c.Applied)) {
		d.fail()
	}
	return in, c, segs, chunks, d.err
}

// install puts what was staged in the place of what the log holds from index
// cut on. Called with mu locked.
func (l *Log) install(cut record.Index, c *Checkpoint, chunks []*chunk) {
	l.truncate(cut)
	l.chunks = append(l.chunks[:len(l.chunks):len(l.chunks)], chunks...)
	setReach(l.chunks)
	l.begin(c)
	l.next = l.nextOffset()
	l.fromWAL = false
}

// sum is the CRC of an entry's frame.
func (v *verifier) sum(e *raftpb.Entry) uint32 {
	h := appendEntryFields(v.scratch[:0], e)
	return crc32.Update(crc32.Update(v.seed, castagnoli, h), castagnoli, e.Data)
}
