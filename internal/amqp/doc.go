// Package amqp serves AMQP 0-9-1, with RabbitMQ's extensions, on the verbs of
// package broker.
//
// # Promise
//
// A publisher's confirm, and tx.commit-ok, is sent only after the broker has
// said that every queue the message was routed to has it, durably where the
// queue is durable. Confirms are coalesced and sent exactly once for each
// message. declare-ok and its like are sent when the change is durable. What a
// client does on a connection sees what it did before on the same connection:
// basic.get finds the message that was just published.
//
// # The path of a message
//
// In: conn.loop reads frames; channel.publish, contentHeader and body assemble
// the message in its stored form: a small one where its body was read, and on loan from there
// (block.go). channel.complete hands it to Session.Publish. Back: channel.Published
// records the outcome in confirms, and the writer goroutine (output.run) tells
// all that is known by then.
//
// Out: consumer.Take reserves the prefetch window and room in the output,
// consumer.Deliver gives the delivery its tag and encodes its frames into the
// output, which the writer goroutine writes. Back: channel.settle finds the
// deliveries of a tag in unacked, and conn.flushSettled hands them to
// Subscription.Settle, many in one call.
//
// # Goroutines and locks
//
// Each connection has a reader goroutine, which runs all methods and waits for the broker
// where the protocol is synchronous, and a writer goroutine. Deliveries and
// outcomes come from the broker's shards, which never wait for a client.
//
//	channel.mu  guards what shards touch of a channel
//	output.mu   guards the connection's output; taken after channel.mu
//
// Neither is held while the broker is called.
//
// # Bounds
//
// Memory follows the bytes that were received, never a length that was
// declared. What is not complete, messages and transactions, is bounded for each
// connection and for all of them together (intake.go). A slow reader fills its output to Config.OutputLimit, which pauses
// its subscriptions and the reading from it; it is cut off when a write makes no progress for
// Config.WriteTimeout. Errors and their codes are in errors.go; docs/amqp.md
// lists what is served.
package amqp
