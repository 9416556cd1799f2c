package storage

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// replay reads the WAL files after the last checkpoint into the logs.
//
// Batches are numbered without a gap, through all files. When a number is
// missing and a later batch proves by its durable-through that the missing one
// was synced, acknowledged data is damaged. When nothing proves it, the missing
// batch was torn by a power cut before it was acknowledged, and the WAL ends there: what follows was
// written ahead, before the missing one was synced.
type replay struct {
	store   *Store
	seq     uint64            // of the last batch
	proved  uint64            // a batch that is known to have been synced, with all before it
	ended   bool              // a batch was torn: nothing after it counts
	deleted []record.LogID    // to be repeated in the new WAL file
	hurt    map[uint64]string // WAL files with damage → path
	all     *damageError      // damage that may concern any log
	found   bool              // it was found now, not before

	segs     map[uint64]*segment // that the checkpoint or an installation lists
	installs uint64              // the highest number of an installation

	suspect   *batch // the first bad batch since the last good one, if its header could be read
	suspectIn *walImage
}

// walImage is a WAL file in memory.
type walImage struct {
	id   uint64
	name string
	key  uint64
	seed uint32 // made of key
	buf  []byte
	bad  []span // could not be read
}

type span struct {
	from, to int64
	err      error
}

func newWALImage(name, store string, id uint64) *walImage {
	key := walKey(store, id)
	return &walImage{id: id, name: name, key: key, seed: seed64(key)}
}

// readWAL reads a file of the store with that id, leaving out what cannot be read.
func readWAL(fs vfs.FS, name, store string, id uint64) (*walImage, error) {
	f, err := fs.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer closeClean(f)
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	img := newWALImage(name, store, id)
	img.buf = make([]byte, size)
	const piece = 1 << 20
	for from := int64(0); from < size; from += piece {
		img.read(f, from, min(from+piece, size), piece)
	}
	return img, nil
}

// readHead reads no more than the first sector of a file, which holds the first batch if that is
// a head. What cannot be read is left out: replay will report it.
func readHead(fs vfs.FS, name, store string, id uint64) (*walImage, error) {
	f, err := fs.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer closeClean(f)
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	img := newWALImage(name, store, id)
	b := make([]byte, min(size, sector))
	if _, err := f.ReadAt(b, 0); err == nil {
		img.buf = b
	}
	return img, nil
}

// read reads [from, to); when that fails, in ever smaller parts, down to
// a page.
func (img *walImage) read(f vfs.File, from, to, piece int64) {
	n, err := f.ReadAt(img.buf[from:to], from)
	if int64(n) == to-from {
		return
	}
	if piece > 4096 {
		for piece /= 16; from < to; from += piece {
			img.read(f, from, min(from+piece, to), piece)
		}
		return
	}
	clear(img.buf[from:to])
	if k := len(img.bad); k > 0 && img.bad[k-1].to == from {
		img.bad[k-1].to = to
		return
	}
	img.bad = append(img.bad, span{from, to, err})
}

// next returns the first whole batch at or after pos.
func (img *walImage) next(pos int64) (b batch, ok bool) {
	for ; pos < int64(len(img.buf)); pos += sector {
		if b, ok = parseBatch(img.buf[pos:], pos, img.key, img.seed); ok {
			return b, true
		}
	}
	return batch{}, false
}

// size is how long the file was at least, when the batch at pos is not whole: a
// header that can be read says how long it was when that was written, and no
// file ever was as short as a sector. A write that was torn makes no file shorter.
func (img *walImage) size(pos int64) int64 {
	b := img.buf[min(pos, int64(len(img.buf))):]
	if len(b) < batchHeader || le.Uint32(b) != batchMagic || le.Uint64(b[8:]) != img.key {
		return sector
	}
	return int64(le.Uint64(b[32:]))
}

// rebased reports whether the file begins with a batch that replaces all
// earlier files.
func (img *walImage) rebased() (seq uint64, ok bool) {
	b, ok := parseBatch(img.buf, 0, img.key, img.seed)
	return b.seq, ok && b.flags&flagRebase != 0
}

