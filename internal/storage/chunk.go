package storage

import (
	"errors"
	"hash/crc32"
	"sort"

	"waybill/internal/record"
)

// A segment is a row of chunks. A chunk holds entries of one log, in the order
// of their indexes, not all of them:
//
//	uint32  magic
//	uint32  CRC32C of the 56 bytes that follow, seeded with the segment's number
//	uint64  log id
//	uint64  index of the first entry
//	uint64  index of the last entry
//	int64   lowest offset of the entries
//	int64   the offset after the highest
//	uint64  length of the frames
//	uint32  number of entries
//	uint32  number of marks
//	frames  of the entries
//	marks   one for about every 16 KiB of frames, the first frame included
//	uint32  CRC32C of the marks, seeded with the segment's number
//
// A mark is 24 bytes: index and base offset of an entry, and the position of
// its frame, counted from the first. What lies between two marks is a block.
//
// A WAL file that is kept (keep.go) has its chunks behind its last batch, without the frames, which are where they were
// written. There the seed is the number of the WAL file, a mark is 32 bytes: index, base offset, position in
// the file, and length of the block; and the magic is another one.
//
// Where entries share parts with those of other logs a chunk of such a file has a magic of its own, and a mark 40 bytes. If its last
// field is not 0, the block is what a record of the WAL says of the entries (shared.go), and that is its length in
// the file. All other lengths are of the frames that the entries make, so that they say what it would
// take to write them elsewhere.
const (
	chunkMagic    = 0x4b484357 // "WCHK"
	keptMagic     = 0x54504b57 // "WKPT"
	sharedMagic   = 0x48534b57 // "WKSH"
	chunkHeader   = 64
	markLen       = 24
	keptMarkLen   = 32
	sharedMarkLen = 40
	markEvery     = 16 << 10
	maxChunk      = 16 << 20 // bytes of frames, if no single entry is larger
)

var errChunk = errors.New("chunk is malformed")

// chunk says what a chunk holds. It is all that is in memory of entries that
// are not.
type chunk struct {
	seg    *segment
	kept   bool  // it lies in a WAL file that is kept
	shared bool  // some of its entries share parts with those of other logs there
	pos    int64 // of the header in the file
	data   int64 // length of the frames
	marks  uint32
	count  uint32
	first  record.Index
	base   record.Offset // no entry has a lower one
	end    record.Offset // no entry holds this one or a higher

	// Owned by the flusher.
	live   int64  // bytes of the chunk that are needed, as far as is known
	looked uint64 // number of the checkpoint that found live out

	// Protected by Log.mu.
	last  record.Index  // of the last entry that counts
	cut   bool          // entries after last were overwritten
	reach record.Offset // the highest end of this chunk and those before it in the log
}

// size is the chunk's length in the file.
func (c *chunk) size() int64 { return chunkHeader + c.data + c.marksLen() }

// dataPos is where the positions of marks are counted from.
func (c *chunk) dataPos() int64 {
	if c.kept {
		return 0
	}
	return c.pos + chunkHeader
}

func (c *chunk) marksPos() int64 {
	if c.kept {
		return c.pos + chunkHeader
	}
	return c.dataPos() + c.data
}

// marksLen is the length of the marks with their CRC.
func (c *chunk) marksLen() int64 {
	return int64(c.marks)*c.markLen() + 4
}

func (c *chunk) markLen() int64 {
	switch {
	case c.shared:
		return sharedMarkLen
	case c.kept:
		return keptMarkLen
	}
	return markLen
}

func (c *chunk) magic() uint32 {
	switch {
	case c.shared:
		return sharedMagic
	case c.kept:
		return keptMagic
	}
	return chunkMagic
}

// fileEnd is where the chunk ends in the file.
func (c *chunk) fileEnd() int64 { return c.marksPos() + c.marksLen() }

// fits reports whether a file of that size can hold the chunk.
func (c *chunk) fits(size int64) bool {
	room := size - chunkHeader - c.marksLen()
	switch {
	case c.pos < 0 || c.data < 0:
		return false
	case c.shared: // the frames are longer than what lies in the file
		return c.pos <= room
	case c.data > room:
		return false
	case !c.kept:
		room -= c.data
	}
	return c.pos <= room
}

func (c *chunk) appendHeader(b []byte, log record.LogID) []byte {
	start := len(b)
	b = append(le.AppendUint32(b, c.magic()), 0, 0, 0, 0)
	b = le.AppendUint64(b, uint64(log))
	b = le.AppendUint64(b, uint64(c.first))
	b = le.AppendUint64(b, uint64(c.last))
	b = le.AppendUint64(b, uint64(c.base))
	b = le.AppendUint64(b, uint64(c.end))
	b = le.AppendUint64(b, uint64(c.data))
	b = le.AppendUint32(b, c.count)
	b = le.AppendUint32(b, c.marks)
	le.PutUint32(b[start+4:], crc32.Update(c.seg.seed(), castagnoli, b[start+8:]))
	return b
}

