package broker

import (
	"time"

	"waybill/internal/replica"
)

// copiesWait is how long a publisher waits for copies that the leader cannot get made, because a
// majority is alive and has no room, or a disk that stalls: as long as for a leader.
const copiesWait = awayWait

// overdueError answers those who have waited so long. What was proposed may still be committed.
type overdueError struct{}

func (overdueError) Error() string {
	return "broker: the copies were not made in time; the outcome is unknown"
}

// Is reports that this is one of the ways in which an outcome is unknown.
func (overdueError) Is(target error) bool { return target == replica.ErrUnknown }

// overdue answers those whose entries were built too long ago, and returns when the next ones
// are due; zero: nobody waits.
func (q *Queue) overdue(now time.Time) time.Time {
	first := 0
	for i := range q.entries.len() {
		e := q.entries.at(i)
		if due := e.at.Add(copiesWait); now.Before(due) {
			return due
		}
		if !e.late {
			e.late = true
			q.late(first, first+e.count)
			q.endDones(e.dones, overdueError{})
			e.dones = nil
		}
		first += e.count
	}
	if q.entries.len() == 0 || q.pubs.len() == q.built {
		return time.Time{}
	}
	// What is not built came after all that is, and waits until there is room for it.
	if q.stuck.IsZero() {
		q.stuck = now
	}
	if !now.Before(q.stuck.Add(copiesWait)) {
		q.stuck = now
		q.late(q.built, q.pubs.len())
	}
	return q.stuck.Add(copiesWait)
}

// late nacks the publishes of clients. One of this queue's own kind, of a dead letter, is
// patient: it would only be sent again, and be there twice.
func (q *Queue) late(from, to int) {
	for i := from; i < to; i++ {
		p := q.pubs.at(i)
		if _, patient := p.to.(*copyOf); p.to != nil && !patient {
			answer := p.to
			p.to = nil
			answer.Published(p.tag, overdueError{})
		}
	}
}