// file replays one file. Files come in increasing order.
func (r *replay) file(img *walImage) {
	if r.ended {
		// All of a file is synced before anything is written to the next one.
		b, ok := img.next(0)
		if !ok {
			r.tail(img, 0) // what cannot be read may be what proves it
			return
		}
		r.ended = b.durable <= r.seq
	}
	for pos := int64(0); !r.ended; {
		b, ok := img.next(pos)
		if !ok {
			r.tail(img, pos)
			return
		}
		if b.pos > pos {
			r.suspects(img, pos)
		}
		if size := int64(len(img.buf)); b.fileSize > size && len(img.bad) == 0 {
			img.bad = append(img.bad, span{size, b.fileSize, errors.New("the file was cut off")})
		}
		if b.seq != r.seq+1 {
			r.gap(img, &b)
		}
		if r.ended {
			return
		}
		r.suspect, r.suspectIn = nil, nil
		r.seq, r.proved = b.seq, max(r.proved, b.durable)
		r.batch(img, &b, nil)
		pos = b.pos + b.size
	}
}

// suspects remembers the bad batch at pos.
func (r *replay) suspects(img *walImage, pos int64) {
	if r.suspectIn == nil {
		b, _ := parseBatch(img.buf[pos:], pos, img.key, img.seed)
		r.suspect, r.suspectIn = &b, img
	}
}

// tail looks at what follows the last whole batch of a file: zeros, the
// remains of its former use, or a batch that is torn or damaged, as the next
// file will tell. What cannot be read at all may have been acknowledged.
func (r *replay) tail(img *walImage, pos int64) {
	if pos < int64(len(img.buf)) {
		r.suspects(img, pos)
	}
	if was := img.size(pos); was > int64(len(img.buf)) {
		r.damageAll(fmt.Sprintf("%s: it has %d bytes of %d: the file was cut off", img.name, len(img.buf), was))
		return
	}
	for _, s := range img.bad {
		if s.to > pos {
			r.damageAll(fmt.Sprintf("%s, position %d: cannot be read: %v", img.name, s.from, s.err))
			return
		}
	}
}

// missing tells that a file is not there.
func (r *replay) missing(id uint64) {
	r.damageAll(path.Join(r.store.walDir, fileName(id, walSuffix)) + " is missing")
}

// gap judges that the batches between r.seq and b are missing.
func (r *replay) gap(img *walImage, b *batch) {
	where, at := img, b.pos
	if r.suspectIn != nil {
		where, at = r.suspectIn, r.suspect.pos
	}
	switch {
	case b.seq <= r.seq:
		r.damageAll(fmt.Sprintf("%s, position %d: batch %d follows batch %d", img.name, b.pos, b.seq, r.seq))
	case max(b.durable, r.proved) <= r.seq && !r.foresee(img, b):
		r.store.opts.Logger.Warn("the WAL ends in a batch that was never acknowledged", "file", where.name, "position", at, "batch", r.seq+1)
		r.ended = true
	case b.seq == r.seq+2 && where.id == img.id && r.suspect != nil && r.suspect.size > 0 &&
		r.suspect.seq == r.seq+1 && r.suspect.pos+r.suspect.size == b.pos:
		what := fmt.Sprintf("%s, position %d: batch %d is damaged", where.name, at, r.seq+1)
		r.store.opts.Logger.Error("damaged WAL", "what", what)
		r.hurt[where.id] = where.name
		r.batch(where, r.suspect, &what)
	default:
		r.damageAll(fmt.Sprintf("%s, position %d: batches %d to %d are missing or damaged", where.name, at, r.seq+1, b.seq-1))
	}
}

// foresee reports whether a batch after b, in the same file, proves that the one after r.seq was
// synced, or may do so where the file cannot be read, as may be what is missing. b and those that were
// written ahead with it do not tell.
func (r *replay) foresee(img *walImage, b *batch) bool {
	last, ok := *b, true
	for ok && r.proved <= r.seq {
		if last, ok = img.next(last.pos + last.size); ok {
			r.proved = max(r.proved, last.durable)
		}
	}
	if r.proved > r.seq {
		return true
	}
	from := b.pos // of what may be missing
	switch r.suspectIn {
	case nil:
	case img:
		from = r.suspect.pos
	default:
		from = 0
	}
	return slices.ContainsFunc(img.bad, func(s span) bool { return s.to > from })
}

