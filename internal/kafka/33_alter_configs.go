package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// alterTimeout bounds a change of configs; the requests carry no timeout.
const alterTimeout = 30 * time.Second

// alterConfigs replaces all configs that a topic sets.
func (s *Server) alterConfigs(r *request, in *kmsg.AlterConfigsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.AlterConfigsResponse)
	for i := range in.Resources {
		res := &in.Resources[i]
		err := s.alter(r, int8(res.ResourceType), res.ResourceName, in.ValidateOnly, func(map[string]string) (map[string]string, error) {
			set := make(map[string]string, len(res.Configs))
			for _, c := range res.Configs {
				if c.Value != nil { // null: the default
					set[c.Name] = *c.Value
				}
			}
			return set, nil
		})
		out := kmsg.NewAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = res.ResourceType, res.ResourceName
		out.ErrorCode, out.ErrorMessage = changeCode(err), errorText(err)
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// alter changes what a topic sets, one change at a time.
func (s *Server) alter(r *request, kind int8, name string, validateOnly bool, change func(map[string]string) (map[string]string, error)) error {
	switch kind {
	case resourceTopic:
	case resourceBroker:
		return refuse(codeInvalidRequest, "the settings of the broker are in its configuration file")
	default:
		return refuse(codeInvalidRequest, "configs of resource type %d are not served: use 2 (topic)", kind)
	}
	s.altering.Lock()
	defer s.altering.Unlock()
	topic, ok := s.cfg.Broker.Topic(name)
	if !ok {
		return refuse(codeUnknownTopicOrPartition, "topic '%s' does not exist", name)
	}
	set, err := change(topic.Configs)
	if err != nil {
		return err
	}
	if err := s.cfg.Broker.CheckTopicConfigs(set); err != nil || validateOnly {
		return err
	}
	ctx, cancel := context.WithTimeout(r.ctx, alterTimeout)
	defer cancel()
	return s.cfg.Broker.AlterTopic(ctx, name, set)
}
