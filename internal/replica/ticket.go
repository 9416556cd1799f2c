package replica

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/storage"
)

// tickets stand for the data of proposals. Raft copies what it is given, lest the
// caller change it; a Machine never does, and a quarter of a megabyte is dear
// to copy. So raft copies a ticket, a number, and the entry that it makes of it
// gets the data before anybody looks at it: raft shows each new entry in the very next Ready,
// and shares it with all the messages that carry it.
type tickets struct {
	last    uint64
	data    [][]byte                         // of the tickets up to last that are not redeemed
	spans   [][]storage.Span                 // of data; see Sharer
	shared  map[*raftpb.Entry][]storage.Span // of the new entries of the present Ready
	scratch [ticketLen]byte
}

// ticketLen is shorter than the data of any entry, which begins with a header.
const ticketLen = 8

var _ [record.HeaderLen - ticketLen - 1]struct{}

// propose has raft append an entry with the data, of which spans are shared.
func (t *tickets) propose(node *raft.RawNode, data []byte, spans []storage.Span) error {
	binary.LittleEndian.PutUint64(t.scratch[:], t.last+1)
	if err := node.Propose(t.scratch[:]); err != nil {
		return err
	}
	t.last++
	t.data, t.spans = append(t.data, data), append(t.spans, spans)
	return nil
}

// redeem gives the new entries of a Ready their data.
func (t *tickets) redeem(rd *raft.Ready) {
	if len(t.data) == 0 {
		return
	}
	n, first := 0, t.last-uint64(len(t.data))+1
	for _, e := range rd.Entries {
		if len(e.Data) != ticketLen || e.GetType() != raftpb.EntryNormal {
			continue
		}
		if number := binary.LittleEndian.Uint64(e.Data); n == len(t.data) || number != first+uint64(n) {
			panic(fmt.Sprintf("replica: entry %d has ticket %d; %d to %d were proposed", e.GetIndex(), number, first, t.last))
		}
		e.Data, t.data[n] = t.data[n], nil
		if len(t.spans[n]) > 0 {
			if t.shared == nil {
				t.shared = make(map[*raftpb.Entry][]storage.Span)
			}
			t.shared[e], t.spans[n] = t.spans[n], nil
		}
		n++
	}
	if n < len(t.data) {
		panic(fmt.Sprintf("replica: raft shows %d of %d entries that were proposed", n, len(t.data)))
	}
	t.data, t.spans = t.data[:0], t.spans[:0]
}

// take returns the spans of new entries, nil when none has any.
func (t *tickets) take(entries []*raftpb.Entry) [][]storage.Span {
	if len(t.shared) == 0 {
		return nil
	}
	spans := make([][]storage.Span, len(entries))
	for i, e := range entries {
		spans[i] = t.shared[e]
	}
	clear(t.shared)
	return spans
}