// end judges what is missing after the last batch.
func (r *replay) end() {
	if r.seq >= r.proved || r.all != nil {
		return
	}
	img := r.suspectIn
	if img == nil {
		img = &walImage{name: r.store.walDir}
		r.suspect = &batch{}
	}
	r.damageAll(fmt.Sprintf("%s, position %d: batches %d to %d are missing or damaged", img.name, r.suspect.pos, r.seq+1, r.proved))
}

func (r *replay) damageAll(what string) {
	r.store.opts.Logger.Error("damaged WAL: any log may have lost entries", "what", what)
	r.found = true
	if r.all == nil {
		r.all = &damageError{what: what}
	}
}

// batch replays the records of a batch. damage is not nil when the batch is
// not whole: then it is the description, and each log of which a record does not
// match its own checksum is marked with it.
func (r *replay) batch(img *walImage, b *batch, damage *string) {
	seed, whole := b.seed(), damage == nil
	for rest := b.records; len(rest) > 0; {
		var rec walRecord
		var err error
		if rec, rest, err = nextRecord(rest, seed); err == nil {
			err = r.record(img, &rec, whole)
		}
		if err == nil {
			continue
		}
		if damage == nil {
			// The batch matches its checksum: it was written like this.
			what := fmt.Sprintf("%s, position %d: batch %d: %v", img.name, b.pos, b.seq, err)
			damage = &what
		}
		if rest == nil {
			r.damageAll(*damage)
			return
		}
		r.hurt[img.id] = img.name
		r.store.log(rec.log).markDamaged(*damage)
	}
}

// record replays a record. whole: the batch that it is of is.
func (r *replay) record(img *walImage, rec *walRecord, whole bool) error {
	if !rec.ok {
		return errCRC
	}
	if rec.kind == kindDamageAll {
		if r.all == nil {
			r.all = &damageError{what: string(rec.body)}
		}
		return nil
	}
	l := r.store.log(rec.log)
	if l.awaits != 0 && rec.kind != kindInstall && rec.kind != kindDelete && rec.kind != kindDamage {
		return nil
	}
	switch rec.kind {
	case kindEntries:
		// Not the file's buffer: one entry that is still needed would keep all of it.
		return r.entries(img, l, bytes.Clone(rec.body), whole)
	case kindShared:
		body, err := expand(img.buf, rec.body)
		if err != nil {
			return err
		}
		return r.entries(img, l, body, whole)
	case kindInstall:
		return r.install(l, rec.body)
	case kindHardState:
		h, err := parseHardState(rec.body)
		if err != nil {
			return err
		}
		l.hard, l.hasHard, l.dirty = h, true, true
	case kindSnapshot:
		c, _, err := parseCheckpoint(rec.body)
		if err != nil {
			return err
		}
		l.reset(c)
	case kindDelete:
		r.store.drop(l)
		r.deleted = append(r.deleted, l.id)
	case kindDamage:
		l.markDamaged(string(rec.body))
	}
	return nil
}

// install replays that a stage took the place of a log. When the checkpoint
// holds the installation it only says that what follows counts again: its chunks
// may have been rewritten since.
func (r *replay) install(l *Log, body []byte) error {
	in, c, segs, chunks, err := parseInstallation(body)
	if err != nil {
		return err
	}
	r.installs = max(r.installs, in.number)
	held := l.awaits == in.number || in.cut == noCut
	if held || in.number > l.awaits {
		l.awaits = 0
	}
	if l.awaits != 0 {
		return nil // one before it
	}
	l.installed.number = in.number
	if held {
		return nil
	}
	if len(l.tables) > 0 && l.tables[0].first < in.cut {
		return fmt.Errorf("%w: the log was to be kept up to index %d, in segments; they are not known", errRecord, in.cut-1)
	}
	for i := range segs {
		r.segment(&segs[i])
	}
	brought := make([]*chunk, len(chunks))
	for i := range chunks {
		brought[i] = r.chunk(&chunks[i])
	}
	l.installed.cut = min(l.installed.cut, in.cut)
	l.install(in.cut, c, brought)
	return nil
}

