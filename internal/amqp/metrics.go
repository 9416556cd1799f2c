package amqp

import (
	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/broker"
)

// metrics count what goes through all connections.
type metrics struct {
	connections prometheus.Gauge
	channels    prometheus.Gauge
	refused     prometheus.Counter // logins
	messagesIn  prometheus.Counter
	bytesIn     prometheus.Counter
	confirms    prometheus.Counter // frames; one may confirm many messages
	nacks       prometheus.Counter
	returned    prometheus.Counter
	messagesOut prometheus.Counter
	bytesOut    prometheus.Counter
	redelivered prometheus.Counter
	getEmpty    prometheus.Counter
	acks        prometheus.Counter
	answersLost prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{}
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "waybill_amqp_" + name, Help: help})
		if r != nil {
			r.MustRegister(c)
		}
		return c
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "waybill_amqp_" + name, Help: help})
		if r != nil {
			r.MustRegister(g)
		}
		return g
	}
	m.connections = gauge("connections", "AMQP connections, from their first byte on.")
	m.channels = gauge("channels", "Open AMQP channels.")
	m.refused = counter("logins_refused_total", "AMQP logins that were refused.")
	m.messagesIn = counter("messages_published_total", "Messages that AMQP clients published.")
	m.bytesIn = counter("bytes_published_total", "Bytes of those messages, with their properties.")
	m.confirms = counter("confirm_frames_total", "basic.ack frames sent to publishers; one may confirm many messages.")
	m.nacks = counter("nack_frames_total", "basic.nack frames sent to publishers.")
	m.returned = counter("messages_returned_total", "Mandatory messages that no queue wanted.")
	m.messagesOut = counter("messages_delivered_total", "Messages delivered to AMQP clients, by consume and get.")
	m.bytesOut = counter("bytes_delivered_total", "Bytes of those messages, with their properties.")
	m.redelivered = counter("messages_redelivered_total", "Deliveries with the redelivered flag.")
	m.getEmpty = counter("get_empty_total", "basic.get calls that found no message.")
	m.acks = counter("messages_settled_total", "Deliveries that clients acked, nacked or rejected.")
	m.answersLost = counter("answers_lost_total", "Answers by direct reply-to whose asker was gone or did not read.")
	return m
}

func (m *metrics) published(bytes int) {
	m.messagesIn.Inc()
	m.bytesIn.Add(float64(bytes))
}

func (m *metrics) delivered(d *broker.Delivery) {
	m.messagesOut.Inc()
	m.bytesOut.Add(float64(len(d.Message.Body) + len(d.Message.Properties)))
	if d.Redelivered {
		m.redelivered.Inc()
	}
}

func (m *metrics) confirmed(nack bool) {
	if nack {
		m.nacks.Inc()
		return
	}
	m.confirms.Inc()
}

func (m *metrics) settled(n int) { m.acks.Add(float64(n)) }
