package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Kind is a kind of anomaly.
type Kind string

// What can be wrong with a queue or a topic.
const (
	Lost       Kind = "lost"       // acked, and gone
	Unexpected Kind = "unexpected" // received, but never attempted, or refused
	Duplicated Kind = "duplicated" // received again unmarked (queue); one value at two offsets (topic)
	Malformed  Kind = "malformed"  // what was received is no value
)

// What can be wrong with a topic.
const (
	Unseen            Kind = "unseen"             // acked at an offset that the final drain does not reach
	Misplaced         Kind = "misplaced"          // found at another offset than the acked one
	Inconsistent      Kind = "inconsistent"       // one offset, two values
	SharedAck         Kind = "shared-ack"         // two acks with one offset
	Gap               Kind = "gap"                // the final drain skips an offset
	NonmonotonicSend  Kind = "nonmonotonic-send"  // a producer's later send has a lower offset
	NonmonotonicPoll  Kind = "nonmonotonic-poll"  // a consumer goes back without a reassignment
	InternalPollSkip  Kind = "int-poll-skip"      // one poll skips a record that exists
	PollSkip          Kind = "poll-skip"          // so do two polls, without a reassignment
	BackInTime        Kind = "back-in-time"       // a write got an offset at or below one known before it began
	CommitLost        Kind = "commit-lost"        // an answered commit went back
	CommitUnexpected  Kind = "commit-unexpected"  // a committed offset that nobody committed
	RedeliveredSettle Kind = "redelivered-settle" // delivered again after its ack was confirmed durable
)

// examples is how many anomalies of a kind are kept word for word.
const examples = 8

// Report is the result of a check.
type Report struct {
	Attempted  int // values that were sent
	Acked      int
	Refused    int // definitely not done
	Received   int // different values
	Recovered  int // received without an ack: unknown, and done
	Duplicates int // receptions (queue) or offsets (topic) beyond the first of a value, legal or not
	Discarded  int // acked, and dropped as the client allowed

	counts map[Kind]int
	texts  map[Kind][]string
}

func (r *Report) add(k Kind, format string, args ...any) { r.addN(k, 1, format, args...) }

func (r *Report) addN(k Kind, n int, format string, args ...any) {
	if r.counts == nil {
		r.counts, r.texts = make(map[Kind]int), make(map[Kind][]string)
	}
	r.counts[k] += n
	if len(r.texts[k]) < examples {
		r.texts[k] = append(r.texts[k], fmt.Sprintf(format, args...))
	}
}

// clone copies r, so that anomalies can be added without changing it.
func (r *Report) clone() *Report {
	c := *r
	c.counts, c.texts = make(map[Kind]int), make(map[Kind][]string)
	for k, n := range r.counts {
		c.counts[k], c.texts[k] = n, slices.Clone(r.texts[k])
	}
	return &c
}

// Count returns the number of anomalies of that kind.
func (r *Report) Count(k Kind) int { return r.counts[k] }

// Err returns nil when there is no anomaly but of the kinds in allowed, and
// else all that is to be said about it.
func (r *Report) Err(allowed ...Kind) error {
	for k := range r.counts {
		if !slices.Contains(allowed, k) {
			return errors.New(r.String())
		}
	}
	return nil
}

// String tells the figures in a line, and below them every kind of anomaly with examples.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "attempted %d, acked %d, refused %d, received %d, recovered %d, duplicates %d, discarded %d",
		r.Attempted, r.Acked, r.Refused, r.Received, r.Recovered, r.Duplicates, r.Discarded)
	if len(r.counts) == 0 {
		b.WriteString(": no anomalies")
	}
	kinds := make([]Kind, 0, len(r.counts))
	for k := range r.counts {
		kinds = append(kinds, k)
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		fmt.Fprintf(&b, "\n%s: %d", k, r.counts[k])
		for _, text := range r.texts[k] {
			fmt.Fprintf(&b, "\n    %s", text)
		}
		if len(r.texts[k]) == examples {
			b.WriteString("\n    and so on")
		}
	}
	return b.String()
}
