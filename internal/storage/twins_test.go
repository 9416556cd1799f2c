package storage

import (
	"syscall"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// TestWALFileOfTwoNames: a file of the WAL gets a new name, and the sync of the directory fails. The store goes on
// after a restart, and after a power cut the file has its old name, too. It must not be used for two things
// then. (sim, seed 411862639453)
func TestWALFileOfTwoNames(t *testing.T) {
	for round := range 12 {
		fs := vfs.NewMem()
		want := make(map[record.LogID][]*raftpb.Entry)
		var o owners
		opts := Options{WALFileSize: 32 << 10, Manual: true, Reserve: 1, Checkpoint: o.checkpoint, Logger: quiet()}
		var failed error
		opts.Fatal = func(err error) { failed = err }
		s := openStore(t, fs, opts)
		s.Start()
		// run appends, and has all that is not of the last rounds consumed.
		run := func(steps int) {
			q := &queued{store: s, want: want}
			for range steps {
				for id := record.LogID(1); id <= 3; id++ {
					before := q.done
					q.add(id, 1500)
					for s.Step() {
					}
					if q.done == before {
						want[id] = want[id][:len(want[id])-1]
						return
					}
					if last := record.Index(len(want[id]) + 1); last > 12 {
						dead := record.Offset(last - 12)
						o.set(id, Checkpoint{
							Applied: last, Term: 1, ConfState: &raftpb.ConfState{Voters: []uint64{1}},
							Live: func(_, to record.Offset) bool { return to > dead },
						})
					}
				}
			}
		}
		check := func() {
			t.Helper()
			for id, all := range want {
				for off := record.Offset(max(0, len(all)-8)); off < record.Offset(len(all)); off++ {
					got, err := s.Log(id).ReadFrom(off, off+1, 1<<20, true)
					if err == nil {
						err = equalEntries(got, all[off:off+1])
					}
					if err != nil {
						t.Fatalf("round %d, log %d, offset %d: %v", round, id, off, err)
					}
				}
			}
		}
		run(40 + round)
		fs.Inject(vfs.Fault{Op: vfs.OpSyncDir, Name: walName, Times: 1, Err: syscall.EIO})
		run(40)
		if failed == nil {
			t.Fatal("the sync did not fail")
		}
		failed = nil
		fs = fs.Clone()
		s = openStore(t, fs, opts)
		s.Start()
		run(1 + 3*round)
		check()
		fs = fs.StrictClone()
		s = openStore(t, fs, opts)
		s.Start()
		for range 30 {
			run(1)
			check()
		}
		if failed != nil {
			t.Fatal(failed)
		}
	}
}
