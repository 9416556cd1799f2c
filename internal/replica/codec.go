package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"waybill/internal/record"
)

// A frame is what one turn of a shard has to say to one replica. Sender and
// receiver are the connection's, so a replica cannot speak for another.
//
//	uint8   version (1)
//	messages …
//	uint32  CRC32C of all before it, little endian
//
// A message; numbers without a size are uvarints:
//
//	        id of the group
//	uint8   type: raft's MessageType, or one of ours (see kindSleep)
//	uint8   which of the following are there, see has…; 1: reject
//	        term, log term, index, commit, reject hint
//	        number of entries; of each: uint8 type, term, index, length, data
//	        length of the context, context
//	        index and term of the snapshot, length of the membership, membership (raft's protobuf)
const (
	frameVersion = 1
	frameMin     = 1 + 4
)

const (
	hasReject = 1 << iota
	hasLogTerm
	hasIndex
	hasCommit
	hasRejectHint
	hasEntries
	hasContext
	hasSnapshot
)

// Messages between replicas that raft knows nothing of.
const (
	// kindSleep is the leader's: all of us have everything up to index, let us
	// not tick until there is something to do.
	kindSleep raftpb.MessageType = 200
	// kindLeave is the leader's: I lead no longer, elect another.
	kindLeave raftpb.MessageType = 201
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)

	// ErrFrame is returned for a frame that is not as it should be.
	ErrFrame = errors.New("replica: malformed frame")
)

// AppendMessage appends an encoded message to b. What the frame says already,
// sender and receiver, is left out.
func AppendMessage(b []byte, group record.LogID, m *raftpb.Message) []byte {
	f := frameWriter{b: b, large: math.MaxInt}
	f.message(group, m)
	return f.b
}

// frameWriter makes a frame whose large pieces are not copied: they are what others
// hold, and do not change.
type frameWriter struct {
	large int // length of data from which on it is a part of its own
	b     []byte
	begun int      // where in b the part begins that is not in parts yet
	parts [][]byte // all before it
	size  int      // of parts
}

// len is the length of the frame so far.
func (f *frameWriter) len() int { return f.size + len(f.b) - f.begun }

func (f *frameWriter) cut() {
	f.add(f.b[f.begun:len(f.b):len(f.b)])
	f.begun = len(f.b)
}

func (f *frameWriter) add(part []byte) {
	f.parts = append(f.parts, part)
	f.size += len(part)
}

// seal completes the frame and returns its parts.
func (f *frameWriter) seal() [][]byte {
	var sum uint32
	for _, part := range f.parts {
		sum = crc32.Update(sum, castagnoli, part)
	}
	sum = crc32.Update(sum, castagnoli, f.b[f.begun:])
	f.b = binary.LittleEndian.AppendUint32(f.b, sum)
	f.cut()
	return f.parts
}

func (f *frameWriter) message(group record.LogID, m *raftpb.Message) {
	f.b = binary.AppendUvarint(f.b, uint64(group))
	f.b = append(f.b, byte(m.GetType()), flagsOf(m))
	f.b = binary.AppendUvarint(f.b, m.GetTerm())
	for _, n := range [...]uint64{m.GetLogTerm(), m.GetIndex(), m.GetCommit(), m.GetRejectHint()} {
		if n != 0 {
			f.b = binary.AppendUvarint(f.b, n)
		}
	}
	if len(m.Entries) > 0 {
		f.entries(m.Entries)
	}
	if len(m.Context) > 0 {
		f.b = appendBytes(f.b, m.Context)
	}
	if m.Snapshot != nil {
		meta := m.Snapshot.GetMetadata()
		f.b = binary.AppendUvarint(f.b, meta.GetIndex())
		f.b = binary.AppendUvarint(f.b, meta.GetTerm())
		f.b = appendConfState(f.b, meta.GetConfState())
	}
}

// flagsOf says which fields of a message follow.
func flagsOf(m *raftpb.Message) (flags byte) {
	for _, f := range [...]struct {
		flag byte
		set  bool
	}{
		{hasReject, m.GetReject()},
		{hasLogTerm, m.GetLogTerm() != 0},
		{hasIndex, m.GetIndex() != 0},
		{hasCommit, m.GetCommit() != 0},
		{hasRejectHint, m.GetRejectHint() != 0},
		{hasEntries, len(m.Entries) > 0},
		{hasContext, len(m.Context) > 0},
		{hasSnapshot, m.Snapshot != nil},
	} {
		if f.set {
			flags |= f.flag
		}
	}
	return flags
}

