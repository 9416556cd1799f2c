package main

import (
	"strings"

	"waybill/internal/bench"
)

var (
	ours3   = contender{Name: waybill, broker: waybill3}
	quorum3 = contender{"RabbitMQ quorum queue", rabbit3, []string{"--queue-type", "quorum"}}
	plain3  = contender{Name: "Kafka, RF 3, min ISR 2 (no fsync)", broker: kafka3}

	gapP50 = metric{"gap p50, ms", false, func(r *bench.Result) float64 { return quantile(r.Confirm, 50) }}
	gapP99 = metric{"gap p99, ms", false, func(r *bench.Result) float64 { return quantile(r.Confirm, 99) }}
	gapMax = metric{"gap max, ms", false, func(r *bench.Result) float64 {
		if r.Confirm == nil {
			return 0
		}
		return r.Confirm.Max
	}}
	gaps = []metric{gapP50, gapP99, gapMax}
)

// allRows is the table of all rows: one node, then three.
func allRows(s settings) []row { return append(singleRows(s), clusterRows()...) }

// clusterRows are the rows with three nodes on this machine.
func clusterRows() []row {
	queues, logs := []contender{ours3, quorum3}, []contender{ours3, plain3}
	return []row{
		beside("amqp-3n", "AMQP, three nodes, 1 durable queue with three replicas, 1 KiB, 1,000 in flight", "amqp", nil, nil, queues, usual,
			[]goal{{confirmRate, quorum3.Name, 10}, {cpu, "", 15}}),
		beside("amqp-3n-2k", "AMQP, three nodes, at a fixed 2,000/s, 1 KiB", "amqp", nil, []string{"--rate", "2000"}, queues, usual,
			[]goal{{confirmP50, quorum3.Name, 1. / 2}, {confirmP99, quorum3.Name, 1. / 2}}),
		beside("kafka-3n", "Kafka acks=all idempotent, three nodes, 1 partition with three replicas, 1 KiB, 1,000 in flight", "kafka", nil, nil, logs, usual,
			[]goal{{confirmRate, plain3.Name, 2}}),
		beside("failover-kill-amqp", "AMQP, the longest time without a confirm when the leader is killed", "amqp", nil, nil, queues, gaps,
			[]goal{{gapP99, "", 3000}}),
		beside("failover-kill-kafka", "Kafka, the longest time without an answer when the leader is killed", "kafka", nil, nil, logs, gaps,
			[]goal{{gapP99, "", 3000}}),
		beside("failover-move-amqp", "AMQP, the same when the leadership is moved in order", "amqp", nil, nil, []contender{ours3}, gaps,
			[]goal{{gapP99, "", 300}}),
		beside("failover-move-kafka", "Kafka, the same when the leadership is moved in order", "kafka", nil, nil, []contender{ours3}, gaps,
			[]goal{{gapP99, "", 300}}),
	}
}

// failover reports whether a row is about losing a leader.
func (w row) failover() bool { return strings.HasPrefix(w.Name, "failover-") }

// kills reports whether the leader of a failover row dies.
func kills(w row) bool { return strings.HasPrefix(w.Name, "failover-kill-") }
