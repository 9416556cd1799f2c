package kafka

import (
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

// The operations of IncrementalAlterConfigs (KIP-339).
const (
	opSet      = 0
	opDelete   = 1
	opAppend   = 2
	opSubtract = 3
)

func (s *Server) incrementalAlterConfigs(r *request, in *kmsg.IncrementalAlterConfigsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for i := range in.Resources {
		res := &in.Resources[i]
		err := s.alter(r, int8(res.ResourceType), res.ResourceName, in.ValidateOnly, func(old map[string]string) (map[string]string, error) {
			set := maps.Clone(old)
			if set == nil {
				set = make(map[string]string)
			}
			for j := range res.Configs {
				if err := s.alterOne(set, &res.Configs[j]); err != nil {
					return nil, err
				}
			}
			return set, nil
		})
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = res.ResourceType, res.ResourceName
		out.ErrorCode, out.ErrorMessage = changeCode(err), errorText(err)
		resp.Resources = append(resp.Resources, out)
	}
	return resp
}

// alterOne does one operation on the configs that a topic sets.
func (s *Server) alterOne(set map[string]string, c *kmsg.IncrementalAlterConfigsRequestResourceConfig) error {
	defs := broker.TopicConfigDefinitions()
	i := slices.IndexFunc(defs, func(d broker.TopicConfigDefinition) bool { return d.Name == c.Name })
	if i < 0 {
		return refuse(codeInvalidConfig, "unknown topic config %q", c.Name)
	}
	if c.Op == opDelete {
		delete(set, c.Name)
		return nil
	}
	if c.Value == nil {
		return refuse(codeInvalidRequest, "%s needs a value", c.Name)
	}
	switch c.Op {
	case opSet:
		set[c.Name] = *c.Value
		return nil
	case opAppend, opSubtract:
		if defs[i].Type != broker.ConfigList {
			return refuse(codeInvalidConfig, "%s is not a list: it can be set, but not appended to", c.Name)
		}
		now, ok := set[c.Name]
		if !ok {
			now = defs[i].Default
		}
		set[c.Name] = changeList(now, *c.Value, c.Op == opAppend)
		return nil
	}
	return refuse(codeInvalidRequest, "unknown operation %d", c.Op)
}

// changeList adds the items of a list to another, or takes them out.
func changeList(list, items string, add bool) string {
	var out []string
	if list != "" {
		out = strings.Split(list, ",")
	}
	for _, item := range strings.Split(items, ",") {
		switch at := slices.Index(out, item); {
		case add && at < 0:
			out = append(out, item)
		case !add && at >= 0:
			out = slices.Delete(out, at, at+1)
		}
	}
	return strings.Join(out, ",")
}
