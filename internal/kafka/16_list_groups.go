package kafka

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

// groupType is the type of all groups: ones whose clients make the assignment.
const groupType = "classic"

func (s *Server) listGroups(r *request, req *kmsg.ListGroupsRequest) {
	s.cfg.Broker.ListGroups(func(l *broker.ListGroupsResult) {
		resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
		resp.ErrorCode = int16(l.Code)
		for _, g := range l.Groups {
			if !passes(req.StatesFilter, g.State) || !passes(req.TypesFilter, groupType) {
				continue
			}
			rg := kmsg.NewListGroupsResponseGroup()
			rg.Group, rg.ProtocolType = g.Group, g.ProtocolType
			rg.GroupState, rg.GroupType = g.State, groupType
			resp.Groups = append(resp.Groups, rg)
		}
		r.reply(resp)
	})
}

// passes reports whether a filter lets a value through. An empty one lets
// everything through.
func passes(filter []string, value string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(s string) bool {
		return strings.EqualFold(s, value)
	})
}
