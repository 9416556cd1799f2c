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
	if r.version < 4 {
		c := s.coordinator(r, req.CoordinatorType, req.CoordinatorKey)
		resp.ErrorCode, resp.ErrorMessage = c.ErrorCode, c.ErrorMessage
		resp.NodeID, resp.Host, resp.Port = c.NodeID, c.Host, c.Port
		return resp
	}
	for _, key := range req.CoordinatorKeys {
		resp.Coordinators = append(resp.Coordinators, s.coordinator(r, req.CoordinatorType, key))
	}
	return resp
}

// coordinator finds who coordinates one key.
func (s *Server) coordinator(r *request, kind int8, key string) kmsg.FindCoordinatorResponseCoordinator {
	c := kmsg.NewFindCoordinatorResponseCoordinator()
	c.Key, c.NodeID, c.Port = key, -1, -1
	if c.ErrorCode, c.ErrorMessage = coordinatorError(kind); c.ErrorCode != codeNone {
		return c
	}
	id, ok := s.cfg.Broker.CoordinatorOf(key)
	n, reachable := s.node(r.conn, id)
	if !ok || !reachable {
		words := "the coordinator is being elected"
		c.ErrorCode, c.ErrorMessage = codeCoordinatorNotAvailable, &words
		return c
	}
	c.NodeID, c.Host, c.Port = n.id, n.host, n.port
	return c
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
