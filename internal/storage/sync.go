//go:build !waybill_broken_ack && !waybill_broken_direct

package storage

// syncBatch makes a written batch durable. What it returns is the broker's promise.
func syncBatch(f *walFile) error { return f.file.SyncData() }
