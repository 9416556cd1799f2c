package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) offsetCommit(r *request, req *kmsg.OffsetCommitRequest) {
	commit := &broker.CommitOffsets{
		Group:      req.Group,
		Generation: req.Generation,
		MemberID:   req.MemberID,
		InstanceID: text(req.InstanceID),
		Retention:  -1,
	}
	if r.version <= 4 && req.RetentionTimeMillis >= 0 {
		commit.Retention = time.Duration(req.RetentionTimeMillis) * time.Millisecond
	}
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	var spots []spot // of commit.Offsets
	for i := range req.Topics {
		rt := &req.Topics[i]
		t, code := s.findTopic(r.version >= 10, rt.TopicID, rt.Topic)
		out := kmsg.NewOffsetCommitResponseTopic()
		out.Topic, out.TopicID = rt.Topic, rt.TopicID
		for j := range rt.Partitions {
			rp := &rt.Partitions[j]
			op := kmsg.NewOffsetCommitResponseTopicPartition()
			op.Partition, op.ErrorCode = rp.Partition, code
			switch {
			case t == nil:
			case rp.Partition < 0 || int(rp.Partition) >= len(t.Partitions):
				op.ErrorCode = codeUnknownTopicOrPartition
			default:
				spots = append(spots, spot{i, j})
				commit.Offsets = append(commit.Offsets, broker.OffsetCommit{
					TopicPartition: broker.TopicPartition{Topic: t.Name, Partition: rp.Partition},
					TopicID:        t.ID,
					Offset:         rp.Offset,
					LeaderEpoch:    rp.LeaderEpoch,
					Metadata:       text(rp.Metadata),
				})
			}
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
	if len(spots) == 0 {
		r.reply(resp)
		return
	}
	s.cfg.Broker.CommitOffsets(commit, func(c *broker.CommitOffsetsResult) {
		for i, at := range spots {
			code := c.Code
			if code == 0 {
				code = c.Offsets[i]
			}
			resp.Topics[at.topic].Partitions[at.partition].ErrorCode = int16(code)
		}
		r.reply(resp)
	})
}
