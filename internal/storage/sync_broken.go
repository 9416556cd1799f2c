//go:build waybill_broken_ack

package storage

import "waybill/internal/vfs"

// syncBatch breaks the promise on purpose: it lets everyone go on while the
// sync still runs. The power-cut test must find that out.
func syncBatch(f vfs.File) error {
	go f.SyncData()
	return nil
}
