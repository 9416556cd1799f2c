package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) deleteTopics(r *request, in *kmsg.DeleteTopicsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.DeleteTopicsResponse)
	ctx, cancel := withTimeout(r, in.TimeoutMillis)
	defer cancel()
	topics := in.Topics
	for i := range in.TopicNames { // up to version 5
		topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &in.TopicNames[i]})
	}
	for i := range topics {
		t := &topics[i]
		out := kmsg.NewDeleteTopicsResponseTopic()
		out.Topic, out.TopicID = t.Topic, t.TopicID
		if err := s.deleteTopic(ctx, t, &out); err != nil {
			out.ErrorCode, out.ErrorMessage = changeCode(err), errorText(err)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (s *Server) deleteTopic(ctx context.Context, t *kmsg.DeleteTopicsRequestTopic, out *kmsg.DeleteTopicsResponseTopic) error {
	if t.Topic == nil {
		topic, ok := s.cfg.Broker.TopicByID(t.TopicID)
		if !ok {
			return refuse(codeUnknownTopicID, "no topic has this id")
		}
		out.Topic = &topic.Name
	} else if topic, ok := s.cfg.Broker.Topic(*t.Topic); ok {
		out.TopicID = topic.ID
	}
	return s.cfg.Broker.DeleteTopic(ctx, *out.Topic)
}
