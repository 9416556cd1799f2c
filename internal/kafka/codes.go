package kafka

import (
	"errors"

	"waybill/internal/broker"
)

// Kafka's error codes, by the names of its protocol guide.
const (
	codeNone                     int16 = 0
	codeUnknownServerError       int16 = -1
	codeOffsetOutOfRange         int16 = 1
	codeCorruptMessage           int16 = 2
	codeUnknownTopicOrPartition  int16 = 3
	codeLeaderNotAvailable       int16 = 5
	codeNotLeader                int16 = 6
	codeRequestTimedOut          int16 = 7
	codeMessageTooLarge          int16 = 10
	codeInvalidTopic             int16 = 17
	codeCoordinatorNotAvailable  int16 = 15
	codeNotEnoughReplicas        int16 = 19
	codeInvalidRequiredAcks      int16 = 21
	codeTopicAuthorizationFailed int16 = 29
	codeInvalidTimestamp         int16 = 32
	codeUnsupportedVersion       int16 = 35
	codeTopicAlreadyExists       int16 = 36
	codeInvalidPartitions        int16 = 37
	codeInvalidReplicationFactor int16 = 38
	codeInvalidReplicaAssignment int16 = 39
	codeInvalidConfig            int16 = 40
	codeInvalidRequest           int16 = 42
	codeUnsupportedForMessage    int16 = 43
	codePolicyViolation          int16 = 44
	codeInvalidTxnState          int16 = 48
	codeTransactionalIDDenied    int16 = 53
	codeKafkaStorageError        int16 = 56
	codeFetchSessionIDNotFound   int16 = 70
	codeInvalidFetchSessionEpoch int16 = 71
	codeFencedLeaderEpoch        int16 = 74
	codeUnknownLeaderEpoch       int16 = 75
	codeUnsupportedCompression   int16 = 76
	codeInvalidRecord            int16 = 87
	codeUnknownTopicID           int16 = 100
	codeUnsupportedEndpointType  int16 = 115
	codeRebootstrapRequired      int16 = 129
)

// errorCode is the Kafka error code for an error of the broker.
func errorCode(err error) int16 {
	if err == nil {
		return codeNone
	}
	var e *broker.Error
	if !errors.As(err, &e) {
		return codeUnknownServerError
	}
	if e.Code != 0 {
		return e.Code
	}
	switch e.Kind {
	case broker.NotFound:
		return codeUnknownTopicOrPartition
	case broker.Exists:
		return codeTopicAlreadyExists
	case broker.AccessRefused:
		return codeTopicAuthorizationFailed
	case broker.NotImplemented:
		return codeUnsupportedVersion
	case broker.PreconditionFailed, broker.Invalid, broker.NotAllowed:
		return codeInvalidRequest
	case broker.Unavailable:
		return codeNotLeader
	case broker.OutOfRange:
		return codeOffsetOutOfRange
	}
	return codeUnknownServerError
}

// changeCode is the Kafka error code for an error of a change of the catalog. One that the nodes
// could not agree on in time has timed out; the leader of a partition has nothing to do with it.
func changeCode(err error) int16 {
	var e *broker.Error
	if errors.As(err, &e) && e.Kind == broker.Unavailable && e.Code == 0 {
		return codeRequestTimedOut
	}
	return errorCode(err)
}

// errorText is the error message for a response: nil where there is no error.
func errorText(err error) *string {
	if err == nil {
		return nil
	}
	text := err.Error()
	return &text
}
