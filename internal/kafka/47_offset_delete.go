package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) offsetDelete(r *request, req *kmsg.OffsetDeleteRequest) {
	resp := req.ResponseKind().(*kmsg.OffsetDeleteResponse)
	del := &broker.DeleteOffsets{Group: req.Group}
	var spots []spot // of del.Partitions
	for i, rt := range req.Topics {
		_, code := s.groupTopic(false, [16]byte{}, rt.Topic)
		out := kmsg.NewOffsetDeleteResponseTopic()
		out.Topic = rt.Topic
		for j, rp := range rt.Partitions {
			op := kmsg.NewOffsetDeleteResponseTopicPartition()
			op.Partition, op.ErrorCode = rp.Partition, code
			if code == codeNone {
				spots = append(spots, spot{i, j})
				del.Partitions = append(del.Partitions, broker.TopicPartition{Topic: rt.Topic, Partition: rp.Partition})
			}
			out.Partitions = append(out.Partitions, op)
		}
		resp.Topics = append(resp.Topics, out)
	}
	s.cfg.Broker.DeleteOffsets(del, func(d *broker.DeleteOffsetsResult) {
		if resp.ErrorCode = int16(d.Code); d.Code != 0 {
			resp.Topics = nil
			r.reply(resp)
			return
		}
		for i, at := range spots {
			resp.Topics[at.topic].Partitions[at.partition].ErrorCode = int16(d.Partitions[i])
		}
		r.reply(resp)
	})
}
