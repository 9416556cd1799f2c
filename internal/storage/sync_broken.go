//go:build waybill_broken_ack

package storage

import (
	"os"
	"time"
)

// syncInterval is how much the broken build may lose: what the environment variable
// WAYBILL_BROKEN_SYNC says. Of three nodes one has often synced just before the power
// fails, so that more is needed there.
var syncInterval = func() time.Duration {
	if d, err := time.ParseDuration(os.Getenv("WAYBILL_BROKEN_SYNC")); err == nil {
		return d
	}
	return 5 * time.Millisecond
}()

var lastSync time.Time // of the WAL goroutine

// syncBatch breaks the promise on purpose: everyone goes on without a sync
// unless the last one is a while ago, as in brokers that sync by a timer. The
// power-cut test must find that out.
func syncBatch(f *walFile) error {
	if time.Since(lastSync) < syncInterval {
		return nil
	}
	lastSync = time.Now()
	return f.file.SyncData()
}
