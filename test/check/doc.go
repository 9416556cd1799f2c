// Package check tells from what clients saw whether a broker kept its promise.
//
// A test records what its clients do, while they do it: every attempt, every
// acknowledgement, every refusal, everything received. When the faults are
// over and all is drained, Report compares:
//
//	acked − received − discarded = ∅      else lost
//	received − attempted         = ∅      else unexpected
//	received ∩ refused           = ∅      else unexpected
//
// [Queue] does so for AMQP queues, [Kafka] for topics, where there is more to
// tell because of the offsets, and [Commits] for the committed offsets of
// consumer groups. The kinds of anomalies, and many of their names, are those
// of Jepsen's analyses of queues and Kafka.
//
// Whatever is sent must be a [Value] that was never sent before. An attempt
// that is neither acked nor refused may have happened or not; both are right.
//
// The checkers are safe for concurrent use, and cost tens of bytes for a message.
package check
