package broker

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	offline    prometheus.Gauge
	rebuilds   prometheus.Counter
	rebuilt    prometheus.Counter
	unroutable prometheus.Counter
	queues     *queueMetrics
	partitions *partitionMetrics
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		queues:     newQueueMetrics(r),
		partitions: newPartitionMetrics(r),
		offline: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "waybill_logs_offline", Help: "Queues, partitions and coordinators whose log is damaged on this node.",
		}),
		rebuilds: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_log_rebuilds_total", Help: "Damaged copies of logs that this node began to rebuild from the other replicas.",
		}),
		rebuilt: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_log_rebuilds_done_total", Help: "Copies that were rebuilt and vote again.",
		}),
		unroutable: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_messages_unroutable_total", Help: "Published messages that no queue took.",
		}),
	}
	if r != nil {
		r.MustRegister(m.offline, m.rebuilds, m.rebuilt, m.unroutable)
	}
	return m
}
