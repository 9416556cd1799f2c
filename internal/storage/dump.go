package storage

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path"
	"strings"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// DumpWAL writes what a WAL file holds to out as text, one line for each batch,
// record and entry, and what of it is not whole. The number in the file's name
// and the store's id, in the directory above, belong to its checksums.
func DumpWAL(out io.Writer, fs vfs.FS, name string) error {
	id, ok := fileNumber(path.Base(name), walSuffix)
	if !ok {
		return fmt.Errorf("storage: %s: the name of a WAL file is its number and %q", name, walSuffix)
	}
	store, err := readMarker(fs, path.Join(path.Dir(name), "..", markerName))
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	img, err := readWAL(fs, name, store, id)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	d := newDumper(out)
	d.printf("WAL file %d, %d bytes\n", id, len(img.buf))
	for _, s := range img.bad {
		d.printf("%d: cannot be read up to %d: %v\n", s.from, s.to, s.err)
	}
	for pos := int64(0); ; {
		b, ok := img.next(pos)
		if !ok {
			d.badBatch(img, pos, int64(len(img.buf)))
			return d.out.Flush()
		}
		if b.pos > pos {
			d.badBatch(img, pos, b.pos)
		}
		d.batch(&b)
		pos = b.pos + b.size
	}
}

// DumpSegment writes what a segment holds to out as text, one line for each
// chunk and entry, and what of it is not whole.
func DumpSegment(out io.Writer, fs vfs.FS, name string) error {
	number, ok := fileNumber(path.Base(name), segSuffix)
	if !ok {
		return fmt.Errorf("storage: %s: the name of a segment is its number and %q", name, segSuffix)
	}
	b, err := readFile(fs, name)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	d := newDumper(out)
	d.printf("segment %d, %d bytes\n", number, len(b))
	seg := &segment{number: number}
	for pos := 0; pos < len(b); {
		c, log, err := parseChunkHeader(b[pos:], seg)
		if err != nil || c.data > int64(len(b)-pos) || c.size() > int64(len(b)-pos) {
			next := bytes.Index(b[pos+1:], le.AppendUint32(nil, chunkMagic)) + 1
			if next == 0 {
				next = len(b) - pos
			}
			d.printf("%d: no whole chunk up to %d\n", pos, pos+next)
			pos += next
			continue
		}
		d.chunk(b[pos:], pos, &c, log)
		pos += int(c.size())
	}
	return d.out.Flush()
}

// DumpCheckpoint writes what a checkpoint file says to out as text.
func DumpCheckpoint(out io.Writer, fs vfs.FS, name string) error {
	b, err := readFile(fs, name)
	if err != nil {
		return fmt.Errorf("storage: %w", err)
	}
	m, err := decodeImage(b)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, name, err)
	}
	d := newDumper(out)
	d.printf("checkpoint, %d bytes: replay from WAL file %d, after batch %d; next segment %d\n", len(b), m.replayFrom, m.seq, m.nextSegment)
	if m.damage != "" {
		d.printf("damage of any log: %s\n", m.damage)
	}
	for _, s := range m.segments {
		d.printf("segment %d: %d bytes", s.number, s.size)
		switch {
		case s.wal != 0:
			d.printf(", WAL file %d\n", s.wal)
		case s.shared:
			d.printf(", shared\n")
		default:
			d.printf(" of log %d\n", s.owner)
		}
	}
	for i := range m.logs {
		d.log(&m.logs[i])
	}
	return d.out.Flush()
}

// dumper writes text; the first error is kept by the buffer and returned by its Flush.
type dumper struct{ out *bufio.Writer }

func newDumper(w io.Writer) *dumper { return &dumper{bufio.NewWriter(w)} }

func (d *dumper) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(d.out, format, args...)
}

func (d *dumper) batch(b *batch) {
	var flags string
	if b.flags&flagRebase != 0 {
		flags = ", replaces all earlier files"
	}
	d.printf("%d: batch %d, %d bytes, durable through %d%s\n", b.pos, b.seq, b.size, b.durable, flags)
	d.records(b)
}

// badBatch describes what lies between two positions without a whole batch.
func (d *dumper) badBatch(img *walImage, from, to int64) {
	if from == to {
		return
	}
	if b, _ := parseBatch(img.buf[from:], from, img.key, img.seed); b.size > 0 {
		d.printf("%d: BAD batch %d, %d bytes, durable through %d: checksum does not match\n", from, b.seq, b.size, b.durable)
		d.records(&b)
		from = min(to, from+b.size)
	}
	from = d.kept(img, from, to)
	if from < to {
		d.printf("%d: no batch up to %d\n", from, to)
	}
}

func (d *dumper) records(b *batch) {
	seed := b.seed()
	for left := b.records; len(left) > 0; {
		r, rest, err := nextRecord(left, seed)
		if err != nil {
			d.printf("  BAD record: %v; %d bytes are left\n", err, len(left))
			return
		}
		d.record(&r)
		left = rest
	}
}

