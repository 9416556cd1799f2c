package kafka

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/broker"
)

func (s *Server) joinGroup(r *request, req *kmsg.JoinGroupRequest) {
	join := &broker.JoinGroup{
		Group:             req.Group,
		MemberID:          req.MemberID,
		InstanceID:        text(req.InstanceID),
		ClientID:          r.clientID,
		ClientHost:        clientHost(r),
		SessionTimeout:    time.Duration(req.SessionTimeoutMillis) * time.Millisecond,
		RebalanceTimeout:  time.Duration(req.RebalanceTimeoutMillis) * time.Millisecond,
		ProtocolType:      req.ProtocolType,
		NeedsMemberID:     r.version >= 4,
		CanSkipAssignment: r.version >= 9,
	}
	if join.MemberID == "" {
		name := r.clientID
		if join.InstanceID != "" {
			name = join.InstanceID
		}
		join.NewMemberID = newMemberID(name)
	}
	for _, p := range req.Protocols {
		join.Protocols = append(join.Protocols, broker.GroupProtocol{Name: p.Name, Metadata: p.Metadata})
	}
	gone := req.ResponseKind().(*kmsg.JoinGroupResponse)
	gone.ErrorCode, gone.Generation, gone.MemberID = codeNotCoordinator, -1, req.MemberID
	reply := untilGone(r, gone)
	s.cfg.Broker.JoinGroup(join, func(j *broker.JoinGroupResult) {
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode, resp.Generation = int16(j.Code), j.Generation
		resp.ProtocolType, resp.Protocol = nullable(j.ProtocolType), nullable(j.Protocol)
		resp.LeaderID, resp.MemberID, resp.SkipAssignment = j.Leader, j.MemberID, j.SkipAssignment
		for _, m := range j.Members {
			rm := kmsg.NewJoinGroupResponseMember()
			rm.MemberID, rm.InstanceID, rm.ProtocolMetadata = m.ID, nullable(m.InstanceID), m.Metadata
			resp.Members = append(resp.Members, rm)
		}
		reply(resp)
	})
}