func appendBytes(b, v []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func (f *frameWriter) entries(entries []*raftpb.Entry) {
	f.b = binary.AppendUvarint(f.b, uint64(len(entries)))
	for _, e := range entries {
		f.b = append(f.b, byte(e.GetType()))
		f.b = binary.AppendUvarint(f.b, e.GetTerm())
		f.b = binary.AppendUvarint(f.b, e.GetIndex())
		f.b = binary.AppendUvarint(f.b, uint64(len(e.Data)))
		if len(e.Data) < f.large {
			f.b = append(f.b, e.Data...)
			continue
		}
		f.cut()
		f.add(e.Data)
	}
}

func appendEntries(b []byte, entries []*raftpb.Entry) []byte {
	f := frameWriter{b: b, large: math.MaxInt}
	f.entries(entries)
	return f.b
}

func appendConfState(b []byte, c *raftpb.ConfState) []byte {
	conf, err := proto.MarshalOptions{Deterministic: true}.Marshal(c)
	if err != nil {
		panic(err) // it has numbers only
	}
	return appendBytes(b, conf)
}

// sealFrame completes a frame that began with frameVersion.
func sealFrame(b []byte) []byte {
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// openFrame returns the messages of a frame.
func openFrame(b []byte) ([]byte, error) {
	if len(b) < frameMin {
		return nil, fmt.Errorf("%w: %d bytes", ErrFrame, len(b))
	}
	if b[0] != frameVersion {
		return nil, fmt.Errorf("%w: version %d", ErrFrame, b[0])
	}
	body := b[: len(b)-4 : len(b)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(b[len(body):]) {
		return nil, fmt.Errorf("%w: its checksum does not match", ErrFrame)
	}
	return body[1:], nil
}

// messageBlock is a message with what its fields point to: one allocation.
type messageBlock struct {
	m                                            raftpb.Message
	typ                                          raftpb.MessageType
	to, from, term, logTerm, index, commit, hint uint64
	reject                                       bool
}

// ParseMessage splits the first message off b, which came from a replica for
// another. The entries' data and the context alias b.
func ParseMessage(b []byte, from, to uint64) (group record.LogID, m *raftpb.Message, rest []byte, err error) {
	r := reader{b: b}
	block := &messageBlock{from: from, to: to}
	m = &block.m
	group = record.LogID(r.uvarint())
	block.typ = raftpb.MessageType(r.byte())
	flags := r.byte()
	block.term = r.uvarint()
	m.Type, m.From, m.To, m.Term = &block.typ, &block.from, &block.to, &block.term
	number := func(flag byte, v *uint64, field **uint64) {
		if flags&flag != 0 {
			*v = r.uvarint()
			*field = v
		}
	}
	if flags&hasReject != 0 {
		block.reject = true
		m.Reject = &block.reject
	}
	number(hasLogTerm, &block.logTerm, &m.LogTerm)
	number(hasIndex, &block.index, &m.Index)
	number(hasCommit, &block.commit, &m.Commit)
	number(hasRejectHint, &block.hint, &m.RejectHint)
	if flags&hasEntries != 0 {
		m.Entries = r.entries()
	}
	if flags&hasContext != 0 {
		m.Context = r.bytes()
	}
	if flags&hasSnapshot != 0 {
		meta := &raftpb.SnapshotMetadata{Index: new(r.uvarint()), Term: new(r.uvarint())}
		meta.ConfState = r.confState()
		m.Snapshot = &raftpb.Snapshot{Metadata: meta}
	}
	if r.err != nil {
		return 0, nil, nil, fmt.Errorf("%w: %w", ErrFrame, r.err)
	}
	return group, m, r.b, nil
}

var errShort = errors.New("it is cut off")

// reader takes fields off b; after an error it returns zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail(errShort)
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.fail(errShort)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// bytes returns nil for an empty field.
func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail(errShort)
		return nil
	}
	if n == 0 {
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

// entryMin is the least that an entry takes, so that a count is bounded by
// what was received.
const entryMin = 4

func (r *reader) entries() []*raftpb.Entry {
	n := r.uvarint()
	if n > uint64(len(r.b)/entryMin) {
		r.fail(errShort)
		return nil
	}
	entries := make([]*raftpb.Entry, n)
	block := make([]struct {
		e           raftpb.Entry
		typ         raftpb.EntryType
		term, index uint64
	}, n)
	for i := range block {
		s := &block[i]
		s.typ = raftpb.EntryType(r.byte())
		s.term, s.index = r.uvarint(), r.uvarint()
		s.e.Type, s.e.Term, s.e.Index = &s.typ, &s.term, &s.index
		s.e.Data = r.bytes()
		entries[i] = &s.e
	}
	return entries
}

func (r *reader) confState() *raftpb.ConfState {
	c := &raftpb.ConfState{}
	if b := r.bytes(); r.err == nil {
		if err := proto.Unmarshal(b, c); err != nil {
			r.fail(err)
		}
	}
	return c
}
