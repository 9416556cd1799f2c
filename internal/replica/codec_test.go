package replica

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// messages are one of each kind, with the fields that raft gives them.
func messages() []*raftpb.Message {
	entry := func(index, term uint64, typ raftpb.EntryType, data string) *raftpb.Entry {
		e := &raftpb.Entry{Index: &index, Term: &term, Type: &typ}
		if data != "" {
			e.Data = []byte(data)
		}
		return e
	}
	conf := &raftpb.ConfState{Voters: []uint64{1, 2, 3}, Learners: []uint64{4}, AutoLeave: new(false)}
	return []*raftpb.Message{
		{Type: raftpb.MsgApp.Enum(), Term: new(uint64(7)), LogTerm: new(uint64(6)), Index: new(uint64(100)), Commit: new(uint64(99)),
			Entries: []*raftpb.Entry{entry(101, 7, raftpb.EntryNormal, "data"), entry(102, 7, raftpb.EntryNormal, ""), entry(103, 7, raftpb.EntryConfChangeV2, "x")}},
		{Type: raftpb.MsgAppResp.Enum(), Term: new(uint64(7)), Index: new(uint64(100)), Reject: new(true), RejectHint: new(uint64(50)), LogTerm: new(uint64(3))},
		{Type: raftpb.MsgHeartbeat.Enum(), Term: new(uint64(1 << 60)), Commit: new(uint64(12)), Context: []byte("12345678")},
		{Type: raftpb.MsgSnap.Enum(), Term: new(uint64(7)), Snapshot: &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: new(uint64(5)), Term: new(uint64(4)), ConfState: conf}}},
		{Type: kindSleep.Enum(), Term: new(uint64(7)), Index: new(uint64(100))},
		{Type: raftpb.MsgReadIndex.Enum(), Term: new(uint64(0)), Entries: []*raftpb.Entry{entry(0, 0, raftpb.EntryNormal, "context")}},
	}
}

func TestCodec(t *testing.T) {
	frame := []byte{frameVersion}
	for _, m := range messages() {
		frame = AppendMessage(frame, 301, m)
	}
	frame = sealFrame(frame)
	body, err := openFrame(frame)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range messages() {
		want.From, want.To = new(uint64(2)), new(uint64(3))
		group, got, rest, err := ParseMessage(body, 2, 3)
		if err != nil || group != 301 {
			t.Fatalf("group %d, error %v", group, err)
		}
		if !proto.Equal(want, got) {
			t.Errorf("want %v\ngot  %v", want, got)
		}
		body = rest
	}
	if len(body) != 0 {
		t.Errorf("%d bytes are left", len(body))
	}
	for i := range frame {
		frame[i] ^= 0x10
		if _, err := openFrame(frame); !errors.Is(err, ErrFrame) {
			t.Errorf("byte %d changed: error %v", i, err)
		}
		frame[i] ^= 0x10
	}
}

// FuzzParseMessage: any bytes are refused, or parsed to something that is encoded
// and parsed to the same again.
func FuzzParseMessage(f *testing.F) {
	for _, m := range messages() {
		f.Add(AppendMessage(nil, 9, m))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		group, m, _, err := ParseMessage(b, 1, 2)
		if err != nil {
			return
		}
		again := AppendMessage(nil, group, m)
		group2, m2, rest, err := ParseMessage(again, 1, 2)
		if err != nil || group2 != group || len(rest) != 0 {
			t.Fatalf("%v: group %d, then %d, %d bytes left, error %v", m, group, group2, len(rest), err)
		}
		if third := AppendMessage(nil, group2, m2); !bytes.Equal(again, third) {
			t.Errorf("%x, then %x", again, third)
		}
	})
}

// TestFrameParts: a frame of parts has the bytes of one that was copied together, and its large
// data is not copied.
func TestFrameParts(t *testing.T) {
	data := bytes.Repeat([]byte("x"), largePart)
	list := messages()
	list[0].Entries[1].Data = data
	whole := []byte{frameVersion}
	f := frameWriter{b: []byte{frameVersion}, large: largePart}
	for _, m := range list {
		whole = AppendMessage(whole, 301, m)
		f.message(301, m)
	}
	if f.len() != len(whole) {
		t.Errorf("its length is %d, not %d", f.len(), len(whole))
	}
	parts := f.seal()
	if whole = sealFrame(whole); !bytes.Equal(bytes.Join(parts, nil), whole) {
		t.Error("the parts are not the whole")
	}
	if !slices.ContainsFunc(parts, func(p []byte) bool { return &p[0] == &data[0] }) {
		t.Error("the data was copied")
	}
}
