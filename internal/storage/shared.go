package storage

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"go.etcd.io/raft/v3/raftpb"
)

// Span is a part of an entry's data that entries of other logs hold, too: a message
// that was routed to several queues. The WAL writes it once and lets the other entries refer to it.
type Span struct {
	From, To int   // in the data
	Body     *byte // names it: the first byte of what all of them are a copy of
}

// A record of kindShared holds entries like one of kindEntries, but the data of each,
// after its header, is a row of parts up to the length that the header says:
//
//	uvarint  length × 2, and as many bytes
//	uvarint  length × 2 + 1, uvarint position: as many bytes from there in this file
//
// The entry's CRC is that of the whole. What is referred to lies in the same batch or an
// earlier one, so it is as durable; if it is damaged, so is every entry that refers to it, and their CRCs tell.

// sharedMost bounds the bytes of the bodies that the WAL remembers.
const sharedMost = 4 << 20

// sharedBodies are the bodies that the file holds, and where.
type sharedBodies struct {
	at    map[*byte]int64
	bytes int
}

func (s *sharedBodies) forget() {
	clear(s.at)
	s.bytes = 0
}

func (s *sharedBodies) add(p Span, at int64) {
	if s.bytes += p.To - p.From; s.bytes > sharedMost {
		s.forget()
		s.bytes = p.To - p.From
	}
	if s.at == nil {
		s.at = make(map[*byte]int64)
	}
	s.at[p.Body] = at
}

// shared adds entries that have spans, and appends their CRCs to crcs. base is
// where in the file the batch begins.
func (b *batchWriter) shared(l *Log, entries []*raftpb.Entry, spans [][]Span, known *sharedBodies, base int64, crcs []uint32) []uint32 {
	b.placed = true
	start := b.begin(kindShared, l.id)
	for i, e := range entries {
		at := len(b.buf)
		b.buf = append(b.buf, 0, 0, 0, 0)
		b.buf = appendEntryFields(b.buf, e)
		crc := crc32.Update(crc32.Update(l.seed, castagnoli, b.buf[at+4:]), castagnoli, e.Data)
		le.PutUint32(b.buf[at:], crc)
		crcs = append(crcs, crc)
		b.parts(e.Data, spans[i], known, base)
	}
	b.finishSealed(start)
	return crcs
}

// parts adds the data of an entry.
func (b *batchWriter) parts(data []byte, spans []Span, known *sharedBodies, base int64) {
	written := 0 // of data
	var fresh []Span
	literal := func(to int) {
		if to == written {
			return
		}
		b.buf = binary.AppendUvarint(b.buf, uint64(to-written)<<1)
		at := base + int64(len(b.buf)) - int64(written)
		b.buf = append(b.buf, data[written:to]...)
		for _, p := range fresh {
			known.add(p, at+int64(p.From))
		}
		fresh, written = fresh[:0], to
	}
	for _, p := range spans {
		at, ok := known.at[p.Body]
		if !ok {
			fresh = append(fresh, p)
			continue
		}
		literal(p.From)
		b.buf = binary.AppendUvarint(b.buf, uint64(p.To-p.From)<<1|1)
		b.buf = binary.AppendUvarint(b.buf, uint64(at))
		written = p.To
	}
	literal(len(data))
}

// expand turns the body of a record of kindShared into that of one of
// kindEntries; file is the WAL file up to there, at least.
func expand(file, body []byte) (out []byte, err error) {
	for len(body) > 0 {
		if len(body) < entryHeader {
			return nil, errFrame
		}
		left := uint64(le.Uint32(body[4:]))
		out = append(out, body[:entryHeader]...)
		body = body[entryHeader:]
		for left > 0 {
			var part []byte
			if part, body, err = nextPart(file, body); err != nil {
				return nil, err
			}
			if len(part) == 0 || uint64(len(part)) > left {
				return nil, fmt.Errorf("%w: a part of %d bytes, %d are left", errRecord, len(part), left)
			}
			out = append(out, part...)
			left -= uint64(len(part))
		}
	}
	return out, nil
}

// nextPart splits the first part off body.
func nextPart(file, body []byte) (part, rest []byte, err error) {
	p, rest, err := splitPart(body, uint64(len(file)))
	if err == nil && p.here == nil {
		p.here = file[p.at : p.at+p.len]
	}
	return p.here, rest, err
}

// sharedPart is a part of an entry's data.
type sharedPart struct {
	len  uint64
	here []byte // nil: it lies at a position of the file
	at   uint64
}

// splitPart splits the first part off body; what it refers to lies before end.
func splitPart(body []byte, end uint64) (p sharedPart, rest []byte, err error) {
	n, k := binary.Uvarint(body)
	if k <= 0 {
		return p, nil, errFrame
	}
	body = body[k:]
	p.len = n >> 1
	if n&1 == 0 {
		if p.len > uint64(len(body)) {
			return p, nil, errFrame
		}
		p.here = body[:p.len]
		return p, body[p.len:], nil
	}
	p.at, k = binary.Uvarint(body)
	if k <= 0 || p.at > end || p.len > end-p.at {
		return p, nil, fmt.Errorf("%w: %d bytes from position %d, of a file of %d bytes", errRecord, p.len, p.at, end)
	}
	return p, body[k:], nil
}
