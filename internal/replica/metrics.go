package replica

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	turns     prometheus.Counter
	proposals prometheus.Counter
	bytes     prometheus.Counter
	entrySize prometheus.Histogram
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		turns: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_turns_total", Help: "Turns of the shards' loops.",
		}),
		proposals: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_proposals_total", Help: "Entries proposed to raft groups.",
		}),
		bytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_proposed_bytes_total", Help: "Bytes of the entries proposed.",
		}),
		entrySize: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "waybill_replica_entry_bytes", Help: "Size of a proposed entry.",
			Buckets: prometheus.ExponentialBuckets(64, 4, 10),
		}),
	}
	if r != nil {
		r.MustRegister(m.turns, m.proposals, m.bytes, m.entrySize)
	}
	return m
}

func (m *metrics) proposed(size int) {
	m.proposals.Inc()
	m.bytes.Add(float64(size))
	m.entrySize.Observe(float64(size))
}