// parseChunkHeader reads the header of a chunk in that segment.
func parseChunkHeader(b []byte, s *segment) (c chunk, log record.LogID, err error) {
	if len(b) < chunkHeader {
		return c, 0, errChunk
	}
	c.kept, c.shared = s.wal != 0, s.wal != 0 && le.Uint32(b) == sharedMagic
	if le.Uint32(b) != c.magic() {
		return c, 0, errChunk
	}
	if le.Uint32(b[4:]) != crc32.Update(s.seed(), castagnoli, b[8:chunkHeader]) {
		return c, 0, errCRC
	}
	c = chunk{
		seg: s, kept: c.kept, shared: c.shared,
		first: record.Index(le.Uint64(b[16:])),
		last:  record.Index(le.Uint64(b[24:])),
		base:  record.Offset(le.Uint64(b[32:])),
		end:   record.Offset(le.Uint64(b[40:])),
		data:  int64(le.Uint64(b[48:])),
		count: le.Uint32(b[56:]),
		marks: le.Uint32(b[60:]),
	}
	if c.data < 0 || c.first > c.last || c.base > c.end {
		return c, 0, errChunk
	}
	return c, record.LogID(le.Uint64(b[8:])), nil
}

// mark tells where in a chunk a block begins.
type mark struct {
	index record.Index
	base  record.Offset
	pos   int64
	len   int64 // of the block
	raw   int64 // of the block in the file, if its entries share parts; 0: they are frames
	alone bool  // nothing between it and the next block is read
}

// end is where the block ends in the file.
func (m *mark) end() int64 {
	if m.raw > 0 {
		return m.pos + m.raw
	}
	return m.pos + m.len
}

func appendMarks(b []byte, marks []mark, c *chunk) []byte {
	start := len(b)
	for _, m := range marks {
		b = le.AppendUint64(b, uint64(m.index))
		b = le.AppendUint64(b, uint64(m.base))
		b = le.AppendUint64(b, uint64(m.pos))
		if c.kept {
			b = le.AppendUint64(b, uint64(m.len))
		}
		if c.shared {
			b = le.AppendUint64(b, uint64(m.raw))
		}
	}
	return le.AppendUint32(b, crc32.Update(c.seg.seed(), castagnoli, b[start:]))
}

// parseMarks reads the marks of c, which lie in b with their CRC.
func parseMarks(b []byte, c *chunk) ([]mark, error) {
	k := len(b) - 4
	if k < 0 || int64(len(b)) != c.marksLen() || c.marks == 0 {
		return nil, errChunk
	}
	if le.Uint32(b[k:]) != crc32.Update(c.seg.seed(), castagnoli, b[:k]) {
		return nil, errCRC
	}
	marks := make([]mark, c.marks)
	for i := range marks {
		m := b[i*(k/len(marks)):]
		marks[i] = mark{index: record.Index(le.Uint64(m)), base: record.Offset(le.Uint64(m[8:])), pos: int64(le.Uint64(m[16:]))}
		if c.kept {
			marks[i].len = int64(le.Uint64(m[24:]))
		}
		if c.shared {
			marks[i].raw, marks[i].alone = int64(le.Uint64(m[32:])), true
		}
	}
	if !c.kept {
		for i := range marks {
			end := c.data
			if i+1 < len(marks) {
				end = marks[i+1].pos
			}
			marks[i].len = end - marks[i].pos
		}
	}
	return marks, c.checkMarks(marks)
}

// checkMarks reports blocks that overlap, lie elsewhere, or are not all.
func (c *chunk) checkMarks(marks []mark) error {
	at, most, sum := int64(0), c.data, int64(0)
	if c.kept {
		most = c.pos
	} else if marks[0].pos != 0 {
		return errChunk
	}
	for _, m := range marks {
		n := m.end() - m.pos // in the file
		if m.pos < at || n <= 0 || n > most || m.pos > most-n || m.len <= 0 || m.len > c.data-sum {
			return errChunk
		}
		at = m.end()
		sum += m.len
	}
	if sum != c.data {
		return errChunk
	}
	return nil
}

// setReach makes the chunks of a log searchable by offset. Their ends alone
// are not: the end of a cut chunk is too high, and the end of one without offsets may be too low.
func setReach(chunks []*chunk) {
	var reach record.Offset
	for _, c := range chunks {
		reach = max(reach, c.end)
		c.reach = reach
	}
}

// chunksBelow is the number of chunks that begin below index i.
func chunksBelow(chunks []*chunk, i record.Index) int {
	return sort.Search(len(chunks), func(n int) bool { return chunks[n].first >= i })
}

// cutChunks drops the entries from index i on. The slice is a new one when it
// changes: readers hold the old one.
func cutChunks(chunks []*chunk, i record.Index) []*chunk {
	n := chunksBelow(chunks, i)
	chunks = chunks[:n:n]
	if n > 0 && chunks[n-1].last >= i {
		chunks[n-1].last, chunks[n-1].cut = i-1, true
	}
	return chunks
}
