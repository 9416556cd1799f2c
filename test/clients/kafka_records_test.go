//go:build clients

package clients

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// recordBatch makes an uncompressed batch of records with one-byte values.
func recordBatch(records int, change func(b *kmsg.RecordBatch)) []byte {
	now := time.Now().UnixMilli()
	batch := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(records - 1), FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(records),
	}
	for i := range records {
		record := kmsg.Record{OffsetDelta: int32(i), Value: []byte("v")}
		body := record.AppendTo(nil)
		record.Length = int32(len(body) - 1) // a varint of one byte, without itself
		batch.Records = record.AppendTo(batch.Records)
	}
	if change != nil {
		change(&batch)
	}
	return seal(batch.AppendTo(nil))
}

const (
	batchLengthAt = 8
	batchCRCAt    = 17
	batchBodyAt   = 21
)

// seal fills in the length and the checksum of a batch.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[batchLengthAt:], uint32(len(b)-batchLengthAt-4))
	binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchBodyAt:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// produce sends a batch and shows the answer, but for acks=0, which has none.
func (a *asker) produce(what, topic string, partition int32, acks int16, records []byte) {
	a.t.Helper()
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis = acks, 10_000
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t := kmsg.NewProduceRequestTopic()
	t.Topic = topic
	t.Partitions = append(t.Partitions, p)
	request.Topics = append(request.Topics, t)
	answer := ask[*kmsg.ProduceResponse](a, request).Topics[0].Partitions[0]
	if answer.ErrorCode != 0 {
		a.writef("produce %s: %s", what, code(answer.ErrorCode))
		return
	}
	a.writef("produce %s: offset %d, log start %d", what, answer.BaseOffset, answer.LogStartOffset)
}

func kafkaProduce(a *asker) {
	a.topic("p", 2)
	a.produce("a record", "p", 0, -1, recordBatch(1, nil))
	a.produce("three records", "p", 0, -1, recordBatch(3, nil))
	a.produce("with acks=1", "p", 0, 1, recordBatch(1, nil))
	a.produce("with acks=2", "p", 0, 2, recordBatch(1, nil))
	a.produce("with acks=-2", "p", 0, -2, recordBatch(1, nil))
	a.produce("to a missing partition", "p", 2, -1, recordBatch(1, nil))
	a.produce("to partition -1", "p", -1, -1, recordBatch(1, nil))
	a.produce("to a missing topic", "nowhere", 0, -1, recordBatch(1, nil))
	a.produce("to an invalid topic", "a b", 0, -1, recordBatch(1, nil))
	corrupt := recordBatch(1, nil)
	corrupt[len(corrupt)-1] ^= 1
	a.produce("a damaged batch", "p", 0, -1, corrupt)
	a.produce("two batches", "p", 0, -1, append(recordBatch(1, nil), recordBatch(1, nil)...))
	a.produce("half a batch", "p", 0, -1, recordBatch(1, nil)[:40])
	a.produce("no records", "p", 0, -1, recordBatch(0, func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 0 }))
	a.produce("fewer records than offsets", "p", 0, -1, recordBatch(2, func(b *kmsg.RecordBatch) { b.LastOffsetDelta = 5 }))
	a.produce("fewer records than their number", "p", 0, -1, recordBatch(2, func(b *kmsg.RecordBatch) { b.NumRecords = 3; b.LastOffsetDelta = 2 }))
	a.produce("a control batch", "p", 0, -1, recordBatch(1, func(b *kmsg.RecordBatch) { b.Attributes = 1 << 5 }))
	a.produce("an unknown codec", "p", 0, -1, recordBatch(1, func(b *kmsg.RecordBatch) { b.Attributes = 7 }))
	a.produce("gzip that is none", "p", 0, -1, recordBatch(1, func(b *kmsg.RecordBatch) { b.Attributes = 1 }))
	a.produce("magic 9", "p", 0, -1, recordBatch(1, func(b *kmsg.RecordBatch) { b.Magic = 9 }))
	a.produce("a transactional batch without a transactional id", "p", 0, -1, recordBatch(1, func(b *kmsg.RecordBatch) {
		b.Attributes, b.ProducerID, b.ProducerEpoch, b.FirstSequence = 1<<4, 5, 0, 0
	}))
	a.produce("a timestamp from next week", "p", 0, -1, recordBatch(1, func(b *kmsg.RecordBatch) {
		b.FirstTimestamp = time.Now().Add(7 * 24 * time.Hour).UnixMilli()
		b.MaxTimestamp = b.FirstTimestamp
	}))
	large := recordBatch(1, func(b *kmsg.RecordBatch) {
		record := kmsg.Record{Value: make([]byte, 1_100_000)}
		record.Length = int32(len(record.AppendTo(nil)) - 1)
		b.Records = record.AppendTo(nil)
	})
	a.produce("a batch above max.message.bytes", "p", 0, -1, large)
	a.produce("another record", "p", 1, -1, recordBatch(1, nil))
}

