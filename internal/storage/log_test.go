package storage

import (
	"errors"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestFindChunk: the end of a cut chunk is too high, that of one without
// offsets too low; neither may hide another.
func TestFindChunk(t *testing.T) {
	cut := &chunk{first: 2, last: 10, cut: true, base: 0, end: 50} // really 20
	none := &chunk{first: 11, last: 11, base: 5, end: 5}
	full := &chunk{first: 12, last: 40, base: 20, end: 60}
	l := &Log{chunks: []*chunk{cut, none, full}}
	setReach(l.chunks)
	for off, want := range map[record.Offset]*chunk{0: cut, 8: cut, 19: cut, 49: cut, 55: full, 60: nil} {
		q := offsetQuery(off, 1000, 1)
		if got := l.findChunk(&q, 0); got != want {
			t.Errorf("offset %d: chunk %v", off, got)
		}
	}
	q := offsetQuery(30, 1000, 1)
	if got := l.findChunk(&q, 10); got != none { // holds none, but the next look finds full
		t.Error(got)
	}
	if got := l.findChunk(&q, 11); got != full {
		t.Error(got)
	}
}

// TestChangedInMemory: what changes between the append and a read is found.
func TestChangedInMemory(t *testing.T) {
	s := openStore(t, vfs.NewMem(), Options{})
	l := s.Log(1)
	a, b := entry(2, 1, 0, 1, "good"), entry(3, 1, 1, 1, "bad")
	put(t, s, l, a, b)
	b.Data[len(b.Data)-1] ^= 1
	ents, err := l.ReadFrom(0, 10, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := equalEntries(ents, []*raftpb.Entry{a}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.ReadFrom(1, 10, 1<<20, true); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
	if _, err := l.Entries(3, 4, 1<<20, false); !errors.Is(err, ErrDamaged) {
		t.Fatal(err)
	}
}

// TestReadFromSkipsWhatHasNoOffsets, and respects both limits.
func TestReadFromSkipsWhatHasNoOffsets(t *testing.T) {
	s := openStore(t, vfs.NewMem(), Options{})
	l := s.Log(1)
	index, term, typ := uint64(3), uint64(1), raftpb.EntryConfChange
	all := []*raftpb.Entry{
		entry(2, 1, 0, 3, "abc"),
		{Index: &index, Term: &term, Type: &typ, Data: []byte("a change of the membership")},
		entry(4, 1, 3, 0, "no message"),
		entry(5, 1, 3, 2, "de"),
		entry(6, 1, 5, 1, "f"),
	}
	put(t, s, l, all...)
	for _, c := range []struct {
		off, end record.Offset
		limit    int
		want     []*raftpb.Entry
	}{
		{0, 100, 1 << 20, []*raftpb.Entry{all[0], all[3], all[4]}},
		{2, 100, 1 << 20, []*raftpb.Entry{all[0], all[3], all[4]}},
		{3, 100, 1 << 20, []*raftpb.Entry{all[3], all[4]}},
		{0, 3, 1 << 20, all[:1]},
		{0, 4, 1 << 20, []*raftpb.Entry{all[0], all[3]}},
		{0, 100, 0, all[:1]},
		{0, 100, len(all[0].Data) + len(all[3].Data), []*raftpb.Entry{all[0], all[3]}},
		{6, 100, 1 << 20, nil},
		{3, 3, 1 << 20, nil},
	} {
		got, err := l.ReadFrom(c.off, c.end, c.limit, false)
		if err != nil {
			t.Fatal(err)
		}
		if err := equalEntries(got, c.want); err != nil {
			t.Errorf("[%d, %d), %d bytes: %v", c.off, c.end, c.limit, err)
		}
	}
}
