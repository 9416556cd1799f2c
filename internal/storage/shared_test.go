package storage

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// fanOut gives every one of the logs, in batches of their own, an entry that
// holds the same bodies, and adds it to want.
func fanOut(t testing.TB, s *Store, want map[record.LogID][]*raftpb.Entry, first record.LogID, logs int, bodies ...string) {
	t.Helper()
	names := make([]*byte, len(bodies))
	for i := range bodies {
		names[i] = &[]byte(bodies[i])[0]
	}
	for id := first; id < first+record.LogID(logs); id++ {
		text, spans := fmt.Sprintf("log %d", id), []Span(nil)
		for i, body := range bodies {
			text += fmt.Sprintf(" body %d:", i)
			from := record.HeaderLen + len(text)
			text += body
			spans = append(spans, Span{from, from + len(body), names[i]})
		}
		l := s.Log(id)
		index := uint64(l.LastIndex()) + 1
		e := entry(index, 1, record.Offset(index-2), 1, text+" and an end")
		want[id] = append(want[id], e)
		done := make(waiter, 1)
		s.Append(&Append{Log: l, Entries: []*raftpb.Entry{e}, Shared: [][]Span{spans}, HardState: hard(1, 1, index), Done: done})
		if a := <-done; a.Err != nil {
			t.Fatal(a.Err)
		}
	}
}

func TestSharedBodyIsWrittenOnce(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{proveAfter: time.Hour}) // nothing else is written meanwhile
	const size = 50_000
	want := make(map[record.LogID][]*raftpb.Entry)
	fanOut(t, s, want, 1, 10, strings.Repeat("x", size), strings.Repeat("y", size))
	if pos := s.wal.file.pos; pos > 2*size+20*sector {
		t.Errorf("%d bytes for two bodies of %d bytes", pos, size)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time what the first recovery wrote
		s = openStore(t, fs, Options{})
		for id, entries := range want {
			if err := readAll(s.Log(id), entries); err != nil {
				t.Errorf("log %d: %v", id, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSharedBodiesFillTheMemory(t *testing.T) {
	s := openStore(t, vfs.NewMem(), Options{WALFileSize: 1 << 20})
	first := s.wal.file.id
	for i := range record.LogID(3) {
		fanOut(t, s, make(map[record.LogID][]*raftpb.Entry), 1+10*i, 10, strings.Repeat("x", 100_000))
	}
	if s.wal.file.id == first {
		t.Error("3 MB in memory are held by one WAL file of 1 MiB")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDamageOfSharedBody(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{})
	want := make(map[record.LogID][]*raftpb.Entry)
	fanOut(t, s, want, 1, 3, strings.Repeat("x", 5000))
	put(t, s, s.Log(4), entry(2, 1, 0, 1, "alone"))
	name := s.wal.file.file.Name()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := readFile(fs, name)
	if err != nil {
		t.Fatal(err)
	}
	if err := fs.Flip(name, int64(strings.Index(string(b), "xxxx")+100), 1); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, fs, Options{})
	defer s.Close()
	for id := range want {
		if err := s.Log(id).Damaged(); !errors.Is(err, ErrDamaged) {
			t.Errorf("log %d: %v", id, err)
		}
	}
	if err := s.Log(4).Damaged(); err != nil {
		t.Errorf("log 4: %v", err)
	}
}

func TestExpandRefuses(t *testing.T) {
	head := make([]byte, entryHeader)
	head[4] = 4 // bytes of data
	for name, parts := range map[string]string{
		"nothing":           "",
		"cut off":           "\x08ab",
		"too long":          "\x0aabcde",
		"an empty part":     "\x00",
		"beyond the file":   "\x09\x07",
		"a position of 2⁶³": "\x09\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
		"no position":       "\x09",
	} {
		if _, err := expand([]byte("in a file"), append(head[:entryHeader:entryHeader], parts...)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	got, err := expand([]byte("in a file"), append(head[:entryHeader:entryHeader], "\x04ab\x05\x03"...))
	if err != nil || string(got[entryHeader:]) != "aba " {
		t.Errorf("%q, %v", got, err)
	}
}
