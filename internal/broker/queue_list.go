package broker

import (
	"context"
	"maps"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/record"
)

// QueueInfo describes a queue to those who look from outside.
type QueueInfo struct {
	VHost, Name string
	Type        string // x-queue-type; "classic" unless declared otherwise
	Durable     bool
	Exclusive   bool
	AutoDelete  bool
	Args        record.Table
	Offline     error  // why its log cannot be served; nil when it is
	Leader      uint64 // the node that leads it, as far as known here; 0 when it is not
	QueueDepth         // as that node has told last; all is 0 where it never did

	log record.LogID
}

// QueueDepth is the state of a queue at some moment.
type QueueDepth struct {
	Ready     int64 // messages ready for delivery
	Unacked   int64 // messages delivered and not settled, or being dead-lettered
	Bytes     int64 // of the bodies of all messages
	Consumers int64
}

// Depth returns the state after the last turn of the queue's shard. It does
// not wait.
func (q *Queue) Depth() QueueDepth {
	d := &q.depth
	return QueueDepth{Ready: d.ready.Load(), Unacked: d.unacked.Load(), Bytes: d.bytes.Load(), Consumers: d.consumers.Load()}
}

// Queues lists all queues, in the order of virtual hosts and names. About those
// that other nodes lead these are asked, for a moment, and no more than once a second.
func (b *Broker) Queues(ctx context.Context) []QueueInfo {
	list := b.queuesHere()
	b.depths.fill(ctx, b, list)
	return list
}

// queuesHere is Queues without the depths of queues that other nodes lead.
func (b *Broker) queuesHere() []QueueInfo {
	var list []QueueInfo
	for _, v := range b.vhosts.values() {
		for _, q := range v.queues.values() {
			list = append(list, q.info())
		}
	}
	return list
}

// leaderNode is QueueInfo.Leader.
func (q *Queue) leaderNode() uint64 {
	node, ok := q.vhost.b.leaderNode(q)
	if !ok {
		return 0
	}
	return node
}

func (q *Queue) info() QueueInfo {
	i := QueueInfo{
		VHost: q.vhost.name, Name: q.spec.Name, Type: "classic",
		Durable: q.spec.Durable, Exclusive: q.spec.Exclusive, AutoDelete: q.spec.AutoDelete,
		Args: maps.Clone(q.args), Offline: q.offline, QueueDepth: q.Depth(), log: q.spec.Log,
	}
	if i.Leader = q.leaderNode(); i.Leader != q.vhost.b.NodeID() {
		i.QueueDepth = QueueDepth{}
	}
	if kind, ok := q.args["x-queue-type"].(string); ok {
		i.Type = kind
	}
	return i
}

// queueCollector measures the queues when it is scraped.
type queueCollector struct {
	b *Broker

	ready, unacked, bytes, consumers *prometheus.Desc
}

func newQueueCollector(b *Broker) *queueCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("waybill_queue_"+name, help, []string{"vhost", "queue"}, nil)
	}
	return &queueCollector{
		b:         b,
		ready:     desc("messages_ready", "Messages ready for delivery."),
		unacked:   desc("messages_unacked", "Messages delivered and not settled, or being dead-lettered."),
		bytes:     desc("message_bytes", "Size of the bodies of all messages of the queue."),
		consumers: desc("consumers", "Consumers of the queue."),
	}
}

// Describe implements prometheus.Collector.
func (c *queueCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.ready, c.unacked, c.bytes, c.consumers} {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (c *queueCollector) Collect(to chan<- prometheus.Metric) {
	for _, q := range c.b.queuesHere() {
		if !utf8.ValidString(q.Name) || q.Leader != c.b.NodeID() {
			continue // AMQP allows such names, a label does not; and each queue is measured by one node
		}
		gauge := func(d *prometheus.Desc, value int64) {
			to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(value), q.VHost, q.Name)
		}
		gauge(c.ready, q.Ready)
		gauge(c.unacked, q.Unacked)
		gauge(c.bytes, q.Bytes)
		gauge(c.consumers, q.Consumers)
	}
}
