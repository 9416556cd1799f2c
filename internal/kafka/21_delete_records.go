package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/record"
)

// deleteRecords moves the start of logs. It answers once that is durable.
func (s *Server) deleteRecords(r *request, in *kmsg.DeleteRecordsRequest) {
	resp := in.ResponseKind().(*kmsg.DeleteRecordsResponse)
	var questions []deletion
	for i := range in.Topics {
		t := kmsg.NewDeleteRecordsResponseTopic()
		t.Topic = in.Topics[i].Topic
		for j, p := range in.Topics[i].Partitions {
			part := kmsg.NewDeleteRecordsResponseTopicPartition()
			part.Partition = p.Partition
			t.Partitions = append(t.Partitions, part)
			questions = append(questions, deletion{i, j, p.Offset})
		}
		resp.Topics = append(resp.Topics, t)
	}
	gather(len(questions), func(i int, done func(deleted)) {
		q := questions[i]
		topic, _ := s.cfg.Broker.Topic(resp.Topics[q.topic].Topic)
		p := partitionOf(topic, resp.Topics[q.topic].Partitions[q.part].Partition)
		if p == nil {
			done(deleted{-1, refuse(codeUnknownTopicOrPartition, "no such partition")})
			return
		}
		p.DeleteBefore(record.Offset(q.offset), func(start record.Offset, err error) { done(deleted{start, err}) })
	}, func(answers []deleted) {
		for i, a := range answers {
			part := &resp.Topics[questions[i].topic].Partitions[questions[i].part]
			part.LowWatermark, part.ErrorCode = int64(a.start), errorCode(a.err)
		}
		r.reply(resp)
	})
}

type deletion struct {
	topic, part int
	offset      int64
}

type deleted struct {
	start record.Offset
	err   error
}
