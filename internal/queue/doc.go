// Package queue is the pure part of an AMQP queue: no raft, no goroutine, no
// lock and no clock. Whoever hosts it gives it entries, commands and the time.
//
// [Machine] is what every replica has: which messages the queue still holds.
// [Leader] is what the leading replica has beside: who consumes, and which
// messages are ready, unacked or being settled. A Leader is made from a Machine when
// a term of leadership begins and is thrown away when it ends.
//
// # The promise
//
// A message leaves the queue only by an entry that settles its offset and says
// why (a [Reason]); every reason is counted. At any time each message that is
// held is in exactly one place: ready, unacked by one subscription, being
// dead-lettered, or settled by an entry on its way. A
// message that may have been delivered before is never delivered without the
// redelivered flag.
//
// # Redelivered
//
// Deliveries are not written to the log, so after a change of leaders nobody
// knows which messages the old leader had delivered. Therefore a leader
// delivers only below the delivered watermark, which is part of the replicated
// state and runs ahead of the deliveries: publishes carry it along while there
// are consumers, and it is proposed in strides when a backlog is drained. What
// a new leader finds below the watermark counts as delivered before.
//
// # The seal
//
// A queue that its rules end, or a condition of its deletion, is sealed first. Whether it is unused,
// or empty, only its leader can say, and a leader that was replaced does not know that it was. An entry of
// it that is committed proves that nobody was leader in between; and as the seal is in the log, whoever leads
// afterwards takes no message, and sees to the deletion.
//
// # Entry payload
//
// After the record.Header (Count messages, the first one at Base) come
// sections: one byte with the kind, a uvarint with the length of the
// rest, and the rest. All integers are uvarints.
//
//	1 settle     reason, body bytes, then ranges: gap from the end of the
//	             previous range (the first: from 0), length
//	2 watermark  offset below which messages may have been delivered
//	3 messages   body bytes, flags (1: one of them has a TTL of its own), then Count
//	             messages in their stored form (record.Message)
//	4 seal       nothing: no message comes after this entry
//
// An entry without one of them leaves that part out. A settle section comes
// before the messages and speaks of offsets below Base only.
package queue
