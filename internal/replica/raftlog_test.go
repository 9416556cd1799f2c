package replica

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"
	"pgregory.net/rapid"

	"waybill/internal/record"
)

// TestFresh compares what raft gets of the entries that were just written with a plain map.
func TestFresh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &raftLog{}
		model := map[uint64]string{}
		last, applied := uint64(1), uint64(1)
		var held []*raftpb.Entry // what raft got last, and what that was
		was := fmt.Sprint(held)
		for n := range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 2).Draw(t, "step") {
			case 0:
				first := rapid.Uint64Range(applied+1, last+1).Draw(t, "first")
				var entries []*raftpb.Entry
				for i := range rapid.Uint64Range(1, freshLimit/4).Draw(t, "count") {
					data := fmt.Sprint(n)
					model[first+i] = data
					entries = append(entries, &raftpb.Entry{Index: new(first + i), Data: []byte(data)})
				}
				last = first + uint64(len(entries)) - 1
				l.wrote(entries)
			case 1:
				applied = rapid.Uint64Range(applied, last).Draw(t, "applied")
				l.applied(record.Index(applied))
			default:
				hi := rapid.Uint64Range(applied+1, last+1).Draw(t, "hi")
				held = cut(l.fresh, applied+1, hi, 1<<20)
				was = fmt.Sprint(held)
				for i, e := range held {
					if e.GetIndex() != applied+1+uint64(i) || e.GetIndex() >= hi || string(e.Data) != model[e.GetIndex()] {
						t.Fatalf("got %v at index %d, it should be %q", e, applied+1+uint64(i), model[e.GetIndex()])
					}
				}
			}
			if fmt.Sprint(held) != was {
				t.Fatal("what raft holds has changed")
			}
			if len(l.fresh) > freshLimit {
				t.Fatalf("%d entries are kept", len(l.fresh))
			}
		}
	})
}
