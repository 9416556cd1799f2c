package broker

import (
	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/queue"
)

// queueMetrics count over all queues; the state of a single one is its Depth.
type queueMetrics struct {
	published   prometheus.Counter
	delivered   prometheus.Counter
	redelivered prometheus.Counter
	requeued    prometheus.Counter
	unknown     prometheus.Counter
	refused     prometheus.Counter
	stuck       prometheus.Counter
	settled     map[queue.Reason]prometheus.Counter
	dropped     struct{ deleted, noTarget, cycle prometheus.Counter }
	buried      prometheus.Counter
	retried     prometheus.Counter
}

func newQueueMetrics(r prometheus.Registerer) *queueMetrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "waybill_queue_" + name + "_total", Help: help})
		if r != nil {
			r.MustRegister(c)
		}
		return c
	}
	byReason := func(name, help string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "waybill_queue_" + name + "_total", Help: help}, []string{"reason"})
		if r != nil {
			r.MustRegister(v)
		}
		return v
	}
	m := &queueMetrics{
		published:   counter("published", "Messages that queues took in, once per queue."),
		delivered:   counter("delivered", "Messages delivered to consumers and to basic.get."),
		redelivered: counter("redelivered", "Of the delivered messages, those with the redelivered flag."),
		requeued:    counter("requeued", "Messages that went back to their queue."),
		unknown:     counter("settles_unknown", "Settles of messages that the subscription did not hold; they are ignored."),
		refused:     counter("refused", "Publishes refused because the queue was full (reject-publish)."),
		stuck:       counter("stuck", "Queues that stopped delivering because a message cannot be read."),
		buried:      counter("dead_lettered", "Messages published to a dead-letter exchange."),
		retried:     counter("dead_letter_retries", "Failed attempts to dead-letter a message; they are repeated."),
		settled:     map[queue.Reason]prometheus.Counter{},
	}
	settled := byReason("settled", "Messages that left their queue, by reason.")
	for _, reason := range queue.Reasons() {
		m.settled[reason] = settled.WithLabelValues(reason.String())
	}
	dropped := byReason("dropped", "Messages that were not kept, beyond those settled: routed to a queue while it was deleted, or dead-lettered to nowhere or in a circle.")
	m.dropped.deleted = dropped.WithLabelValues("queue_deleted")
	m.dropped.noTarget = dropped.WithLabelValues("dead_letter_unroutable")
	m.dropped.cycle = dropped.WithLabelValues("dead_letter_cycle")
	return m
}

// sums is what the metrics were told already.
type sums struct {
	queue.Counters
	settled map[queue.Reason]uint64
}

// show publishes the state of the queue to those who look from outside.
func (q *Queue) show() {
	d := &q.depth
	d.bytes.Store(q.machine.Bytes())
	if q.leader == nil {
		d.ready.Store(0)
		d.unacked.Store(0)
		d.consumers.Store(0)
		return
	}
	d.ready.Store(q.leader.Ready())
	d.unacked.Store(q.leader.Unacked() + q.leader.Dying())
	d.consumers.Store(int64(q.leader.Consumers()))
	q.count()
}

// count adds to the metrics what happened since the last time.
func (q *Queue) count() {
	m, was, now := q.vhost.b.metrics.queues, &q.sums.Counters, q.leader.Counters()
	if now != *was {
		m.delivered.Add(float64(now.Delivered - was.Delivered))
		m.redelivered.Add(float64(now.Redelivered - was.Redelivered))
		m.requeued.Add(float64(now.Requeued - was.Requeued))
		m.unknown.Add(float64(now.Unknown - was.Unknown))
		*was = now
	}
	if q.sums.settled == nil { // what earlier terms settled was counted by them
		q.sums.settled = map[queue.Reason]uint64{}
		for _, reason := range queue.Reasons() {
			q.sums.settled[reason] = q.machine.Settled(reason)
		}
	}
	for _, reason := range queue.Reasons() {
		if n := q.machine.Settled(reason); n != q.sums.settled[reason] {
			m.settled[reason].Add(float64(n - q.sums.settled[reason]))
			q.sums.settled[reason] = n
		}
	}
}
