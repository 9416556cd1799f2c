package broker

import (
	"errors"
	"time"
)

// A queue can end because of what its leader sees: nobody uses it (x-expires,
// auto-delete, if-unused), nothing is in it (if-empty). A leader that was paused, or
// cut off, may have been replaced without having heard of it, and see neither the
// consumers nor the messages of its successor. So it seals the queue, which
// keeps everything waiting, makes certain that it leads, and only then asks the
// catalog for the deletion.

// doubtFor is how long a queue that should have ended, and could not be certain of it, goes on.
const doubtFor = 10 * time.Second

// certain calls then when it is known that this node has led the queue all the time until
// now, with errMoved when it has not, and with another error when nobody can
// say; on the shard, perhaps at once.
func (q *Queue) certain(then func(err error)) {
	g, ok := q.group.(electedGroup)
	if !ok {
		then(nil) // in memory there is no other leader
		return
	}
	leader := q.leader
	g.Read(func(err error) {
		if q.leader != leader {
			err = errMoved
		}
		then(err)
	})
}

// seal decides about a deletion that a client asks for. The answer may come later.
func (q *Queue) seal(v *verb) {
	n := int(q.leader.Ready())
	switch {
	case v.ifUnused && q.leader.Consumers() > 0:
		v.done(0, errorf(PreconditionFailed, "%s in use", q))
		return
	case v.ifEmpty && n > 0:
		v.done(0, errorf(PreconditionFailed, "%s not empty", q))
		return
	}
	decide := func() {
		q.decide()
		v.decided()
		v.done(n, nil)
	}
	q.sealed, q.sent = true, q.vhost.b.cfg.Now()
	if !v.ifUnused && !v.ifEmpty {
		decide()
		return
	}
	q.certain(func(err error) {
		switch {
		case err == nil:
			decide()
		case errors.Is(err, errMoved):
			q.post(command{kind: cmdVerb, verb: v}) // who leads now decides
		default:
			v.done(0, unavailable(v.doing, err))
			q.unseal()
		}
	})
}

// end has the queue deleted by its rules, or asks for a deletion once more.
func (q *Queue) end(now time.Time) {
	q.sealed, q.sent = true, now
	q.certain(func(err error) {
		switch {
		case err == nil:
			q.decide()
			q.expire()
		case !errors.Is(err, errMoved) && !q.decided:
			q.unseal()
		}
	})
}

// decide makes the end final. It is asked for again as long as it does not come.
func (q *Queue) decide() {
	q.decided = true
	q.note(q.vhost.b.cfg.Now())
}

// unseal goes on with a queue of which the end is not decided after all.
func (q *Queue) unseal() {
	q.sealed = false
	q.doubt = q.vhost.b.cfg.Now().Add(doubtFor)
	q.group.Post(wake{}) // a host that is closed does not go on
}

// retire deletes a queue that nobody has used for the time of x-expires, or
// whose last consumer is gone.
func (q *Queue) retire(now time.Time) {
	switch {
	case q.decided && now.Sub(q.sent) >= sendTimeout:
		q.end(now) // the catalog had no leader for so long
	case q.sealed || q.leader.Consumers() > 0 || now.Before(q.doubt):
	case q.config.Expires > 0 && !now.Before(q.expiry()):
		q.end(now)
	case q.orphaned && !now.Before(q.rejoin):
		q.end(now)
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

// ends is the next time at which the queue may end by its rules.
func (q *Queue) ends() (at time.Time) {
	switch {
	case q.decided:
		return q.sent.Add(sendTimeout)
	case q.sealed || q.leader.Consumers() > 0:
		return at
	case q.orphaned:
		at = q.rejoin
	case q.config.Expires > 0:
		at = q.expiry()
	default:
		return at
	}
	if at.Before(q.doubt) {
		return q.doubt
	}
	return at
}
