package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"waybill/internal/record"
)

// A checkpoint file holds the state of every log at one moment, and where the
// rest begins. "bytes" is a uvarint length and so many bytes.
//
//	uint32   magic
//	uint32   format version
//	uint64   length of the body
//	body     see below
//	uint32   CRC32C of all before
//
// Body:
//
//	uint64   id of the first WAL file to replay
//	uint64   sequence of the last batch before that file
//	uint64   sequence of a batch that was synced before the checkpoint was made
//	uint64   number of the next segment
//	bytes    damage that may concern any log, as text; empty: none
//	uvarint  number of segments, then of each
//	           uint64 number, uint64 size, uint8 flags (1: shared, 2: a WAL file that is kept),
//	           uint64 log id of the owner, uint64 number of that WAL file if it is one
//	uvarint  number of logs, then of each
//	           uint64 log id, uint8 flags
//	           flagHard:       term, vote, commit, uint64 each
//	           uint64 applied, uint64 term of that entry
//	           flagCheckpoint: as in a snapshot record of the WAL
//	           flagDamage:     bytes
//	           flagInstall:    uint64 number of an installation that this holds; what the WAL
//	                           says of the log before it does not count
//	           uvarint number of term runs, then of each: uint64 first index, uint64 term
//	           uvarint number of chunks, then of each:
//	             uint64 segment, uint64 position, uint64 length of the frames,
//	             uint32 marks, uint32 entries, uint64 first index, uint64 last index,
//	             uint64 base offset, uint64 end offset, uint64 live bytes, uint8 flags (1: cut, 2: entries share parts)
const (
	checkpointMagic   = 0x504b4357 // "WCKP"
	checkpointVersion = 4          // 1 had no flagInstall, 2 no WAL files that are kept, 3 no chunks with shared parts
	checkpointHeader  = 16
	checkpointSuffix  = ".ckpt"
)

const (
	flagHard = 1 << iota
	flagCheckpoint
	flagDamage
	flagInstall
	flagsEnd // all that this version knows are below
)

// image is what a checkpoint file says.
type image struct {
	replayFrom  uint64 // id of the first WAL file that is not in segments
	seq         uint64 // of the last batch before that file
	synced      uint64 // a batch that was synced before
	nextSegment uint64
	damage      string
	segments    []segmentImage
	logs        []logImage
}

type segmentImage struct {
	number uint64
	size   int64
	shared bool
	owner  record.LogID
	wal    uint64 // the WAL file that it is; 0: none
}

// Flags of a segment.
const (
	segShared = 1 << iota
	segKept
	segFlagsEnd
)

// Flags of a chunk.
const (
	chunkCut = 1 << iota
	chunkShared
	chunkFlagsEnd
)

type logImage struct {
	id          record.LogID
	hard        *hardState
	applied     record.Index
	appliedTerm uint64
	checkpoint  *Checkpoint
	damage      string
	awaits      uint64 // an installation in a WAL file that will be replayed; 0: none
	terms       []termRun
	chunks      []chunkImage
}

// chunkImage is a chunk without its segment.
type chunkImage struct {
	segment uint64
	chunk
}