func kafkaIdempotence(a *asker) {
	a.topic("i", 1)
	init := func(what string, change func(r *kmsg.InitProducerIDRequest)) *kmsg.InitProducerIDResponse {
		request := kmsg.NewPtrInitProducerIDRequest()
		request.TransactionTimeoutMillis = 60_000
		change(request)
		response := ask[*kmsg.InitProducerIDResponse](a, request)
		a.writef("init producer id %s: %s, an id %v, epoch %d", what, code(response.ErrorCode), response.ProducerID >= 0, response.ProducerEpoch)
		return response
	}
	a.until("the first producer id", func() bool {
		request := kmsg.NewPtrInitProducerIDRequest()
		request.TransactionTimeoutMillis = 60_000
		return ask[*kmsg.InitProducerIDResponse](a, request).ErrorCode == 0
	})
	producer := init("of an idempotent producer", func(*kmsg.InitProducerIDRequest) {})
	init("again", func(*kmsg.InitProducerIDRequest) {})
	init("with an empty transactional id", func(r *kmsg.InitProducerIDRequest) { r.TransactionalID = kmsg.StringPtr("") })
	send := func(what string, id int64, epoch int16, sequence int32, records int) {
		a.produce(what, "i", 0, -1, recordBatch(records, func(b *kmsg.RecordBatch) {
			b.ProducerID, b.ProducerEpoch, b.FirstSequence = id, epoch, sequence
		}))
	}
	id := producer.ProducerID
	send("sequence 0", id, 0, 0, 1)
	send("sequence 0 again", id, 0, 0, 1)
	send("sequences 1 to 3", id, 0, 1, 3)
	send("sequences 1 to 3 again", id, 0, 1, 3)
	send("sequence 0 late", id, 0, 0, 1)
	send("sequences 1 to 2, an overlap", id, 0, 1, 2)
	send("sequence 9, a gap", id, 0, 9, 1)
	send("sequence 4", id, 0, 4, 1)
	for sequence := range int32(5) {
		send("more", id, 0, 5+sequence, 1)
	}
	send("sequence 4, out of the window", id, 0, 4, 1)
	send("the next epoch with sequence 3", id, 1, 3, 1)
	send("the next epoch with sequence 0", id, 1, 0, 1)
	send("the old epoch", id, 0, 10, 1)
	send("an unknown producer with sequence 0", id+1000, 0, 0, 1)
	send("an unknown producer with sequence 7", id+2000, 0, 7, 1)
	send("an id without an epoch", id, -1, 0, 1)
	send("an id without a sequence", id, 1, -1, 1)
}

func kafkaFetch(a *asker) {
	a.topic("f", 1)
	a.produce("ten records", "f", 0, -1, recordBatch(10, nil))
	fetch := func(what, topic string, change func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition)) {
		request := kmsg.NewPtrFetchRequest()
		request.MaxWaitMillis, request.MinBytes = 100, 1
		p := kmsg.NewFetchRequestTopicPartition()
		p.PartitionMaxBytes = 1 << 20
		change(request, &p)
		t := kmsg.NewFetchRequestTopic()
		t.Topic = topic
		t.Partitions = append(t.Partitions, p)
		request.Topics = append(request.Topics, t)
		response := ask[*kmsg.FetchResponse](a, request)
		a.writef("fetch %s: %s", what, code(response.ErrorCode))
		for _, t := range response.Topics {
			for _, p := range t.Partitions {
				a.writef("  %s, %d bytes, high watermark %d, last stable %d, log start %d", code(p.ErrorCode),
					len(p.RecordBatches), p.HighWatermark, p.LastStableOffset, p.LogStartOffset)
			}
		}
	}
	at := func(offset int64) func(*kmsg.FetchRequest, *kmsg.FetchRequestTopicPartition) {
		return func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.FetchOffset = offset }
	}
	fetch("from the start", "f", at(0))
	fetch("from the middle of the batch", "f", at(5))
	fetch("at the end", "f", at(10))
	fetch("behind the end", "f", at(11))
	fetch("at -1", "f", at(-1))
	fetch("a missing partition", "f", func(_ *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.Partition = 1 })
	fetch("a missing topic", "nowhere", at(0))
	fetch("with one byte", "f", func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { r.MaxBytes, p.PartitionMaxBytes = 1, 1 })
	fetch("read committed", "f", func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { r.IsolationLevel = 1 })
	fetch("an unknown session", "f", func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { r.SessionID, r.SessionEpoch = 77, 1 })
	fetch("a future leader epoch", "f", func(r *kmsg.FetchRequest, p *kmsg.FetchRequestTopicPartition) { p.CurrentLeaderEpoch = 1000 })

	epoch := func(what, topic string, partition, current, leader int32) {
		request := kmsg.NewPtrOffsetForLeaderEpochRequest()
		request.ReplicaID = -1
		p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.LeaderEpoch = partition, current, leader
		t := kmsg.NewOffsetForLeaderEpochRequestTopic()
		t.Topic = topic
		t.Partitions = append(t.Partitions, p)
		request.Topics = append(request.Topics, t)
		answer := ask[*kmsg.OffsetForLeaderEpochResponse](a, request).Topics[0].Partitions[0]
		a.writef("end of epoch %s: %s, offset %d, an epoch %v", what, code(answer.ErrorCode), answer.EndOffset, answer.LeaderEpoch >= 0)
	}
	epoch("1000", "f", 0, -1, 1000)
	epoch("0, a future current epoch", "f", 0, 1000, 0)
	epoch("0 of a missing partition", "f", 1, -1, 0)
	epoch("0 of a missing topic", "nowhere", 0, -1, 0)
}

