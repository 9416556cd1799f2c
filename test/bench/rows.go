package main

import (
	"strconv"

	"waybill/internal/bench"
)

// row is one kind of work, done to several contenders.
type row struct {
	Name       string
	Title      string
	protocol   string
	prepare    []string // arguments of a run before the one that counts
	args       []string
	contenders []contender
	metrics    []metric
	goals      []goal

	// Of a row that Waybill does alone.
	alone   alone
	three   bool // on a cluster of three nodes
	demands []demand
	most    int // rounds that are worth their time
}

// contender is a broker in one of its kinds.
type contender struct {
	Name   string
	broker string
	args   []string
}

// metric is a figure of a run.
type metric struct {
	Name string
	more bool // more is better
	of   func(*bench.Result) float64
}

// goal is what must be true of the medians: Waybill's divided by the peer's, or
// Waybill's alone when there is no peer, is at least, or at most, a number.
type goal struct {
	metric metric
	peer   string
	limit  float64
}

var (
	confirmRate = metric{"messages/s", true, func(r *bench.Result) float64 { return r.ConfirmedPS }}
	consumeRate = metric{"consumed/s", true, func(r *bench.Result) float64 { return r.ConsumedPS }}
	confirmP50  = metric{"confirm p50, ms", false, func(r *bench.Result) float64 { return quantile(r.Confirm, 50) }}
	confirmP99  = metric{"confirm p99, ms", false, func(r *bench.Result) float64 { return quantile(r.Confirm, 99) }}
	arriveP99   = metric{"end to end p99, ms", false, func(r *bench.Result) float64 { return quantile(r.EndToEnd, 99) }}
	cpu         = metric{"CPU µs each", false, func(r *bench.Result) float64 {
		if r.Broker == nil {
			return 0
		}
		return r.Broker.CPU
	}}
	written = metric{"bytes written per byte", false, func(r *bench.Result) float64 {
		if r.Disk == nil {
			return 0
		}
		return r.Disk.PerByte
	}}
)

func quantile(l *bench.Latency, q int) float64 {
	switch {
	case l == nil:
		return 0
	case q == 50:
		return l.P50
	default:
		return l.P99
	}
}

var (
	ours        = contender{Name: "Waybill", broker: waybill}
	quorum      = contender{"RabbitMQ quorum queue", rabbit, []string{"--queue-type", "quorum"}}
	classic     = contender{"RabbitMQ classic queue", rabbit, []string{"--queue-type", "classic"}}
	kafkaPlain  = contender{Name: "Kafka, defaults (no fsync)", broker: kafka}
	kafkaSynced = contender{Name: "Kafka, log.flush.interval.messages=1", broker: kafkaFlush}

	queues = []contender{ours, quorum, classic}
	logs   = []contender{ours, kafkaPlain, kafkaSynced}

	usual = []metric{confirmRate, confirmP50, confirmP99, arriveP99, cpu, written}
)

// beside is a row that peers do, too.
func beside(name, title, protocol string, prepare, args []string, c []contender, m []metric, g []goal) row {
	return row{Name: name, Title: title, protocol: protocol, prepare: prepare, args: args, contenders: c, metrics: m, goals: g}
}

