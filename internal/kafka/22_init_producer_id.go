package kafka

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// initProducerID hands out a new producer id. An idempotent producer that asks
// again, with its old one, gets a new one too: only transactions need the old.
func (s *Server) initProducerID(r *request, in *kmsg.InitProducerIDRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.InitProducerIDResponse)
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	if in.TransactionalID != nil {
		resp.ErrorCode = codeTransactionalIDDenied
		r.conn.log.Warn("kafka: transactions are not served yet: produce without a transactional id", "transactional_id", *in.TransactionalID)
		if *in.TransactionalID == "" {
			resp.ErrorCode = codeInvalidRequest
		}
		return resp
	}
	ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
	defer cancel()
	id, err := s.cfg.Broker.NewProducerID(ctx)
	if err != nil {
		r.conn.log.Warn("kafka: no producer id can be handed out", "err", err)
		resp.ErrorCode = codeCoordinatorNotAvailable
		return resp
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return resp
}
