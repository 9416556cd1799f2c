package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

const (
	// autoCreateTimeout bounds the creation of a topic by a Metadata request.
	autoCreateTimeout = 10 * time.Second
	// topicOperations are the operations that everyone may do on a topic, as bits: read,
	// write, create, delete, alter, describe, describe and alter configs.
	topicOperations = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	// clusterOperations: create, alter, describe, cluster action, describe and
	// alter configs, idempotent write.
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
)

func (s *Server) metadata(r *request, in *kmsg.MetadataRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.MetadataResponse)
	for _, n := range s.nodes(r.conn) {
		b := kmsg.NewMetadataResponseBroker()
		b.NodeID, b.Host, b.Port = n.id, n.host, n.port
		resp.Brokers = append(resp.Brokers, b)
	}
	resp.ClusterID, resp.ControllerID = &s.cfg.ClusterID, s.controller()
	if in.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	all := in.Topics == nil || r.version == 0 && len(in.Topics) == 0
	if all {
		for _, t := range s.cfg.Broker.Topics() {
			resp.Topics = append(resp.Topics, s.describeTopic(t, in))
		}
		return resp
	}
	for i := range in.Topics {
		resp.Topics = append(resp.Topics, s.findTopic(r, in, &in.Topics[i]))
	}
	return resp
}

// findTopic describes one topic that was asked for, and creates it when it may.
func (s *Server) findTopic(r *request, in *kmsg.MetadataRequest, want *kmsg.MetadataRequestTopic) kmsg.MetadataResponseTopic {
	missing := kmsg.NewMetadataResponseTopic()
	missing.Topic, missing.TopicID = want.Topic, want.TopicID
	if want.Topic == nil {
		if t, ok := s.cfg.Broker.TopicByID(want.TopicID); ok {
			return s.describeTopic(t, in)
		}
		missing.ErrorCode = codeUnknownTopicID
		return missing
	}
	name := *want.Topic
	if t, ok := s.cfg.Broker.Topic(name); ok {
		return s.describeTopic(t, in)
	}
	switch {
	case checkTopicName(name) != nil:
		missing.ErrorCode = codeInvalidTopic
	case s.cfg.AutoCreateTopics && (r.version < 4 || in.AllowAutoTopicCreation):
		missing.ErrorCode = s.autoCreate(r, name)
	default:
		missing.ErrorCode = codeUnknownTopicOrPartition
	}
	return missing
}

// autoCreate makes a topic on its first use. The client is told to ask again,
// as Kafka does.
func (s *Server) autoCreate(r *request, name string) int16 {
	ctx, cancel := context.WithTimeout(r.ctx, autoCreateTimeout)
	defer cancel()
	_, err := s.cfg.Broker.CreateTopic(ctx, broker.TopicSpec{
		Name: name, Partitions: s.cfg.NumPartitions, ReplicationFactor: s.cfg.DefaultReplicationFactor}, false)
	if code := errorCode(err); err != nil && code != codeTopicAlreadyExists {
		r.conn.log.Warn("kafka: a topic cannot be created on its first use", "topic", name, "err", err)
		return code
	}
	return codeLeaderNotAvailable
}

func (s *Server) describeTopic(t *broker.Topic, in *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID = &t.Name, t.ID
	if in.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = topicOperations
	}
	for n, p := range t.Partitions {
		part := kmsg.NewMetadataResponseTopicPartition()
		state := p.State()
		part.Partition, part.Leader, part.LeaderEpoch = int32(n), s.kafkaID(state.Leader), state.Epoch
		part.Replicas, part.ISR = s.kafkaIDs(state.Replicas), s.kafkaIDs(state.InSync)
		if len(state.Offline) > 0 {
			part.OfflineReplicas = s.kafkaIDs(state.Offline)
		}
		if state.Leader == 0 {
			part.ErrorCode = codeLeaderNotAvailable
		}
		out.Partitions = append(out.Partitions, part)
	}
	return out
}
