package topic

import "fmt"

// Reason classifies an [Error].
type Reason uint8

const (
	OutOfOrder      Reason = iota // the sequence leaves a gap, or goes back beyond what is remembered
	StaleEpoch                    // a newer instance of the producer has written
	UnknownProducer               // nothing is remembered of the producer, and this is not its first batch
	TooLarge                      // larger than max.message.bytes
	BadTimestamp                  // outside of message.timestamp.before/after.max.ms
	BadConfig                     // a config that does not exist, or a value that it cannot have
	BeyondEnd                     // an offset above the high watermark
)

// Error is the refusal of a batch or of a config, in words for the client.
type Error struct {
	Reason Reason
	Text   string
}

func (e *Error) Error() string { return e.Text }

func refuse(r Reason, format string, args ...any) *Error {
	return &Error{Reason: r, Text: fmt.Sprintf(format, args...)}
}
