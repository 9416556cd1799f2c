package kafka

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) heartbeat(r *request, req *kmsg.HeartbeatRequest) {
	s.cfg.Broker.GroupHeartbeat(&broker.GroupHeartbeat{
		Group:      req.Group,
		Generation: req.Generation,
		MemberID:   req.MemberID,
		InstanceID: text(req.InstanceID),
	}, func(h *broker.GroupHeartbeatResult) {
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = int16(h.Code)
		r.reply(resp)
	})
}
