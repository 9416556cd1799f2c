package kafka

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) deleteGroups(r *request, req *kmsg.DeleteGroupsRequest) {
	gather(len(req.Groups), func(i int, done func(*broker.DeleteGroupResult)) {
		s.cfg.Broker.DeleteGroup(req.Groups[i], done)
	}, func(answers []*broker.DeleteGroupResult) {
		resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
		for i, a := range answers {
			g := kmsg.NewDeleteGroupsResponseGroup()
			g.Group, g.ErrorCode = req.Groups[i], int16(a.Code)
			if g.ErrorCode != codeNone {
				words := fmt.Sprintf("group %q was not deleted: %v", g.Group, a.Code)
				g.ErrorMessage = &words
			}
			resp.Groups = append(resp.Groups, g)
		}
		r.reply(resp)
	})
}
