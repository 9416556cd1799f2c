package storage

import (
	"fmt"
	"strings"
	"testing"
	"testing/cryptotest"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestManual: a store without goroutines does all that one with them does, and
// the same twice.
func TestManual(t *testing.T) {
	run := func() (files map[string]string) {
		cryptotest.SetGlobalRandom(t, 7)
		fs := vfs.NewMem()
		var o owners
		opts := Options{WALFileSize: 32 << 10, SegmentSize: 64 << 10, Manual: true, Checkpoint: o.checkpoint}
		s := openStore(t, fs, opts)
		s.Start()
		last := make(map[record.LogID]uint64)
		for i := range 300 {
			id := record.LogID(1 + i%5)
			last[id]++
			w := make(waiter, 1)
			e := entry(last[id]+1, 1, record.Offset(last[id]-1), 1, strings.Repeat("m", 700))
			s.Append(&Append{Log: s.Log(id), Entries: []*raftpb.Entry{e}, HardState: hard(1, 1, last[id]), Done: w})
			if i%3 == 0 {
				for s.Step() {
				}
				if a := <-w; a.Err != nil {
					t.Fatal(a.Err)
				}
				o.set(id, Checkpoint{Applied: record.Index(last[id] - last[id]/4), Term: 1, Live: anyAlive})
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, fs, opts)
		for id, n := range last {
			if got := s.Log(id).LastIndex(); uint64(got) != n+1 {
				t.Fatalf("log %d ends at %d, not %d", id, got, n+1)
			}
		}
		s.Close()
		files = make(map[string]string)
		for name := range dataFiles(t, fs) {
			b, err := readFile(fs, name)
			if err != nil {
				t.Fatal(err)
			}
			files[name] = string(b)
		}
		return files
	}
	a, b := run(), run()
	if fmt.Sprint(a) != fmt.Sprint(b) {
		t.Fatal("two runs differ")
	}
	if len(a) < 4 {
		t.Fatal(len(a))
	}
}

// TestManualLargeBatchOnAFullDisk: a batch that is larger than a WAL file waits for its
// space until a later Step, and does not keep the caller of this one. (sim, seed 481587626539)
func TestManualLargeBatchOnAFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	s := openStore(t, fs, Options{WALFileSize: 32 << 10, Manual: true})
	s.Start()
	put := func(index uint64, size int) waiter {
		w := make(waiter, 1)
		e := entry(index, 1, record.Offset(index-2), 1, strings.Repeat("l", size))
		s.Append(&Append{Log: s.Log(1), Entries: []*raftpb.Entry{e}, Done: w})
		for s.Step() {
		}
		return w
	}
	if w := put(2, 100); len(w) != 1 {
		t.Fatal("an entry is not written")
	}
	fs.SetCapacity(1)
	w := put(3, 100<<10)
	if len(w) != 0 {
		t.Fatal("a batch without space is done")
	}
	fs.SetCapacity(1 << 40)
	for s.Step() {
	}
	if len(w) != 1 || (<-w).Err != nil {
		t.Fatal("a batch that has space again is not done")
	}
	if got := s.Log(1).LastIndex(); got != 3 {
		t.Fatalf("the log ends at %d", got)
	}
}
