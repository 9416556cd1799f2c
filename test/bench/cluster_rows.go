package main

import (
	"context"
	"fmt"
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
	times = metric{"times", true, func(r *bench.Result) float64 { return float64(r.Confirmed) }}
	gaps  = []metric{gapP50, gapP99, gapMax, times}
)

// allRows is the table of all rows: one node, then three.
func allRows(s settings) []row { return append(singleRows(s), clusterRows()...) }

// clusterRows are the rows with three nodes on this machine.
func clusterRows() []row {
	queues, logs := []contender{ours3, quorum3}, []contender{ours3, plain3}
	return []row{
		{Name: "idle-3n", Title: fmt.Sprintf("Three nodes, %s idle durable queues with three replicas each", thousands(idleQueues)), most: 1,
			protocol: "amqp091-go", alone: queuesIdle3, three: true,
			demands: []demand{{createRate, true, 0}, {memoryMost, false, 0}, {idleMost, false, 5}}},
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

// What the idle row tells of the node of which it is most.
const (
	memoryMost = "resident memory of a node, MiB"
	idleMost   = "idle, % of a core for a node"
)

// queuesIdle3 is queuesIdle for three nodes: the raft groups of the queues have to go to sleep.
func queuesIdle3(ctx context.Context, _ *runner, n *node) (map[string]float64, error) {
	var addrs []string
	for _, one := range n.cluster.nodes {
		addrs = append(addrs, one.amqp)
	}
	created, err := declareIdle(addrs)
	if err != nil {
		return nil, err
	}
	most := map[string]float64{createRate: created}
	for _, one := range n.cluster.nodes {
		n.looked = one.process
		figures, err := n.idle(ctx)
		if err != nil {
			return nil, err
		}
		most[memoryMost] = max(most[memoryMost], figures[memoryInAll])
		most[idleMost] = max(most[idleMost], figures[idleCores])
	}
	return most, nil
}