func (d *dumper) record(r *walRecord) {
	d.printf("  log %d: %v, %d bytes", r.log, r.kind, len(r.body))
	if !r.ok {
		d.printf(": BAD checksum\n")
		return
	}
	switch r.kind {
	case kindEntries:
		d.printf("\n")
		d.frames(r.body, r.log)
		return
	case kindHardState:
		if h, err := parseHardState(r.body); err == nil {
			d.printf(": term %d, vote %d, commit %d", h.term, h.vote, h.commit)
		}
	case kindSnapshot:
		if c, _, err := parseCheckpoint(r.body); err == nil {
			d.printf(": %s", describe(c))
		}
	case kindInstall:
		d.installation(r.body)
		return
	case kindDamage, kindDamageAll:
		d.printf(": %s", r.body)
	}
	d.printf("\n")
}

func (d *dumper) installation(body []byte) {
	in, c, segs, chunks, err := parseInstallation(body)
	switch {
	case err != nil:
		d.printf(": BAD: %v\n", err)
	case in.cut == noCut:
		d.printf(": number %d, in a checkpoint\n", in.number)
	default:
		d.printf(": number %d, from index %d on; %s\n", in.number, in.cut, describe(c))
	}
	for _, s := range segs {
		d.printf("    segment %d: %d bytes of log %d\n", s.number, s.size, s.owner)
	}
	d.chunks("  ", chunks)
}

func describe(c *Checkpoint) string {
	return fmt.Sprintf("applied %d, term %d, voters %v, learners %v, state of %d bytes",
		c.Applied, c.Term, c.ConfState.GetVoters(), c.ConfState.GetLearners(), len(c.State))
}

func (d *dumper) frames(b []byte, log record.LogID) {
	seed := seed64(uint64(log))
	for len(b) > 0 {
		f, rest, err := nextFrame(b)
		if err != nil {
			d.printf("    BAD entry: %v; %d bytes are left\n", err, len(b))
			return
		}
		d.frame(&f, f.valid(seed))
		b = rest
	}
}

func (d *dumper) frame(f *frame, ok bool) {
	d.printf("    index %d, term %d, %s, %d bytes", f.index, f.term, strings.TrimPrefix(f.typ.String(), "Entry"), len(f.data))
	if f.typ == raftpb.EntryNormal && len(f.data) > 0 {
		if h, _, err := record.ParseHeader(f.data); err == nil {
			d.printf(", offsets [%d, %d)", h.Base, h.End())
		}
	}
	if !ok {
		d.printf(": BAD checksum")
	}
	d.printf("\n")
}

func (d *dumper) chunk(b []byte, pos int, c *chunk, log record.LogID) {
	d.chunkHead(pos, c, log)
	d.frames(b[chunkHeader:chunkHeader+c.data], log)
	d.marks(b[chunkHeader+c.data:c.size()], int64(pos)+chunkHeader, c)
}

func (d *dumper) chunkHead(pos int, c *chunk, log record.LogID) {
	d.printf("%d: chunk of log %d, %d bytes: %d entries, index [%d, %d], offsets [%d, %d)\n",
		pos, log, c.size(), c.count, c.first, c.last, c.base, c.end)
}

// marks describes the marks in b, the positions of which count from base.
func (d *dumper) marks(b []byte, base int64, c *chunk) {
	marks, err := parseMarks(b, c)
	if err != nil {
		d.printf("    BAD marks: %v\n", err)
		return
	}
	for _, m := range marks {
		d.printf("    mark: index %d, offset %d at %d, %d bytes\n", m.index, m.base, base+m.pos, m.len)
	}
}

// kept describes the chunks that begin at pos, behind the batches of a WAL file that was
// kept, and returns where they end.
func (d *dumper) kept(img *walImage, pos, to int64) int64 {
	for seg := (&segment{wal: img.id}); pos < to; {
		c, log, err := parseChunkHeader(img.buf[pos:to], seg)
		marks := pos + chunkHeader
		c.pos = pos
		if err != nil || c.marksLen() > to-marks {
			break
		}
		d.chunkHead(int(pos), &c, log)
		d.marks(img.buf[marks:marks+c.marksLen()], 0, &c)
		pos = marks + c.marksLen()
	}
	return pos
}

func (d *dumper) log(l *logImage) {
	d.printf("log %d: applied %d, term %d\n", l.id, l.applied, l.appliedTerm)
	if l.hard != nil {
		d.printf("  hard state: term %d, vote %d, commit %d\n", l.hard.term, l.hard.vote, l.hard.commit)
	}
	if l.checkpoint != nil {
		d.printf("  machine: %s\n", describe(l.checkpoint))
	}
	if l.damage != "" {
		d.printf("  DAMAGED: %s\n", l.damage)
	}
	if l.awaits != 0 {
		d.printf("  holds installation %d\n", l.awaits)
	}
	for _, t := range l.terms {
		d.printf("  from index %d: term %d\n", t.first, t.term)
	}
	d.chunks("", l.chunks)
}

func (d *dumper) chunks(indent string, chunks []chunkImage) {
	for i := range chunks {
		c := &chunks[i]
		d.printf(indent+"  segment %d at %d, %d bytes (%d live): %d entries, index [%d, %d], offsets [%d, %d)\n",
			c.segment, c.pos, c.size(), c.live, c.count, c.first, c.last, c.base, c.end)
	}
}
