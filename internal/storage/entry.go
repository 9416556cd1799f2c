package storage

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
)

// entryHeader is the size in bytes of what precedes an entry's data, in WAL
// files and segments alike:
//
//	uint32  CRC32C of all that follows, data included, seeded with the log id
//	uint32  length of the data
//	uint64  index
//	uint64  term
//	uint8   type
const entryHeader = 4 + 4 + 8 + 8 + 1

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	le         = binary.LittleEndian

	errFrame = errors.New("entry is cut off")
	errCRC   = errors.New("checksum does not match")
)

// seed64 starts a CRC that also covers n, which is not stored beside it.
func seed64(n uint64) uint32 {
	return crc32.Checksum(le.AppendUint64(nil, n), castagnoli)
}

func entryLen(e *raftpb.Entry) int { return entryHeader + len(e.Data) }

// appendEntry appends the entry's frame to b and returns its CRC.
func appendEntry(b []byte, seed uint32, e *raftpb.Entry) ([]byte, uint32) {
	start := len(b)
	b = append(b, 0, 0, 0, 0)
	b = appendEntryFields(b, e)
	b = append(b, e.Data...)
	crc := crc32.Update(seed, castagnoli, b[start+4:])
	le.PutUint32(b[start:], crc)
	return b, crc
}

func appendEntryFields(b []byte, e *raftpb.Entry) []byte {
	b = le.AppendUint32(b, uint32(len(e.Data)))
	b = le.AppendUint64(b, e.GetIndex())
	b = le.AppendUint64(b, e.GetTerm())
	return append(b, byte(e.GetType()))
}

// frame is an entry as it lies in a file. It aliases the buffer it was read from.
type frame struct {
	crc   uint32
	index record.Index
	term  uint64
	typ   raftpb.EntryType
	body  []byte // what the CRC covers
	data  []byte
}

// nextFrame splits the first frame off b. It checks no CRC.
func nextFrame(b []byte) (f frame, rest []byte, err error) {
	if len(b) < entryHeader || uint64(le.Uint32(b[4:])) > uint64(len(b)-entryHeader) {
		return frame{}, nil, errFrame
	}
	n := entryHeader + int(le.Uint32(b[4:]))
	return frame{
		crc:   le.Uint32(b),
		index: record.Index(le.Uint64(b[8:])),
		term:  le.Uint64(b[16:]),
		typ:   raftpb.EntryType(b[24]),
		body:  b[4:n],
		data:  b[entryHeader:n:n],
	}, b[n:], nil
}

func (f *frame) valid(seed uint32) bool {
	return crc32.Update(seed, castagnoli, f.body) == f.crc
}

// entryBlock allocates n entries at once: raftpb's fields are pointers, and
// four allocations an entry would cost more than reading it.
type entryBlock []struct {
	e           raftpb.Entry
	index, term uint64
	typ         raftpb.EntryType
}

func (b entryBlock) set(i int, f *frame) *raftpb.Entry {
	s := &b[i]
	s.index, s.term, s.typ = uint64(f.index), f.term, f.typ
	s.e.Index, s.e.Term, s.e.Type = &s.index, &s.term, &s.typ
	if len(f.data) > 0 {
		s.e.Data = f.data
	}
	return &s.e
}

// verifier checks entries in memory against their CRC. It exists to be
// allocated once for many entries: the header bytes escape into crc32.
type verifier struct {
	seed    uint32
	scratch [entryHeader - 4]byte
}

func (v *verifier) valid(it *item) bool {
	h := appendEntryFields(v.scratch[:0], it.e)
	return crc32.Update(crc32.Update(v.seed, castagnoli, h), castagnoli, it.e.Data) == it.crc
}
