package kafka

import (
	"math"
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
		commit.Retention = retention(req.RetentionTimeMillis)
	}
	resp := req.ResponseKind().(*kmsg.OffsetCommitResponse)
	var spots []spot // of commit.Offsets
	for i := range req.Topics {
		topic := s.commitTopic(r.version, &req.Topics[i], commit)
		for j := range topic.Partitions {
			if topic.Partitions[j].ErrorCode == codeNone {
				spots = append(spots, spot{i, j})
			}
		}
		resp.Topics = append(resp.Topics, topic)
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

// retention is a number of milliseconds, which may be too large for a Duration:
// some clients mean for ever by that.
func retention(ms int64) time.Duration {
	return time.Duration(min(ms, int64(math.MaxInt64/time.Millisecond))) * time.Millisecond
}

// commitTopic adds the offsets of one topic to commit. In the response that it
// prepares, partitions that do not exist have their error already.
func (s *Server) commitTopic(version int16, req *kmsg.OffsetCommitRequestTopic, commit *broker.CommitOffsets) kmsg.OffsetCommitResponseTopic {
	resp := kmsg.NewOffsetCommitResponseTopic()
	resp.Topic, resp.TopicID = req.Topic, req.TopicID
	t, code := s.groupTopic(version >= 10, req.TopicID, req.Topic)
	for i := range req.Partitions {
		rp := &req.Partitions[i]
		p := kmsg.NewOffsetCommitResponseTopicPartition()
		p.Partition, p.ErrorCode = rp.Partition, code
		if t != nil && (rp.Partition < 0 || int(rp.Partition) >= len(t.Partitions)) {
			p.ErrorCode = codeUnknownTopicOrPartition
		}
		resp.Partitions = append(resp.Partitions, p)
		if p.ErrorCode != codeNone {
			continue
		}
		commit.Offsets = append(commit.Offsets, broker.OffsetCommit{
			TopicPartition: broker.TopicPartition{Topic: t.Name, Partition: rp.Partition},
			TopicID:        t.ID,
			Offset:         rp.Offset,
			LeaderEpoch:    rp.LeaderEpoch,
			Metadata:       text(rp.Metadata),
		})
	}
	return resp
}
