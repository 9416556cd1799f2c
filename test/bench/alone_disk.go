package main

import (
	"context"
	"time"
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
	acked := result.ConfirmedPS * float64(result.Size)
	return map[string]float64{
		shareOfDisk: 100 * acked / raw, commitRate: acked / (1 << 20), rawRate: raw / (1 << 20), commitSize: size / 1024,
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
