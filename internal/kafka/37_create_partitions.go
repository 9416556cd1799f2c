package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) createPartitions(r *request, in *kmsg.CreatePartitionsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.CreatePartitionsResponse)
	ctx, cancel := withTimeout(r, in.TimeoutMillis)
	defer cancel()
	for i := range in.Topics {
		out := kmsg.NewCreatePartitionsResponseTopic()
		out.Topic = in.Topics[i].Topic
		if err := s.addPartitions(ctx, &in.Topics[i], in.ValidateOnly); err != nil {
			out.ErrorCode, out.ErrorMessage = errorCode(err), errorText(err)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (s *Server) addPartitions(ctx context.Context, t *kmsg.CreatePartitionsRequestTopic, validateOnly bool) error {
	topic, ok := s.cfg.Broker.Topic(t.Topic)
	if !ok {
		return refuse(codeUnknownTopicOrPartition, "topic '%s' does not exist", t.Topic)
	}
	have := len(topic.Partitions)
	if int(t.Count) <= have {
		return refuse(codeInvalidPartitions, "topic '%s' has %d partitions; their number can only be raised", t.Topic, have)
	}
	if t.Assignment != nil {
		if len(t.Assignment) != int(t.Count)-have {
			return s.badAssignment()
		}
		for _, a := range t.Assignment {
			if !s.onThisNode(a.Replicas) {
				return s.badAssignment()
			}
		}
	}
	return s.cfg.Broker.AddPartitions(ctx, t.Topic, t.Count, validateOnly)
}
