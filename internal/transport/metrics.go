package transport

import (
	"strconv"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	refused         prometheus.Counter
	up              *prometheus.GaugeVec
	messages, bytes *prometheus.CounterVec // by peer and direction
	dropped, calls  *prometheus.CounterVec // by peer

	mu    sync.Mutex // guards peers
	peers map[uint64]*peerMetrics
}

// peerMetrics are the metrics of one peer.
type peerMetrics struct {
	up                        prometheus.Gauge
	sentMessages, sentBytes   prometheus.Counter
	takenMessages, takenBytes prometheus.Counter
	dropped, calls            prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "waybill_transport_refused_total", Help: "Connections of other nodes, or of strangers, that were refused."}),
		up: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "waybill_transport_peer_up", Help: "Whether a node answers this one."}, []string{"peer"}),
		messages: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_transport_messages_total", Help: "Messages between nodes."}, []string{"peer", "direction"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_transport_message_bytes_total", Help: "Bytes of messages between nodes."}, []string{"peer", "direction"}),
		dropped: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_transport_dropped_total", Help: "Messages that were dropped, because the peer is down or slow; raft sends them again."}, []string{"peer"}),
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "waybill_transport_calls_total", Help: "Calls that this node made."}, []string{"peer"}),
		peers: map[uint64]*peerMetrics{},
	}
	if r != nil {
		r.MustRegister(m.refused, m.up, m.messages, m.bytes, m.dropped, m.calls)
	}
	return m
}

func (m *metrics) of(node uint64) *peerMetrics {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.peers[node]; p != nil {
		return p
	}
	name := strconv.FormatUint(node, 10)
	p := &peerMetrics{
		up:            m.up.WithLabelValues(name),
		sentMessages:  m.messages.WithLabelValues(name, "out"),
		sentBytes:     m.bytes.WithLabelValues(name, "out"),
		takenMessages: m.messages.WithLabelValues(name, "in"),
		takenBytes:    m.bytes.WithLabelValues(name, "in"),
		dropped:       m.dropped.WithLabelValues(name),
		calls:         m.calls.WithLabelValues(name),
	}
	m.peers[node] = p
	return p
}

func (p *peerMetrics) setUp(up bool) {
	p.up.Set(0)
	if up {
		p.up.Set(1)
	}
}

func (p *peerMetrics) sent(messages, bytes int) {
	p.sentMessages.Add(float64(messages))
	p.sentBytes.Add(float64(bytes))
}

func (p *peerMetrics) received(bytes int) {
	p.takenMessages.Inc()
	p.takenBytes.Add(float64(bytes))
}
