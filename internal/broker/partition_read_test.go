package broker

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/record/recordtest"
	"waybill/internal/vfs"
)

// TestFewBatchesAreCopied: a response of a few bytes does not hold on to what was read
// with them; one that uses most of it copies nothing.
func TestFewBatchesAreCopied(t *testing.T) {
	n := startPartitionNode(t, vfs.NewMem(), new(atomic.Int64))
	defer n.stop()
	p := n.topic(nil)
	batch := recordtest.New(string(make([]byte, 50_000)))
	for range 100 {
		mustAppend(t, p, batch)
	}
	inSegment := func() bool {
		r, err := p.Read(0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Release()
		return r.loan != nil && r.loan.Held() > 0
	}
	for deadline := time.Now().Add(time.Minute); !inSegment(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nothing comes to a segment")
		}
	}
	// A piece of about a megabyte is in memory now.
	for _, c := range []struct {
		maxBytes, batches int
		copied            bool
	}{
		{1, 1, true}, {60_000, 1, true}, {600_000, 11, false}, {900_000, 17, false},
	} {
		r, err := p.Read(0, c.maxBytes)
		if err != nil || r.Size != c.batches*len(batch) || r.loan == nil != c.copied || !c.copied && r.loan.Held() == 0 {
			t.Errorf("at most %d bytes: %d bytes, copied %v, %v", c.maxBytes, r.Size, r.loan == nil, err)
			continue
		}
		rest, next := bytes.Join(r.Batches, nil), record.Offset(0)
		for ; len(rest) > 0; next++ {
			var b record.Batch
			if b, rest, err = record.NextBatch(rest); err != nil || b.BaseOffset() != next {
				t.Fatal(next, err)
			}
			if _, err := record.ParseBatch(b); err != nil {
				t.Error(err)
			}
		}
		r.Release()
		if r.Release(); int(next) != c.batches || r.Batches != nil || r.Size != 0 {
			t.Errorf("%d batches came, %d bytes are left after the release", next, r.Size)
		}
	}
}
