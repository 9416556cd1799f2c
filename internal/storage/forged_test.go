package storage

import (
	"hash/crc32"
	"testing"

	"waybill/internal/record"
	"waybill/internal/vfs"
)

// forged is what a client might publish who knows the format of WAL files: an
// entry whose data has, wherever a batch could begin, the header of an empty
// batch of a WAL file to come, as far as it can know it, which claims that many batches before it were synced.
func forged() []byte {
	const first = batchHeader + recordHeader + entryHeader + record.HeaderLen // where the payload is in its batch
	payload := make([]byte, 16<<10)
	id := uint64(1)
	for at := sector - first; at+batchHeader <= len(payload); at += sector {
		h := payload[at:]
		le.PutUint32(h, batchMagic)
		le.PutUint64(h[8:], id)
		le.PutUint64(h[16:], 1<<40)
		le.PutUint64(h[24:], 1<<40-1)
		le.PutUint32(h[4:], crc32.Update(seed64(id), crc32.IEEETable, h[8:batchHeader]))
		id++
	}
	return payload
}

// What clients publish lies in WAL files, and stays there when they are used
// again. Recovery looks through it for batches.
func TestPublishedBytesAreNoBatches(t *testing.T) {
	fs := vfs.NewMem()
	opts := Options{WALFileSize: 128 << 10, Checkpoint: func(record.LogID) (Checkpoint, bool) { return Checkpoint{}, false }}
	s := openStore(t, fs, opts)
	s.Start()
	l := s.Log(1)
	payload := string(forged())
	for n := uint64(2); s.active.Load() < 8; n++ {
		put(t, s, l, entry(n, 1, record.Offset(n-2), 1, payload))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	last := l.LastIndex()
	l = openStore(t, fs, opts).Log(1)
	if err := l.Damaged(); err != nil {
		t.Fatal(err)
	}
	if l.LastIndex() != last {
		t.Fatalf("the log ends at %d, want %d", l.LastIndex(), last)
	}
}
