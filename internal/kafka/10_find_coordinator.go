package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// The types of coordinators that clients look for.
const (
	coordinatorGroup       = 0
	coordinatorTransaction = 1
	coordinatorShare       = 2
)

func (s *Server) findCoordinator(r *request, req *kmsg.FindCoordinatorRequest) kmsg.Response {
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	host, port := s.advertised(r.conn)
	code, message := coordinatorError(req.CoordinatorType)
	node := s.cfg.NodeID
	if code != codeNone {
		node, host, port = -1, "", -1
	}
	if r.version < 4 {
		resp.ErrorCode, resp.ErrorMessage = code, message
		resp.NodeID, resp.Host, resp.Port = node, host, port
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		c := kmsg.NewFindCoordinatorResponseCoordinator()
		c.Key = key
		c.ErrorCode, c.ErrorMessage = code, message
		c.NodeID, c.Host, c.Port = node, host, port
		resp.Coordinators = append(resp.Coordinators, c)
	}
	return resp
}

// coordinatorError says why there is no coordinator of that type. The codes are
// ones that clients do not try again on.
func coordinatorError(kind int8) (code int16, message *string) {
	var words string
	switch kind {
	case coordinatorGroup:
		return codeNone, nil
	case coordinatorTransaction:
		code, words = codeTransactionalIDDenied, "transactions are not served: produce without a transactional id"
	case coordinatorShare:
		code, words = codeInvalidRequest, "share groups are not served: use a consumer group"
	default:
		code, words = codeInvalidRequest, "unknown coordinator type: use 0 for a consumer group"
	}
	return code, &words
}
