package replica

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	turns     prometheus.Counter
	proposals prometheus.Counter
	bytes     prometheus.Counter
	entrySize prometheus.Histogram

	sent       prometheus.Counter
	lostFrames prometheus.Counter
	refused    prometheus.Counter
	campaigns  prometheus.Counter
	snapshots  prometheus.Counter
	awake      prometheus.Gauge
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
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_messages_sent_total", Help: "Messages to replicas on other nodes.",
		}),
		lostFrames: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_frames_dropped_total", Help: "Frames of messages that could not be sent.",
		}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_messages_refused_total", Help: "Messages of other replicas that were invalid, or for a raft group that is not here.",
		}),
		campaigns: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_elections_total", Help: "Times that a replica of this node stood for election because the leader's node went down.",
		}),
		snapshots: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_replica_snapshots_installed_total", Help: "Snapshots of raft groups that this node fetched and installed.",
		}),
		awake: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "waybill_replica_groups_awake", Help: "Raft groups that tick.",
		}),
	}
	if r != nil {
		r.MustRegister(m.turns, m.proposals, m.bytes, m.entrySize, m.sent, m.lostFrames, m.refused, m.campaigns, m.snapshots, m.awake)
	}
	return m
}

func (m *metrics) proposed(size int) {
	m.proposals.Inc()
	m.bytes.Add(float64(size))
	m.entrySize.Observe(float64(size))
}
