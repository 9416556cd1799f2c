package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) syncGroup(r *request, req *kmsg.SyncGroupRequest) {
	sync := &broker.SyncGroup{
		Group:        req.Group,
		Generation:   req.Generation,
		MemberID:     req.MemberID,
		InstanceID:   text(req.InstanceID),
		ProtocolType: text(req.ProtocolType),
		Protocol:     text(req.Protocol),
	}
	for _, a := range req.GroupAssignment {
		sync.Assignments = append(sync.Assignments, broker.GroupAssignment{MemberID: a.MemberID, Data: a.MemberAssignment})
	}
	gone := req.ResponseKind().(*kmsg.SyncGroupResponse)
	gone.ErrorCode = codeNotCoordinator
	reply := untilGone(r, gone)
	s.cfg.Broker.SyncGroup(sync, func(a *broker.SyncGroupResult) {
		resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
		resp.ErrorCode = int16(a.Code)
		resp.ProtocolType, resp.Protocol = nullable(a.ProtocolType), nullable(a.Protocol)
		resp.MemberAssignment = a.Assignment
		reply(resp)
	})
}
