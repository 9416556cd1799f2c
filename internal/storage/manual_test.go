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
