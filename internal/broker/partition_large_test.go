package broker

import (
	"sync/atomic"
	"testing"

	"waybill/internal/record/recordtest"
	"waybill/internal/vfs"
)

// A batch may be far larger than an entry usually is, and than a WAL file.
func TestLargestBatch(t *testing.T) {
	fs, now := vfs.NewMem(), new(atomic.Int64)
	n := startPartitionNode(t, fs, now)
	p := n.topic(map[string]string{"max.message.bytes": "67108864"})
	b := recordtest.New(string(make([]byte, 64<<20-200)))
	for range 2 {
		mustAppend(t, p, b)
	}
	n.stop()
	n = startPartitionNode(t, fs, now)
	defer n.stop()
	if got := readAll(t, n.topic(nil), 0, 1<<20); len(got) != 2 {
		t.Errorf("%d batches", len(got))
	}
}
