package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) describeGroups(r *request, req *kmsg.DescribeGroupsRequest) {
	first := onlyOnce()
	gather(len(req.Groups), func(i int, done func(*broker.GroupDescription)) {
		if !first(req.Groups[i]) {
			done(&broker.GroupDescription{Code: broker.GroupCode(codeInvalidRequest)})
			return
		}
		s.cfg.Broker.DescribeGroup(req.Groups[i], done)
	}, func(answers []*broker.GroupDescription) {
		resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
		for i, d := range answers {
			g := describedGroup(r.version, req.Groups[i], d)
			if req.IncludeAuthorizedOperations {
				g.AuthorizedOperations = groupOperations
			}
			resp.Groups = append(resp.Groups, g)
		}
		r.reply(resp)
	})
}

func describedGroup(version int16, name string, d *broker.GroupDescription) kmsg.DescribeGroupsResponseGroup {
	g := kmsg.NewDescribeGroupsResponseGroup()
	g.Group, g.ErrorCode, g.AuthorizedOperations = name, int16(d.Code), noOperations
	g.State, g.ProtocolType, g.Protocol = d.State, d.ProtocolType, d.Protocol
	if g.ErrorCode == codeGroupIDNotFound {
		if version < 6 {
			g.ErrorCode = codeNone // the state says it: Dead
		} else {
			words := fmt.Sprintf("there is no group %q", name)
			g.ErrorMessage = &words
		}
	}
	for _, m := range d.Members {
		gm := kmsg.NewDescribeGroupsResponseGroupMember()
		gm.MemberID, gm.InstanceID = m.ID, nullable(m.InstanceID)
		gm.ClientID, gm.ClientHost = m.ClientID, m.ClientHost
		gm.ProtocolMetadata, gm.MemberAssignment = m.Metadata, m.Assignment
		g.Members = append(g.Members, gm)
	}
	return g
}
