package storage

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"waybill/internal/record"
)

// appendCheckpoint appends the state of a machine: applied, term, membership
// (uvarint length, protobuf), state (uvarint length, bytes).
func appendCheckpoint(b []byte, c *Checkpoint) []byte {
	b = le.AppendUint64(b, uint64(c.Applied))
	b = le.AppendUint64(b, c.Term)
	conf := c.ConfState
	if conf == nil {
		conf = &raftpb.ConfState{}
	}
	m, err := proto.MarshalOptions{Deterministic: true}.Marshal(conf)
	if err != nil {
		panic(fmt.Sprintf("storage: membership of a checkpoint: %v", err))
	}
	b = append(binary.AppendUvarint(b, uint64(len(m))), m...)
	return append(binary.AppendUvarint(b, uint64(len(c.State))), c.State...)
}

// parseCheckpoint reads what appendCheckpoint wrote; State aliases b.
func parseCheckpoint(b []byte) (*Checkpoint, []byte, error) {
	d := decoder{b: b}
	c := &Checkpoint{Applied: record.Index(d.u64()), Term: d.u64(), ConfState: &raftpb.ConfState{}}
	conf := d.bytes()
	c.State = d.bytes()
	if d.err != nil {
		return nil, nil, d.err
	}
	if err := proto.Unmarshal(conf, c.ConfState); err != nil {
		return nil, nil, fmt.Errorf("%w: membership: %w", errRecord, err)
	}
	return c, d.b, nil
}

// snapshotCheckpoint is the checkpoint that a snapshot from another replica brings.
func snapshotCheckpoint(s *raftpb.Snapshot) *Checkpoint {
	m := s.GetMetadata()
	return &Checkpoint{
		Applied:   record.Index(m.GetIndex()),
		Term:      m.GetTerm(),
		ConfState: m.GetConfState(),
		State:     s.GetData(),
	}
}

// decoder reads fields off b until one is missing.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) u8() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) u32() uint32 {
	if b := d.take(4); b != nil {
		return le.Uint32(b)
	}
	return 0
}

func (d *decoder) u64() uint64 {
	if b := d.take(8); b != nil {
		return le.Uint64(b)
	}
	return 0
}

func (d *decoder) uvarint() uint64 {
	n, k := binary.Uvarint(d.b)
	if k <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[k:]
	return n
}

func (d *decoder) bytes() []byte { return d.take(d.uvarint()) }

func (d *decoder) take(n uint64) []byte {
	if d.err != nil || n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) fail() {
	if d.err == nil {
		d.err, d.b = errRecord, nil
	}
}
