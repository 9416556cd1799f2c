package broker

import (
	"errors"
	"fmt"

	"waybill/internal/record"
	"waybill/internal/topic"
)

// Kafka error codes of appends.
const (
	codeCorruptMessage          = 2
	codeUnknownTopicOrPartition = 3
	codeNotLeader               = 6
	codeRequestTimedOut         = 7
	codeMessageTooLarge         = 10
	codeNotEnoughReplicas       = 19

	codeNotEnoughReplicasAfterAppend = 20
	codeInvalidTimestamp             = 32
	codeInvalidConfig                = 40
	codeUnsupportedForMessage        = 43
	codeOutOfOrderSequence           = 45
	codeInvalidProducerEpoch         = 47
	codeInvalidTxnState              = 48
	codeKafkaStorageError            = 56
	codeUnknownProducerID            = 59
	codeUnsupportedCompression       = 76
	codeInvalidRecord                = 87
)

// checkBatch checks all of a batch that does not depend on what is in the log.
func (p *Partition) checkBatch(bytes []byte) (record.Batch, error) {
	cfg := p.config.Load()
	if len(bytes) > cfg.MaxMessageBytes {
		return nil, invalid(codeMessageTooLarge, "a batch of %d bytes; max.message.bytes of topic '%s' is %d", len(bytes), p.topic, cfg.MaxMessageBytes)
	}
	b, err := record.ParseBatch(bytes)
	switch {
	case errors.Is(err, record.ErrBatchMagic):
		return nil, invalid(codeUnsupportedForMessage, "%v; only record batches of magic 2 are accepted", err)
	case errors.Is(err, record.ErrBatchCRC):
		return nil, invalid(codeCorruptMessage, "%v", err) // damaged on its way: the client sends it again
	case err != nil:
		return nil, invalid(codeInvalidRecord, "%v", err)
	case b.IsControl() || b.HasUnknownAttributes():
		return nil, invalid(codeInvalidRecord, "a batch with attributes %#x: they are the broker's own", b.Attributes())
	case b.IsTransactional():
		return nil, invalid(codeInvalidTxnState, "transactions are not implemented yet")
	case b.ProducerID() >= 0 && b.ProducerEpoch() < 0:
		return nil, invalid(codeInvalidProducerEpoch, "producer %d sent no epoch", b.ProducerID())
	case b.ProducerID() >= 0 && b.BaseSequence() < 0:
		return nil, invalid(codeInvalidRecord, "producer %d sent no sequence", b.ProducerID())
	case b.IsLogAppendTime():
		return nil, invalid(codeInvalidTimestamp, "a producer must not set the timestamp type LogAppendTime")
	}
	s, err := b.Survey()
	switch {
	case errors.Is(err, record.ErrCodec):
		return nil, invalid(codeUnsupportedCompression, "%v", err)
	case errors.Is(err, record.ErrBomb):
		return nil, invalid(codeMessageTooLarge, "%v", err)
	case err != nil:
		return nil, invalid(codeInvalidRecord, "%v", err)
	}
	if cfg.LogAppendTime {
		return b, nil
	}
	if s.MaxTimestamp != b.MaxTimestamp() {
		// Some producers do not keep it right; lookups by time rely on it.
		b.SetMaxTimestamp(s.MaxTimestamp)
	}
	return b, checkTimes(s, p.nowMs(), cfg)
}

// checkTimes holds timestamps against the topic's bounds. -1 is no timestamp.
func checkTimes(s record.Survey, now int64, cfg *topic.Config) error {
	if s.MinTimestamp >= 0 && now-s.MinTimestamp > cfg.TimestampBefore {
		return invalid(codeInvalidTimestamp, "timestamp %d is more than message.timestamp.before.max.ms = %d before now", s.MinTimestamp, cfg.TimestampBefore)
	}
	if s.MaxTimestamp >= 0 && s.MaxTimestamp-now > cfg.TimestampAfter {
		return invalid(codeInvalidTimestamp, "timestamp %d is more than message.timestamp.after.max.ms = %d after now", s.MaxTimestamp, cfg.TimestampAfter)
	}
	return nil
}

func invalid(code int16, format string, args ...any) *Error {
	return &Error{Kind: Invalid, Code: code, Text: fmt.Sprintf(format, args...)}
}
