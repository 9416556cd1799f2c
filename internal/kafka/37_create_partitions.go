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
			out.ErrorCode, out.ErrorMessage = changeCode(err), errorText(err)
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
	if t.Assignment != nil && len(t.Assignment) != int(t.Count)-have {
		return badAssignment()
	}
	var assignment [][]uint64
	for _, a := range t.Assignment {
		nodes, err := s.assignment(a.Replicas, topic.ReplicationFactor())
		if err != nil {
			return err
		}
		assignment = append(assignment, nodes)
	}
	return s.cfg.Broker.AddPartitions(ctx, t.Topic, t.Count, assignment, validateOnly)
}