func (m *image) encode() []byte {
	b := make([]byte, checkpointHeader, 4096)
	b = le.AppendUint64(b, m.replayFrom)
	b = le.AppendUint64(b, m.seq)
	b = le.AppendUint64(b, m.synced)
	b = le.AppendUint64(b, m.nextSegment)
	b = appendBytes(b, m.damage)
	b = appendSegmentImages(b, m.segments)
	b = binary.AppendUvarint(b, uint64(len(m.logs)))
	for i := range m.logs {
		b = m.logs[i].append(b)
	}
	le.PutUint32(b, checkpointMagic)
	le.PutUint32(b[4:], checkpointVersion)
	le.PutUint64(b[8:], uint64(len(b)-checkpointHeader))
	return le.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func (l *logImage) append(b []byte) []byte {
	var flags uint8
	if l.hard != nil {
		flags |= flagHard
	}
	if l.checkpoint != nil {
		flags |= flagCheckpoint
	}
	if l.damage != "" {
		flags |= flagDamage
	}
	if l.awaits != 0 {
		flags |= flagInstall
	}
	b = append(le.AppendUint64(b, uint64(l.id)), flags)
	if l.hard != nil {
		b = le.AppendUint64(b, l.hard.term)
		b = le.AppendUint64(b, l.hard.vote)
		b = le.AppendUint64(b, l.hard.commit)
	}
	b = le.AppendUint64(b, uint64(l.applied))
	b = le.AppendUint64(b, l.appliedTerm)
	if l.checkpoint != nil {
		b = appendCheckpoint(b, l.checkpoint)
	}
	if l.damage != "" {
		b = appendBytes(b, l.damage)
	}
	if l.awaits != 0 {
		b = le.AppendUint64(b, l.awaits)
	}
	b = binary.AppendUvarint(b, uint64(len(l.terms)))
	for _, t := range l.terms {
		b = le.AppendUint64(b, uint64(t.first))
		b = le.AppendUint64(b, t.term)
	}
	return appendChunkImages(b, l.chunks)
}

func appendSegmentImages(b []byte, segs []segmentImage) []byte {
	b = binary.AppendUvarint(b, uint64(len(segs)))
	for i := range segs {
		s := &segs[i]
		b = le.AppendUint64(b, s.number)
		b = le.AppendUint64(b, uint64(s.size))
		var flags uint8
		if s.shared {
			flags |= segShared
		}
		if s.wal != 0 {
			flags |= segKept
		}
		b = le.AppendUint64(append(b, flags), uint64(s.owner))
		if s.wal != 0 {
			b = le.AppendUint64(b, s.wal)
		}
	}
	return b
}

func appendChunkImages(b []byte, chunks []chunkImage) []byte {
	b = binary.AppendUvarint(b, uint64(len(chunks)))
	for i := range chunks {
		b = chunks[i].append(b)
	}
	return b
}

func (c *chunkImage) append(b []byte) []byte {
	b = le.AppendUint64(b, c.segment)
	b = le.AppendUint64(b, uint64(c.pos))
	b = le.AppendUint64(b, uint64(c.data))
	b = le.AppendUint32(b, c.marks)
	b = le.AppendUint32(b, c.count)
	b = le.AppendUint64(b, uint64(c.first))
	b = le.AppendUint64(b, uint64(c.last))
	b = le.AppendUint64(b, uint64(c.base))
	b = le.AppendUint64(b, uint64(c.end))
	b = le.AppendUint64(b, uint64(c.live))
	var flags uint8
	if c.cut {
		flags |= chunkCut
	}
	if c.shared {
		flags |= chunkShared
	}
	return append(b, flags)
}

func appendBytes[T string | []byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// decodeImage reads a checkpoint file. What it returns aliases b.
func decodeImage(b []byte) (*image, error) {
	k := len(b) - 4
	switch {
	case k < checkpointHeader || le.Uint32(b) != checkpointMagic:
		return nil, fmt.Errorf("%w: not a checkpoint", errRecord)
	case le.Uint32(b[4:])-1 >= checkpointVersion:
		return nil, fmt.Errorf("%w: format version %d, this program knows %d", errRecord, le.Uint32(b[4:]), checkpointVersion)
	case le.Uint64(b[8:]) != uint64(k-checkpointHeader):
		return nil, fmt.Errorf("%w: %d bytes, the header says %d", errRecord, k-checkpointHeader, le.Uint64(b[8:]))
	case le.Uint32(b[k:]) != crc32.Checksum(b[:k], castagnoli):
		return nil, errCRC
	}
	d := &decoder{b: b[checkpointHeader:k]}
	m := &image{replayFrom: d.u64(), seq: d.u64(), synced: d.u64(), nextSegment: d.u64(), damage: string(d.bytes())}
	var segs map[uint64]*segmentImage
	m.segments, segs = d.segmentImages()
	for i := range m.segments {
		if s := &m.segments[i]; s.number >= m.nextSegment || s.wal >= m.replayFrom && s.wal != 0 {
			d.fail()
		}
	}
	var last record.LogID
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		l := d.logImage(segs)
		if len(m.logs) > 0 && l.id <= last {
			d.fail()
		}
		last = l.id
		m.logs = append(m.logs, l)
	}
	if d.err == nil && len(d.b) > 0 {
		d.fail()
	}
	return m, d.err
}

func (d *decoder) logImage(segs map[uint64]*segmentImage) (l logImage) {
	l.id = record.LogID(d.u64())
	has := d.u8()
	if has >= flagsEnd {
		d.fail()
	}
	if has&flagHard != 0 {
		l.hard = &hardState{d.u64(), d.u64(), d.u64()}
	}
	l.applied, l.appliedTerm = record.Index(d.u64()), d.u64()
	if has&flagCheckpoint != 0 && d.err == nil {
		l.checkpoint, d.b, d.err = parseCheckpoint(d.b)
	}
	if has&flagDamage != 0 {
		l.damage = string(d.bytes())
	}
	if has&flagInstall != 0 {
		l.awaits = d.u64()
	}
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		t := termRun{record.Index(d.u64()), d.u64()}
		if k := len(l.terms); k > 0 && l.terms[k-1].first >= t.first {
			d.fail()
		}
		l.terms = append(l.terms, t)
	}
	l.chunks = d.chunkImages(segs)
	return l
}

func (d *decoder) segmentImages() (list []segmentImage, segs map[uint64]*segmentImage) {
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		s := segmentImage{number: d.u64(), size: int64(d.u64())}
		flags := d.u8()
		s.shared, s.owner = flags&segShared != 0, record.LogID(d.u64())
		if flags&segKept != 0 {
			s.wal = d.u64()
		}
		if s.size < 0 || flags >= segFlagsEnd || (s.wal != 0) != (flags&segKept != 0) || s.wal != 0 && !s.shared {
			d.fail()
		}
		list = append(list, s)
	}
	segs = make(map[uint64]*segmentImage)
	for i := range list {
		segs[list[i].number] = &list[i]
	}
	return list, segs
}

// chunkImages reads the chunks of a log, which lie in these segments.
func (d *decoder) chunkImages(segs map[uint64]*segmentImage) (chunks []chunkImage) {
	for n := d.uvarint(); n > 0 && d.err == nil; n-- {
		c := d.chunkImage()
		s := segs[c.segment]
		if s == nil {
			d.fail()
			break
		}
		c.kept = s.wal != 0
		if c.shared && !c.kept || !c.fits(s.size) || c.live < 0 || c.first > c.last || c.base > c.end {
			d.fail()
		}
		if k := len(chunks); k > 0 && chunks[k-1].last >= c.first {
			d.fail()
		}
		chunks = append(chunks, c)
	}
	return chunks
}

func (d *decoder) chunkImage() (c chunkImage) {
	c.segment = d.u64()
	c.pos, c.data = int64(d.u64()), int64(d.u64())
	c.marks, c.count = d.u32(), d.u32()
	c.first, c.last = record.Index(d.u64()), record.Index(d.u64())
	c.base, c.end = record.Offset(d.u64()), record.Offset(d.u64())
	c.live = int64(d.u64())
	flags := d.u8()
	if flags >= chunkFlagsEnd {
		d.fail()
	}
	c.cut, c.shared = flags&chunkCut != 0, flags&chunkShared != 0
	return c
}