const earliest, latest = -2, -1

// listOffset looks an offset up by a timestamp, or by earliest or latest.
func (a *asker) listOffset(topic string, partition int32, timestamp int64) kmsg.ListOffsetsResponseTopicPartition {
	a.t.Helper()
	request := kmsg.NewPtrListOffsetsRequest()
	request.ReplicaID = -1
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Partition, p.Timestamp, p.CurrentLeaderEpoch = partition, timestamp, -1
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic = topic
	t.Partitions = append(t.Partitions, p)
	request.Topics = append(request.Topics, t)
	return ask[*kmsg.ListOffsetsResponse](a, request).Topics[0].Partitions[0]
}

func kafkaListOffsets(a *asker) {
	a.topic("l", 1)
	origin := time.Now().UnixMilli() - 60_000 // near enough for the retention
	list := func(what, topic string, partition int32, timestamp int64) {
		answer := a.listOffset(topic, partition, timestamp)
		found := answer.Timestamp
		if found >= 0 {
			found -= origin
		}
		a.writef("offset %s: %s, %d, timestamp %d", what, code(answer.ErrorCode), answer.Offset, found)
	}
	list("earliest of an empty log", "l", 0, earliest)
	list("latest of an empty log", "l", 0, latest)
	list("of a time in an empty log", "l", 0, origin)
	stamped := func(timestamp int64) []byte {
		return recordBatch(2, func(b *kmsg.RecordBatch) { b.FirstTimestamp, b.MaxTimestamp = timestamp, timestamp })
	}
	a.produce("at time 0", "l", 0, -1, stamped(origin))
	a.produce("at time 100", "l", 0, -1, stamped(origin+100))
	a.produce("at time 50", "l", 0, -1, stamped(origin+50))
	list("earliest", "l", 0, earliest)
	list("latest", "l", 0, latest)
	for _, after := range []int64{-1000, 0, 1, 60, 100, 101} {
		list(fmt.Sprintf("of time %d", after), "l", 0, origin+after)
	}
	list("of a missing partition", "l", 1, latest)
	list("of a missing topic", "nowhere", 0, latest)
}

func kafkaDeleteRecords(a *asker) {
	a.topic("d", 1)
	a.produce("ten records", "d", 0, -1, recordBatch(10, nil))
	a.produce("ten records", "d", 0, -1, recordBatch(10, nil))
	remove := func(what, topic string, partition int32, offset int64) {
		request := kmsg.NewPtrDeleteRecordsRequest()
		request.TimeoutMillis = 10_000
		p := kmsg.NewDeleteRecordsRequestTopicPartition()
		p.Partition, p.Offset = partition, offset
		t := kmsg.NewDeleteRecordsRequestTopic()
		t.Topic = topic
		t.Partitions = append(t.Partitions, p)
		request.Topics = append(request.Topics, t)
		answer := ask[*kmsg.DeleteRecordsResponse](a, request).Topics[0].Partitions[0]
		a.writef("delete records %s: %s, low watermark %d", what, code(answer.ErrorCode), answer.LowWatermark)
	}
	remove("below 5", "d", 0, 5)
	remove("below 3", "d", 0, 3)
	remove("below 30", "d", 0, 30)
	remove("below -2", "d", 0, -2)
	remove("below the high watermark", "d", 0, -1)
	remove("of a missing partition", "d", 1, 0)
	remove("of a missing topic", "nowhere", 0, 0)
	a.produce("one more", "d", 0, -1, recordBatch(1, nil))
}
