package main

import (
	"fmt"
	"strconv"
)

// What the rows without peers demand, by the names in the page.
const (
	memoryAboveIdle = "memory above idle and memtables, MiB"
	restartTime     = "restart after a kill until ready, s"
	drainRate       = "drained, times the rate without a backlog"
	publishRate     = "published meanwhile, times the rate without a backlog"
	heldDrainRate   = "drained by a consumer that is held to the rate without a backlog, times that"
	heldPublishRate = "published beside that consumer, times the rate without a backlog"
	memoryInAll     = "resident memory, MiB"
	idleCores       = "idle, % of a core"
	createRate      = "created, with a binding each, per second"
	memoryEach      = "memory, KiB each"
	shareOfDisk     = "share of the disk's raw group commits, %"
	rawRate         = "the disk's raw group commits, MiB/s"
	newRate         = "the same into new files, MiB/s"
	newDirectRate   = "the same into new files past the page cache, MiB/s"
	commitSize      = "size of a group commit, KiB"
	commitRate      = "acknowledged, MiB/s"
)

// aloneRows are the rows that Waybill does alone.
func aloneRows(s settings) []row {
	backlog := []demand{
		{memoryAboveIdle, false, 64}, {restartTime, false, 3}, {drainRate, true, 0.8}, {publishRate, true, 0.8},
		{heldDrainRate, true, 0.8}, {heldPublishRate, true, 0.8},
	}
	large := thousands(s.large)
	return []row{
		{Name: "amqp-backlog", Title: "AMQP, a backlog of " + large + " in one queue, 1 KiB", most: 3,
			protocol: "`waybill bench amqp` with `--phase build` and `--phase drain`", demands: backlog, alone: backlogOf("amqp")},
		{Name: "kafka-backlog", Title: "Kafka, a backlog of " + large + " in one partition, 1 KiB", most: 3,
			protocol: "`waybill bench kafka` with `--phase build` and `--phase drain`", demands: backlog, alone: backlogOf("kafka")},
		{Name: "amqp-idle-queues", Title: fmt.Sprintf("AMQP, %s idle durable queues, declared over %d connections", thousands(idleQueues), declarers), most: 3,
			protocol: "amqp091-go", alone: queuesIdle,
			demands: []demand{{createRate, true, 1000}, {memoryInAll, false, 300}, {idleCores, false, 2}}},
		{Name: "amqp-idle-conns", Title: fmt.Sprintf("AMQP, %s idle connections, a heartbeat every %v", thousands(idleConns), heartbeat), most: 3,
			protocol: "amqp091-go", alone: connectionsIdle,
			demands: []demand{{memoryEach, false, 40}, {idleCores, false, 5}}},
		{Name: "disk-share", Title: "Kafka clients, 16 partitions, 1 KiB, 10,000 in flight: share of what the disk can do", most: 3,
			protocol: "`waybill bench kafka --phase build`, then one write and one fdatasync after the other of the WAL's mean size", alone: diskShare,
			demands: []demand{{shareOfDisk, true, 60}, {commitRate, true, 0}, {rawRate, true, 0}, {newRate, true, 0}, {newDirectRate, true, 0}, {commitSize, true, 0}}},
	}
}

func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
