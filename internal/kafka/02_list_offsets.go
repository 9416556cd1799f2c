package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
	"waybill/internal/record"
)

// Timestamps with a meaning of their own.
const (
	timeLatest        = -1 // the high watermark
	timeEarliest      = -2 // the log start
	timeMaxTimestamp  = -3 // the record with the largest timestamp (KIP-734)
	timeEarliestLocal = -4 // the first offset that is not only in remote storage (KIP-405)
	timeLatestTiered  = -5 // the last offset in remote storage (KIP-1005); there is none
	timePendingUpload = -6 // the first offset that waits for it; there is none
)

func (s *Server) listOffsets(_ *request, in *kmsg.ListOffsetsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.ListOffsetsResponse)
	for _, t := range in.Topics {
		out := kmsg.NewListOffsetsResponseTopic()
		out.Topic = t.Topic
		topic, _ := s.cfg.Broker.Topic(t.Topic)
		for _, p := range t.Partitions {
			part := kmsg.NewListOffsetsResponseTopicPartition()
			part.Partition = p.Partition
			if partition := partitionOf(topic, p.Partition); partition == nil {
				part.ErrorCode = codeUnknownTopicOrPartition
			} else if part.ErrorCode = checkLeader(partition, p.CurrentLeaderEpoch); part.ErrorCode == codeNone {
				part.ErrorCode = errorCode(offsetAt(&part, partition, p.Timestamp))
			}
			out.Partitions = append(out.Partitions, part)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

// partitionOf is the partition with that number; nil when there is none.
func partitionOf(topic *broker.Topic, number int32) *broker.Partition {
	if topic == nil || number < 0 || int(number) >= len(topic.Partitions) {
		return nil
	}
	return topic.Partitions[number]
}

// checkLeader says why a partition is not served from here to a client that
// knows a leader epoch.
func checkLeader(p *broker.Partition, epoch int32) int16 {
	if err := p.Err(); err != nil {
		return errorCode(err)
	}
	return checkEpoch(epoch, p.Epoch())
}

// offsetAt looks up one timestamp. An offset of -1 says that there is none.
func offsetAt(out *kmsg.ListOffsetsResponseTopicPartition, p *broker.Partition, ms int64) error {
	var off record.Offset
	var at int64 = -1
	var ok bool
	var err error
	start, high := p.Offsets()
	switch ms {
	case timeLatest:
		out.Offset, out.LeaderEpoch = int64(high), p.Epoch()
		return nil
	case timeEarliest, timeEarliestLocal:
		off, ok = start, true
	case timeMaxTimestamp:
		off, at, ok, err = p.MaxTimestamp()
	case timeLatestTiered, timePendingUpload:
		return nil
	default:
		if ms < 0 {
			return &broker.Error{Kind: broker.Invalid, Code: codeUnsupportedVersion, Text: "unknown special timestamp"}
		}
		off, at, ok, err = p.OffsetAtTime(ms)
	}
	if err != nil || !ok {
		return err
	}
	out.Offset, out.Timestamp, out.LeaderEpoch = int64(off), at, p.EpochAt(off)
	return nil
}
