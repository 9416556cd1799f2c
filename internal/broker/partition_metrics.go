package broker

import "github.com/prometheus/client_golang/prometheus"

// partitionMetrics count over all partitions that are led here.
type partitionMetrics struct {
	records prometheus.Counter
	dropped prometheus.Counter
}

func newPartitionMetrics(r prometheus.Registerer) *partitionMetrics {
	m := &partitionMetrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_topic_records_total", Help: "Records committed to topic partitions."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_topic_records_dropped_total", Help: "Records dropped by retention or DeleteRecords."}),
	}
	if r != nil {
		r.MustRegister(m.records, m.dropped)
	}
	return m
}
