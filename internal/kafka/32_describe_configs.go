package kafka

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func (s *Server) describeConfigs(_ *request, in *kmsg.DescribeConfigsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.DescribeConfigsResponse)
	for i := range in.Resources {
		want := &in.Resources[i]
		out := kmsg.NewDescribeConfigsResponseResource()
		out.ResourceType, out.ResourceName = want.ResourceType, want.ResourceName
		configs, err := s.configsOf(int8(want.ResourceType), want.ResourceName)
		out.ErrorCode, out.ErrorMessage = errorCode(err), errorText(err)
		for j := range configs {
			if want.ConfigNames == nil || slices.Contains(want.ConfigNames, configs[j].name) {
				out.Configs = append(out.Configs, configs[j].describe(in))
			}
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// configsOf are all configs of a resource.
func (s *Server) configsOf(kind int8, name string) ([]config, error) {
	switch kind {
	case resourceTopic:
		if err := checkTopicName(name); err != nil {
			return nil, err
		}
		t, ok := s.cfg.Broker.Topic(name)
		if !ok {
			return nil, refuse(codeUnknownTopicOrPartition, "topic '%s' does not exist", name)
		}
		return s.topicConfigs(t.Configs), nil
	case resourceBroker:
		if name != "" && name != strconv.Itoa(int(s.cfg.NodeID)) {
			return nil, refuse(codeInvalidRequest, "there is no broker '%s'; this one is %d", name, s.cfg.NodeID)
		}
		if name == "" { // the defaults of a whole cluster that were set while it ran
			return nil, nil
		}
		return s.brokerConfigs(), nil
	}
	return nil, refuse(codeInvalidRequest, "configs of resource type %d are not served: use 2 (topic) or 4 (broker)", kind)
}

func (c *config) describe(in *kmsg.DescribeConfigsRequest) kmsg.DescribeConfigsResponseResourceConfig {
	out := kmsg.NewDescribeConfigsResponseResourceConfig()
	out.Name, out.Value, out.ReadOnly = c.name, &c.value, c.readOnly
	out.Source, out.IsDefault = kmsg.ConfigSource(c.source), c.source == sourceDefault
	out.ConfigType = kmsg.ConfigType(configTypes[c.def.Type])
	if in.IncludeDocumentation {
		out.Documentation = &c.def.Doc
	}
	if !in.IncludeSynonyms {
		return out
	}
	for i := range c.synonyms {
		syn := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
		syn.Name, syn.Value, syn.Source = c.synonyms[i].name, &c.synonyms[i].value, kmsg.ConfigSource(c.synonyms[i].source)
		out.ConfigSynonyms = append(out.ConfigSynonyms, syn)
	}
	return out
}
