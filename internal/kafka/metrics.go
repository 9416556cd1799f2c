package kafka

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// metrics are the server's own; what concerns a partition is the broker's.
type metrics struct {
	connections     prometheus.Gauge
	malformed       prometheus.Counter
	bytesIn         prometheus.Counter
	bytesOut        prometheus.Counter
	recordsProduced prometheus.Counter
	recordsFetched  prometheus.Counter
	unacknowledged  prometheus.Counter // records produced with acks=0
	latency         [maxKey + 1]prometheus.Observer
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "waybill_kafka_" + name, Help: help})
		if reg != nil {
			reg.MustRegister(c)
		}
		return c
	}
	m := &metrics{
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "waybill_kafka_connections", Help: "Open Kafka connections."}),
		malformed:       counter("malformed_requests_total", "Requests that closed their connection because they could not be served."),
		bytesIn:         counter("received_bytes_total", "Bytes received from Kafka clients."),
		bytesOut:        counter("sent_bytes_total", "Bytes sent to Kafka clients."),
		recordsProduced: counter("produced_records_total", "Records acknowledged to Kafka producers."),
		recordsFetched:  counter("fetched_records_total", "Records sent to Kafka consumers."),
		unacknowledged:  counter("unacknowledged_records_total", "Records accepted with acks=0: their loss would go unnoticed."),
	}
	latency := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "waybill_kafka_request_seconds",
		Help:    "Time from a request's arrival to its response, waiting included, by API.",
		Buckets: prometheus.ExponentialBuckets(0.000_1, 2, 18),
	}, []string{"api"})
	if reg != nil {
		reg.MustRegister(m.connections, latency)
	}
	for _, a := range apis() {
		m.latency[a.key] = latency.WithLabelValues(kmsg.NameForKey(a.key))
	}
	return m
}

func (m *metrics) observe(r *request) {
	m.latency[r.key].Observe(time.Since(r.arrived).Seconds())
}

// produced counts the records of a finished Produce request.
func (m *metrics) produced(p *produce) {
	n := 0
	for i := range p.parts {
		if p.parts[i].code == codeNone {
			n += int(p.parts[i].count)
		}
	}
	if p.acks == 0 {
		m.unacknowledged.Add(float64(n))
	} else {
		m.recordsProduced.Add(float64(n))
	}
}

// fetched counts the records of a Fetch response.
func (m *metrics) fetched(f *fetchResponse) {
	if f.size > 0 {
		m.recordsFetched.Add(float64(f.records()))
	}
}
