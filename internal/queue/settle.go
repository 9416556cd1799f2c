package queue

import "waybill/internal/record"

// Accept removes messages that s holds.
func (l *Leader) Accept(s *Sub, offsets []record.Offset) {
	for _, off := range offsets {
		if bytes, ok := l.release(s, off); ok {
			l.settle(off, bytes, Accepted)
		}
	}
}

// Discard dead-letters or drops messages that s holds.
func (l *Leader) Discard(s *Sub, offsets []record.Offset) {
	for _, off := range offsets {
		if bytes, ok := l.release(s, off); ok {
			l.discard(off, bytes, Discarded)
		}
	}
}

// Requeue puts messages that s holds back to where they were.
func (l *Leader) Requeue(s *Sub, offsets []record.Offset) {
	for _, off := range offsets {
		if bytes, ok := l.release(s, off); ok {
			l.requeue(off, bytes)
		}
	}
}

// Return puts messages back that were handed to s and did not reach the client:
// they do not count as delivered.
func (l *Leader) Return(s *Sub, offsets []record.Offset) {
	for _, off := range offsets {
		if bytes, ok := l.release(s, off); ok {
			l.ready.Add(off, off+1)
			l.readyBytes += int64(bytes)
		}
	}
}

// Recover puts back everything that s holds.
func (l *Leader) Recover(s *Sub) {
	s.unacked.drain(func(off record.Offset, bytes int) {
		l.unacked--
		l.requeue(off, bytes)
	})
}

// Purge removes all ready messages and returns their number.
func (l *Leader) Purge() int64 {
	n := l.ready.Count()
	if n == 0 {
		return 0
	}
	g := &l.settled[Purged]
	for from, to := range l.ready.Ranges {
		g.offsets.Add(from, to)
		l.again.Remove(from, to)
	}
	g.bytes += l.readyBytes
	l.gathered += n
	l.ready.Reset()
	l.readyBytes = 0
	return n
}

// Graves hands over the messages that are to be dead-lettered, in the order in
// which they died, and forgets them. Each must come back by Buried.
func (l *Leader) Graves() []Grave {
	g := l.graves
	l.graves = nil
	l.buried += int64(len(g))
	return g
}

// Buried settles a message that was dead-lettered.
func (l *Leader) Buried(g Grave) {
	l.buried--
	l.settle(g.Offset, g.Bytes, g.Reason)
}

// Dying is the number of messages that are being dead-lettered.
func (l *Leader) Dying() int64 { return l.buried + int64(len(l.graves)) }

// release takes a message from s. What s does not hold is ignored and
// counted: a settle can cross the end of its subscription.
func (l *Leader) release(s *Sub, off record.Offset) (bytes int, ok bool) {
	if bytes, ok = s.unacked.take(off); !ok {
		l.counters.Unknown++
		return 0, false
	}
	l.unacked--
	return bytes, true
}

// settle gathers a message, which is in no place any more, for the next entry.
func (l *Leader) settle(off record.Offset, bytes int, why Reason) {
	if l.again.Count() > 0 {
		l.again.Remove(off, off+1)
	}
	g := &l.settled[why]
	g.offsets.Add(off, off+1)
	g.bytes += int64(bytes)
	l.gathered++
}

// discard settles a message, or lets the host dead-letter it first.
func (l *Leader) discard(off record.Offset, bytes int, why Reason) {
	if l.config.DeadLetter {
		l.graves = append(l.graves, Grave{Offset: off, Bytes: bytes, Reason: why})
		return
	}
	l.settle(off, bytes, why)
}

func (l *Leader) requeue(off record.Offset, bytes int) {
	l.counters.Requeued++
	l.ready.Add(off, off+1)
	l.readyBytes += int64(bytes)
	l.again.Add(off, off+1)
}
