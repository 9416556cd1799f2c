// Package bench loads a broker, any broker, and measures what it does: rate,
// confirm latency, end-to-end latency, and what a message costs it.
//
//	target, err := bench.NewAMQP(load, bench.AMQP{URL: "amqp://guest:guest@127.0.0.1:5672/"})
//	result, err := bench.Run(ctx, load, target, os.Stderr)
//
// # What is measured
//
// A message carries, in the first eight bytes of its body, the time at which it was to
// be sent (nanoseconds since the Unix epoch, big endian). The confirm latency is
// from that time until the broker's acknowledgement has been read, the end-to-end
// latency until a consumer has read the message. Without a rate the time is that of the
// write: the loop is closed, a window of unconfirmed messages per producer. At
// a fixed rate it is the time of the schedule, whether or not the producer could keep it: a
// broker that stalls for a second is charged for every message that the
// stall delayed (no "coordinated omission").
//
// Rates count what was acknowledged, or read, between the end of the warm-up
// and the end of the duration. Latencies count every message sent in that time, those
// included that are answered after it.
//
// # How it is kept light
//
// The clients are lean: a producer writes preassembled messages, as many as the window
// lets go, with one write, and reads confirms in place; a consumer reads
// deliveries in place and acknowledges with one write per read. Nothing is allocated per
// message. The clients of the ecosystem (Stock) go through the same
// windows and recorders. The benchmarks of this package measure both against
// a server that does nothing.
//
// # Structure
//
// A [Target] speaks a protocol and makes producers and consumers. Each producer
// takes the right to send from its source (window, schedule, number of messages left) and
// gives it back with the latencies when the broker has answered; each
// consumer reports to a sink. [Run] takes the target through its phases.
package bench
