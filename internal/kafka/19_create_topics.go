package kafka

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) createTopics(r *request, in *kmsg.CreateTopicsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.CreateTopicsResponse)
	ctx, cancel := withTimeout(r, in.TimeoutMillis)
	defer cancel()
	times := map[string]int{}
	for i := range in.Topics {
		times[in.Topics[i].Topic]++
	}
	for i := range in.Topics {
		t := &in.Topics[i]
		out := kmsg.NewCreateTopicsResponseTopic()
		out.Topic = t.Topic
		var topic *broker.Topic
		var err error
		if times[t.Topic] > 1 {
			err = refuse(codeInvalidRequest, "topic '%s' is named twice in one request", t.Topic)
		} else {
			topic, err = s.createTopic(ctx, t, in.ValidateOnly)
		}
		if err != nil {
			out.ErrorCode, out.ErrorMessage = changeCode(err), errorText(err)
		} else {
			out.TopicID = topic.ID
			out.NumPartitions, out.ReplicationFactor = int32(len(topic.Partitions)), int16(topic.ReplicationFactor())
			out.Configs = s.createdConfigs(topic)
		}
		resp.Topics = append(resp.Topics, out)
	}
	return resp
}

func (s *Server) createTopic(ctx context.Context, t *kmsg.CreateTopicsRequestTopic, validateOnly bool) (*broker.Topic, error) {
	if err := checkTopicName(t.Topic); err != nil {
		return nil, err
	}
	spec := broker.TopicSpec{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor, Configs: map[string]string{}}
	if len(t.ReplicaAssignment) > 0 {
		if err := s.assigned(&spec, t); err != nil {
			return nil, err
		}
	}
	if spec.Partitions == -1 {
		spec.Partitions = s.cfg.NumPartitions
	}
	if spec.ReplicationFactor == -1 {
		spec.ReplicationFactor = s.cfg.DefaultReplicationFactor
	}
	for _, c := range t.Configs {
		if _, twice := spec.Configs[c.Name]; twice || c.Value == nil {
			return nil, refuse(codeInvalidConfig, "topic config %s needs one value", c.Name)
		}
		spec.Configs[c.Name] = *c.Value
	}
	return s.cfg.Broker.CreateTopic(ctx, spec, validateOnly)
}

// assigned takes the number of partitions from an assignment of replicas.
func (s *Server) assigned(spec *broker.TopicSpec, t *kmsg.CreateTopicsRequestTopic) error {
	if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
		return refuse(codeInvalidRequest, "give an assignment of replicas, or numbers, but not both")
	}
	spec.Assignment = make([][]uint64, len(t.ReplicaAssignment))
	for _, a := range t.ReplicaAssignment {
		if a.Partition < 0 || int(a.Partition) >= len(spec.Assignment) || spec.Assignment[a.Partition] != nil {
			return badAssignment()
		}
		nodes, err := s.assignment(a.Replicas, len(t.ReplicaAssignment[0].Replicas))
		if err != nil {
			return err
		}
		spec.Assignment[a.Partition] = nodes
	}
	spec.Partitions, spec.ReplicationFactor = int32(len(t.ReplicaAssignment)), int16(len(t.ReplicaAssignment[0].Replicas))
	return nil
}

// assignment turns the replicas of one partition, n of them, into nodes of the cluster.
func (s *Server) assignment(replicas []int32, n int) ([]uint64, error) {
	nodes := make([]uint64, len(replicas))
	for i, id := range replicas {
		nodes[i] = uint64(id)
		if id == s.cfg.NodeID {
			nodes[i] = s.cfg.Broker.NodeID()
		}
		if id < 0 || slices.Contains(nodes[:i], nodes[i]) {
			return nil, badAssignment()
		}
	}
	if len(nodes) == 0 || len(nodes) != n {
		return nil, badAssignment()
	}
	return nodes, nil
}

func badAssignment() error {
	return refuse(codeInvalidReplicaAssignment,
		"an assignment numbers the partitions from 0 and gives each of them replicas on the same number of different nodes")
}

func (s *Server) createdConfigs(t *broker.Topic) (out []kmsg.CreateTopicsResponseTopicConfig) {
	for _, c := range s.topicConfigs(t.Configs) {
		e := kmsg.NewCreateTopicsResponseTopicConfig()
		e.Name, e.Value, e.Source = c.def.Name, &c.value, int8(c.source)
		out = append(out, e)
	}
	return out
}

// withTimeout is the request's context, bounded by what the client waits for.
func withTimeout(r *request, millis int32) (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.ctx, max(time.Duration(millis)*time.Millisecond, time.Second))
}

func refuse(code int16, format string, args ...any) error {
	return &broker.Error{Kind: broker.Invalid, Code: code, Text: fmt.Sprintf(format, args...)}
}
