package broker

import "time"

// A queue can end because of what its leader sees: nobody uses it (x-expires,
// auto-delete, if-unused), nothing is in it (if-empty). A leader that was paused, or
// cut off, may have been replaced without having heard of it, and see neither the
// consumers nor the messages of its successor. So it takes nothing any more and proposes an entry, the
// seal. Only when that is committed, which it never is for a leader that was replaced, the
// catalog is asked for the deletion; by whoever leads then, until the deletion comes.

// delete carries out a deletion that a client asks for. The answer may come later.
func (q *Queue) delete(v *verb) {
	n := int(q.leader.Ready())
	switch {
	case v.ifUnused && q.leader.Consumers() > 0:
		v.done(0, errorf(PreconditionFailed, "%s in use", q))
	case v.ifEmpty && (n > 0 || q.leader.Dying() > 0 || q.built > 0): // what is on its way would be confirmed before the seal
		v.done(0, errorf(PreconditionFailed, "%s not empty", q))
	case !v.ifUnused && !v.ifEmpty: // what its successor has must go, too; and it may have lost its majority
		q.sealed, q.decided = true, true
		v.done(n, nil)
	default:
		q.seal()
		q.afterSettled(func(err error) {
			switch {
			case err == nil:
				v.done(n, nil)
			case q.state == leading:
				v.done(0, unavailable(v.doing, err))
			default: // who leads now decides; or finds the seal, and has the queue deleted
				q.command(&command{kind: cmdVerb, verb: v})
			}
		})
	}
}

// seal has the queue take nothing any more, and be deleted when that is committed.
func (q *Queue) seal() { q.sealed, q.sealing = true, true }

// retire seals a queue that nobody has used for the time of x-expires, or
// whose last consumer is gone; and has one that is sealed deleted.
func (q *Queue) retire(now time.Time) {
	q.decided = q.decided || q.machine.Sealed()
	switch {
	case q.decided && now.Sub(q.sent) >= sendTimeout: // never, or the catalog had no leader for so long
		q.sent = now
		q.expire()
	case q.sealed || q.leader.Consumers() > 0:
	case q.config.Expires > 0 && !now.Before(q.expiry()):
		q.seal()
	case q.orphaned && !now.Before(q.rejoin):
		q.seal()
	}
}

// expiry is when x-expires ends the queue, if nobody uses it until then.
func (q *Queue) expiry() time.Time {
	at := q.used.Add(q.config.Expires)
	if at.Before(q.rejoin) {
		return q.rejoin
	}
	return at
}

// ends is the next time at which the queue may end by its rules, or its deletion is asked for once more.
func (q *Queue) ends() time.Time {
	switch {
	case q.decided:
		return q.sent.Add(sendTimeout)
	case q.sealed || q.leader.Consumers() > 0:
	case q.orphaned:
		return q.rejoin
	case q.config.Expires > 0:
		return q.expiry()
	}
	return time.Time{}
}
