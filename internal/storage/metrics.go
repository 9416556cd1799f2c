package storage

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one store. Sizes are bytes, times seconds.
type metrics struct {
	fsync        prometheus.Histogram
	write        prometheus.Histogram
	batchBytes   prometheus.Histogram
	batchEntries prometheus.Histogram
	written      *prometheus.CounterVec
	walBytes     prometheus.Counter
	direct       prometheus.Counter
	segBytes     prometheus.Counter
	ckptBytes    prometheus.Counter
	checkpoints  prometheus.Counter
	memBytes     atomic.Int64
	free         atomic.Uint64
	spare        atomic.Int64
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		fsync: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waybill_wal_fsync_seconds", Help: "Duration of the syncs of the write-ahead log.",
			Buckets: prometheus.ExponentialBuckets(50e-6, 2, 16),
		}),
		write: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waybill_wal_write_seconds", Help: "Duration of the writes of the write-ahead log, before their sync: to the page cache, or past it to the disk.",
			Buckets: prometheus.ExponentialBuckets(10e-6, 2, 18),
		}),
		batchBytes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waybill_wal_batch_bytes", Help: "Bytes written by one batch of the write-ahead log.",
			Buckets: prometheus.ExponentialBuckets(512, 2, 15),
		}),
		batchEntries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waybill_wal_batch_entries", Help: "Raft entries in one batch of the write-ahead log.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 13),
		}),
		written: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_storage_written_bytes_total", Help: "Bytes written, by kind of file.",
		}, []string{"file"}),
		direct: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_wal_direct_bytes_total", Help: "Bytes of the write-ahead log that were written past the page cache.",
		}),
		checkpoints: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_storage_checkpoints_total", Help: "Checkpoints written.",
		}),
	}
	m.walBytes = m.written.WithLabelValues("wal")
	m.segBytes = m.written.WithLabelValues("segment")
	m.ckptBytes = m.written.WithLabelValues("checkpoint")
	if r == nil {
		return m, nil
	}
	all := []prometheus.Collector{
		m.fsync, m.write, m.batchBytes, m.batchEntries, m.written, m.direct, m.checkpoints,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "waybill_storage_memtable_bytes", Help: "Data of the entries that are held in memory.",
		}, func() float64 { return float64(m.memBytes.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "waybill_storage_free_bytes", Help: "Free space on the disk.",
		}, func() float64 { return float64(m.free.Load()) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "waybill_storage_spare_bytes", Help: "Size of the files of the write-ahead log that hold nothing and are kept to be used again.",
		}, func() float64 { return float64(m.spare.Load()) }),
	}
	for _, c := range all {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
