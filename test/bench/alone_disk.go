package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"waybill/internal/vfs"
)

// diskShare holds what Kafka clients get acknowledged against what the disk can do: the
// same number of bytes at a time, written and synced by a loop that does nothing else.
func diskShare(ctx context.Context, r *runner, n *node) (map[string]float64, error) {
	load := []string{"--partitions", "16", "--in-flight", "10000", "--phase", "build", "--keep=false", "--duration", r.duration.String()}
	if _, err := r.bench(ctx, "kafka", n.broker, append(load, "--name", "warm")); err != nil {
		return nil, err
	}
	bytes, batches, err := n.commits(ctx)
	if err != nil {
		return nil, err
	}
	result, err := r.bench(ctx, "kafka", n.broker, append(load, "--name", "share"))
	if err != nil {
		return nil, err
	}
	bytesAfter, batchesAfter, err := n.commits(ctx)
	if err != nil {
		return nil, err
	}
	size := (bytesAfter - bytes) / max(batchesAfter-batches, 1)
	raw, err := rawCommits(r.dir, int(size))
	if err != nil {
		return nil, err
	}
	// The loop writes where it wrote before, and a backlog takes new space.
	cached, err := newCommits(r.dir, int(size), false)
	if err != nil {
		return nil, err
	}
	direct, err := newCommits(r.dir, int(size), true)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		direct, err = 0, nil // this file system has no such thing
	}
	if err != nil {
		return nil, err
	}
	acked := result.ConfirmedPS * float64(result.Size)
	return map[string]float64{
		shareOfDisk: 100 * acked / raw, commitRate: acked / (1 << 20), rawRate: raw / (1 << 20),
		newRate: cached / (1 << 20), newDirectRate: direct / (1 << 20), commitSize: size / 1024,
	}, nil
}

// commits returns the bytes and the number of all group commits.
func (n *node) commits(ctx context.Context) (bytes, batches float64, err error) {
	if bytes, err = n.metric(ctx, "waybill_wal_batch_bytes_sum"); err != nil {
		return 0, 0, err
	}
	batches, err = n.metric(ctx, "waybill_wal_batch_bytes_count")
	return bytes, batches, err
}

// rawCommits is how many bytes a second the disk takes, when so many are written
// and synced at a time.
func rawCommits(dir string, size int) (float64, error) {
	f, err := probeInto(dir)
	if err != nil {
		return 0, err
	}
	defer f.remove()
	took, err := syncs(f.File, size)
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, d := range took {
		sum += d
	}
	return float64(len(took)*size) / sum.Seconds(), nil
}

// newCommits is rawCommits into files that are made, and given their space, as those of the WAL are.
func newCommits(dir string, size int, direct bool) (rate float64, err error) {
	const files, fileSize = 16, 128 << 20
	var fs vfs.OS
	buf := vfs.Aligned(size)[:size&^4095] // whole sectors, on any disk
	for i := range buf {
		buf[i] = byte(i)
	}
	written, began := 0, time.Now()
	for i := range files {
		n, err := newFile(fs, filepath.Join(dir, fmt.Sprintf("probe-%d", i)), fileSize, buf, direct)
		if err != nil {
			return 0, err
		}
		written += n
	}
	rate = float64(written) / time.Since(began).Seconds()
	for i := range files {
		if err := fs.Remove(filepath.Join(dir, fmt.Sprintf("probe-%d", i))); err != nil {
			return 0, err
		}
	}
	return rate, nil
}

// newFile fills a new file with buf, each time with a sync.
func newFile(fs vfs.FS, name string, size int64, buf []byte, direct bool) (written int, err error) {
	f, err := fs.Create(name)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Allocate(0, size); err != nil {
		return 0, err
	}
	if err := f.SetDirect(direct); err != nil {
		return 0, err
	}
	for ; int64(written+len(buf)) <= size; written += len(buf) {
		if _, err := f.WriteAt(buf, int64(written)); err != nil {
			return 0, err
		}
		if err := f.SyncData(); err != nil {
			return 0, err
		}
	}
	return written, nil
}
