package broker

import "fmt"

// Kind classifies an [Error] so that each protocol can map it to its own code.
type Kind uint8

const (
	Internal           Kind = iota // a fault of this node                  (AMQP 541, Kafka -1)
	NotFound                       // no such queue, exchange, topic, …     (404, 3)
	Exists                         // already there                         (406, 36)
	AccessRefused                  // not permitted, reserved name          (403, 29)
	PreconditionFailed             // in use, not empty, other arguments    (406, 42)
	ResourceLocked                 // exclusive to another connection       (405)
	NotAllowed                     //                                       (530)
	NotImplemented                 //                                       (540, 35)
	Invalid                        // malformed argument                    (406, 42)
	Unavailable                    // cannot be done now, try again         (506, 5/7/19)
	OutOfRange                     // offset outside of the log             (Kafka 1)
)

// Error is a client's mistake or a refusal, in words for the client.
type Error struct {
	Kind Kind
	Text string // tells what is wrong and what to do
	Code int16  // the Kafka error code where Kind does not say it; else 0
}

func (e *Error) Error() string { return e.Text }

func errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}
