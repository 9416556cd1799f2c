package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) leaveGroup(r *request, req *kmsg.LeaveGroupRequest) {
	leave := &broker.LeaveGroup{Group: req.Group}
	for _, m := range req.Members {
		leave.Members = append(leave.Members, broker.LeaveGroupMember{ID: m.MemberID, InstanceID: text(m.InstanceID)})
	}
	if r.version < 3 {
		leave.Members = []broker.LeaveGroupMember{{ID: req.MemberID}}
	}
	s.cfg.Broker.LeaveGroup(leave, func(l *broker.LeaveGroupResult) {
		resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
		resp.ErrorCode = int16(l.Code)
		for i, code := range l.Members {
			if r.version < 3 {
				resp.ErrorCode = int16(code)
				break
			}
			m := kmsg.NewLeaveGroupResponseMember()
			m.MemberID, m.InstanceID = leave.Members[i].ID, nullable(leave.Members[i].InstanceID)
			m.ErrorCode = int16(code)
			resp.Members = append(resp.Members, m)
		}
		r.reply(resp)
	})
}
