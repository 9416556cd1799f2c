package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

func (s *Server) offsetForLeaderEpoch(_ *request, in *kmsg.OffsetForLeaderEpochRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.OffsetForLeaderEpochResponse)
	for _, t := range in.Topics {
		out := kmsg.NewOffsetForLeaderEpochResponseTopic()
		out.Topic = t.Topic
		topic, _ := s.cfg.Broker.Topic(t.Topic)
		for _, p := range t.Partitions {
			part := kmsg.NewOffsetForLeaderEpochResponseTopicPartition()
			part.Partition = p.Partition
			if partition := partitionOf(topic, p.Partition); partition == nil {
				part.ErrorCode = codeUnknownTopicOrPartition
			} else if part.ErrorCode = checkLeader(partition, p.CurrentLeaderEpoch); part.ErrorCode == codeNone {
				epoch, end := partition.EndOfEpoch(p.LeaderEpoch)
				part.LeaderEpoch, part.EndOffset = epoch, int64(end)
			}
			out.Partitions = append(out.Partitions, part)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}