// segment makes a segment that is listed.
func (r *replay) segment(si *segmentImage) {
	s := r.segs[si.number]
	if s == nil {
		if r.segs == nil {
			r.segs = make(map[uint64]*segment)
		}
		s = &segment{set: r.store.segs, number: si.number, owner: si.owner, shared: si.shared, wal: si.wal}
		r.segs[si.number] = s
	}
	s.size = max(s.size, si.size)
}

func (r *replay) chunk(ci *chunkImage) *chunk {
	c := ci.chunk
	c.seg = r.segs[ci.segment]
	return &c
}

// entries replays frames of entries, which keep body. In a batch that is not whole they
// have to go on where the log ends: whole frames of the same log may also lie there from
// the file's former life.
func (r *replay) entries(img *walImage, l *Log, body []byte, whole bool) error {
	n := 0
	for rest := body; len(rest) > 0; n++ {
		f, next, err := nextFrame(rest)
		if err != nil {
			return err
		}
		if !f.valid(l.seed) {
			return errCRC
		}
		rest = next
	}
	if n == 0 {
		return nil
	}
	block, entries, crcs := make(entryBlock, n), make([]*raftpb.Entry, n), make([]uint32, n)
	for i, rest := 0, body; i < n; i++ {
		var f frame
		f, rest, _ = nextFrame(rest)
		if i > 0 && uint64(f.index) != entries[i-1].GetIndex()+1 {
			return fmt.Errorf("%w: index %d follows %d", errRecord, f.index, entries[i-1].GetIndex())
		}
		entries[i], crcs[i] = block.set(i, &f), f.crc
	}
	if entries[0].GetIndex() < 2 {
		return fmt.Errorf("%w: index %d", errRecord, entries[0].GetIndex())
	}
	if i := record.Index(entries[0].GetIndex()); !whole && i != l.last+1 {
		return fmt.Errorf("%w: index %d follows %d, in a batch that is damaged", errRecord, i, l.last)
	}
	return l.append(img.id, place{pos: scattered}, entries, crcs)
}

func (l *Log) markDamaged(what string) {
	if l.damage == nil {
		l.damage = damageError{l.id, what}
	}
}

// damageError is what is stored of damage: as text.
type damageError struct {
	log  record.LogID // 0: any
	what string
}

func (e damageError) Error() string {
	if e.log == 0 {
		return fmt.Sprintf("%v: %s", ErrDamaged, e.what)
	}
	return fmt.Sprintf("%v: log %d: %s", ErrDamaged, e.log, e.what)
}

func (e damageError) Unwrap() error { return ErrDamaged }

// ownDamage returns the damage that is the log's alone, not that of the store.
func (l *Log) ownDamage() (what string) {
	var d damageError
	if errors.As(l.damage, &d) && d.log != 0 {
		return d.what
	}
	return ""
}

// check marks logs in which entries are missing that raft may still need.
func (r *replay) check() {
	for _, id := range slices.Sorted(maps.Keys(r.store.logs)) {
		l := r.store.logs[id]
		next := l.applied + 1
		cover := func(first, end record.Index) {
			if first <= next {
				next = max(next, end)
			}
		}
		for _, c := range l.chunks {
			cover(c.first, c.last+1)
		}
		for _, t := range l.tables {
			cover(t.first, t.end())
		}
		if l.awaits != 0 {
			l.markDamaged(fmt.Sprintf("%s: the installation %d, which the checkpoint holds, is missing", path.Clean(r.store.walDir), l.awaits))
		}
		if l.last < l.applied || next <= l.last {
			l.markDamaged(fmt.Sprintf("%s: no entry %d after the checkpoint at %d, in a log that ends at %d",
				path.Clean(r.store.walDir), next, l.applied, l.last))
		}
		if r.all != nil && l.damage == nil {
			l.damage = *r.all
		}
	}
	r.store.damage = r.all
}