// singleRows are the rows with one node each.
func singleRows(s settings) []row {
	const many = "10000"
	some := strconv.Itoa(s.backlog)
	fewer := strconv.Itoa(s.backlog / 10) // RabbitMQ takes 10,000 to 19,000 messages a second
	return append([]row{
		beside("amqp-1q", "AMQP, 1 durable queue, 1 KiB, 1,000 in flight, consumer acking", "amqp", nil, nil, queues, usual,
			[]goal{{confirmRate, quorum.Name, 10}, {cpu, "", 6}, {written, "", 1.3}}),
		beside("amqp-100q", "AMQP, 100 durable queues × 100 in flight, 1 KiB, 10 producers and consumers", "amqp", nil,
			[]string{"--queues", "100", "--producers", "10", "--consumers", "10"}, queues, usual,
			[]goal{{confirmRate, quorum.Name, 10}}),
		beside("amqp-128b", "AMQP, 1 durable queue, 128 B, 1,000 in flight", "amqp", nil, []string{"--size", "128"}, queues, usual,
			[]goal{{confirmRate, quorum.Name, 10}}),
		beside("amqp-2k", "AMQP at a fixed 2,000/s, 1 KiB", "amqp", nil, []string{"--rate", "2000"}, queues, usual,
			[]goal{{confirmP99, quorum.Name, 1. / 2}, {cpu, quorum.Name, 1. / 8}}),
		beside("amqp-10k", "AMQP at a fixed 10,000/s, 1 KiB", "amqp", nil, []string{"--rate", many}, queues, usual,
			[]goal{{confirmP99, quorum.Name, 1. / 5}}),
		beside("amqp-fanout", "AMQP, 1 message to 10 durable queues, 1 KiB, 100 in flight", "amqp", nil,
			[]string{"--fan-out", "10", "--in-flight", "100"}, queues, append([]metric{consumeRate}, usual...),
			[]goal{{confirmRate, quorum.Name, 10}, {written, "", 1.3}}),
		beside("amqp-build", "AMQP, a backlog is built, nobody consumes, 1 KiB", "amqp", nil,
			[]string{"--phase", "build", "--messages", fewer, "--keep=false"}, queues, usual,
			[]goal{{written, "", 2.3}}),
		beside("amqp-drain", "AMQP, the backlog is drained", "amqp", []string{"--phase", "build", "--messages", fewer},
			[]string{"--phase", "drain"}, queues, []metric{consumeRate, cpu, written},
			[]goal{{consumeRate, quorum.Name, 10}}),
		beside("kafka-1p", "Kafka acks=all idempotent, 1 partition, 1 KiB, 1,000 in flight, consumer committing", "kafka", nil, nil, logs, usual,
			[]goal{{confirmRate, kafkaPlain.Name, 1}, {confirmRate, kafkaSynced.Name, 3}, {written, "", 2.3}}),
		beside("kafka-16p", "Kafka, 16 partitions, 1 KiB, 10,000 in flight", "kafka", nil,
			[]string{"--partitions", "16", "--in-flight", many}, logs, usual,
			[]goal{{confirmRate, kafkaPlain.Name, 1}, {confirmRate, kafkaSynced.Name, 3}}),
		beside("kafka-256p", "Kafka, 256 partitions, 1 KiB, 10,000 in flight", "kafka", nil,
			[]string{"--partitions", "256", "--in-flight", many}, logs, usual,
			[]goal{{confirmRate, kafkaPlain.Name, 4}, {confirmRate, kafkaSynced.Name, 200}}),
		beside("kafka-128b", "Kafka, 1 partition, 128 B, 10,000 in flight", "kafka", nil,
			[]string{"--size", "128", "--in-flight", many}, logs, usual,
			[]goal{{confirmRate, kafkaPlain.Name, 0.8}}),
		beside("kafka-2k", "Kafka at a fixed 2,000/s, 1 KiB", "kafka", nil, []string{"--rate", "2000"}, logs, usual,
			[]goal{{confirmP50, kafkaSynced.Name, 1. / 3}, {confirmP99, kafkaSynced.Name, 1. / 2},
				{cpu, kafkaSynced.Name, 1. / 8}, {cpu, kafkaPlain.Name, 1. / 8}}),
		beside("kafka-build", "Kafka, a backlog is built, nobody consumes, 1 KiB, 10,000 in flight", "kafka", nil,
			[]string{"--phase", "build", "--messages", some, "--in-flight", many, "--keep=false"}, logs, usual,
			[]goal{{written, "", 2.3}}),
		beside("kafka-catchup", "Kafka, catch-up read of the backlog", "kafka",
			[]string{"--phase", "build", "--messages", some, "--in-flight", many}, []string{"--phase", "drain"},
			logs, []metric{consumeRate, cpu, written}, []goal{{consumeRate, kafkaPlain.Name, 1}}),
	}, aloneRows(s)...)
}
