package broker

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	offline    prometheus.Gauge
	unroutable prometheus.Counter
	queues     *queueMetrics
	partitions *partitionMetrics
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		queues:     newQueueMetrics(r),
		partitions: newPartitionMetrics(r),
		offline: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "waybill_logs_offline", Help: "Queues, partitions and coordinators whose log is damaged and held offline.",
		}),
		unroutable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_messages_unroutable_total", Help: "Published messages that no queue took.",
		}),
	}
	if r != nil {
		r.MustRegister(m.offline, m.unroutable)
	}
	return m
}
