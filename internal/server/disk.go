package server

import (
	"context"
	"fmt"
	"time"

	"waybill/internal/vfs"
)

// diskSpace is what the node made of its disk when it started.
type diskSpace struct {
	free, total uint64 // bytes, at the start
	reserve     uint64 // bytes
	walFile     int64  // bytes
}

func measure(fs vfs.FS, dir string, cfg DiskConfig) (d diskSpace, err error) {
	if d.free, d.total, err = fs.Free(dir); err != nil {
		return d, fmt.Errorf("data directory %s: %w", dir, err)
	}
	d.reserve = cfg.Reserve.Of(d.total)
	if d.walFile = cfg.WALFileSize; d.walFile == 0 {
		d.walFile = walFileSize(d.total)
	}
	return d, nil
}

// lookAtDisk is how often the disk alarm is brought up to date.
const lookAtDisk = 100 * time.Millisecond

// watchDisk blocks publishing while the disk has less free space than the
// reserve, so that acknowledging, committing and deleting still find room.
func (n *Node) watchDisk() {
	ctx, cancel := context.WithCancel(context.Background())
	n.watching = cancel
	reason := fmt.Sprintf("the disk of the broker is nearly full (less than %s free); publishing goes on when messages are consumed or space is freed",
		showBytes(n.disk.reserve))
	n.serving.Go(func() {
		tick := time.NewTicker(lookAtDisk)
		defer tick.Stop()
		for low := false; ; {
			if now := n.store.Low(); now != low {
				low = now
				n.diskAlarm(low, reason)
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	})
}

func (n *Node) diskAlarm(low bool, reason string) {
	if low {
		n.log.Error("disk is low: publishing is blocked", "dir", n.dir, "reserve", showBytes(n.disk.reserve))
		n.broker.SetAlarm(reason)
		return
	}
	n.log.Info("disk has space again: publishing goes on", "dir", n.dir)
	n.broker.SetAlarm("")
}

// showBytes writes a number of bytes for people.
func showBytes(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for ; f >= unit && i < 4; i++ {
		f /= unit
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTP"[i])
}
