//go:build !waybill_broken_ack

package storage

import "waybill/internal/vfs"

// syncBatch makes a written batch durable. What it returns is the broker's promise.
func syncBatch(f vfs.File) error { return f.SyncData() }
