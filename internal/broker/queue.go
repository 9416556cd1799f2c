package broker

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
)

// Queue hosts one queue. Its machine and its leader are pure (package queue);
// it gives them a raft group or, where the queue is not replicated, a place in memory.
//
// # Threads
//
// Everything that changes the queue happens on its shard: the group's shard, or
// the memory group's loop. Others put a command into the inbox, whose lock is a
// leaf, and post a wake event when it was empty. So a burst of publishes or
// settles is one event for the shard and needs no allocation of its own.
type Queue struct {
	vhost  *vhost
	spec   catalog.Queue // immutable
	args   record.Table  // immutable
	config queue.Config  // of args
	group  queueGroup    // nil when offline; changed by the shard under mu, see driver
	// offline is why the queue's log cannot be served; immutable.
	offline error

	deleted atomic.Bool // the catalog has deleted the queue

	mu    sync.Mutex // guards inbox and urged
	inbox []command  // not empty: a wake event is on its way
	urged bool       // it is one that does not wait

	depth depth

	// Owned by the shard.
	state   queueState
	reason  error // why it does not lead: state following
	machine queue.Machine
	leader  *queue.Leader // state leading
	source  source
	taken   []command // the previous inbox's array, to be used again
	held    []command // state starting
	pubs    fifo[publish]
	pending int64 // bytes of the bodies in pubs
	built   int   // how many of pubs are in built entries
	hoard   int   // bytes of the other ones

	refusing bool // the next publish shares its entry with one that was refused
	entries  fifo[builtEntry]
	waits    fifo[wait]
	spans    []storage.Span  // what of the entry built last other queues have, too
	dones    []func(error)   // called when what is settled now is applied
	subs     []*Subscription // not closed
	far      *away           // not led here, and something was asked of it
	graves   burials
	sums     sums

	fresh    record.Offset // the first message of the entry that is being applied
	gathered time.Time     // since when settled messages wait for an entry
	due      bool          // they have waited long enough
	sealed   bool          // it is to be deleted: nothing is taken or admitted any more
	sealing  bool          // the seal waits for its entry
	decided  bool          // the catalog is asked to delete it
	sent     time.Time     // when it was last
	rejoin   time.Time     // until then consumers of the last leader may come back
	orphaned bool          // the last consumer of an auto-delete queue left before rejoin
	used     time.Time     // the last time that counts for x-expires
	alarm    time.Time     // what the group's timer is set to
	stuck    time.Time     // since when publishes cannot be built, as too much is built and not committed
	scratch  []byte
}

type queueState uint8

const (
	starting  queueState = iota // commands are held until Lead
	leading                     //
	following                   // commands go to the leader's node or, on a single one, fail with Queue.reason
	shut                        // the host is closed; commands fail with Queue.reason
	removed                     // the queue was deleted
)

// queueGroup is what drives a queue, and where its messages are: a raft group,
// or a memoryGroup.
type queueGroup interface {
	Post(event any) bool
	SetTimer(t time.Time)
	// readFrom is storage.Log.ReadFrom, with the data of the entries.
	readFrom(off, end record.Offset, maxBytes int, disk bool) ([][]byte, error)
	remove()
}

// restingGroup is a queueGroup that has what may wait share a sync: see
// replica.Group.
type restingGroup interface {
	PostLazily(event any) bool
	Stir()
}

// depth is what others may see of a queue at any time.
type depth struct {
	ready, unacked, bytes, consumers atomic.Int64
}

// newQueue makes a queue that the catalog names. It is called on the catalog's
// shard. A replicated queue whose log cannot be read is offline: every verb
// answers Unavailable with the reason.
func newQueue(v *vhost, spec catalog.Queue, args record.Table) *Queue {
	config, err := queue.ParseConfig(args)
	if err != nil {
		panic(fmt.Sprintf("broker: arguments of queue '%s' in the catalog: %v", spec.Name, err)) // checked when it was declared
	}
	q := &Queue{vhost: v, spec: spec, args: args, config: config, fresh: noOffset}
	q.source.init(q)
	if q.forwards() && !spec.Replicated() && spec.Node != v.b.NodeID() {
		q.group = &loopGroup{queue: q}
		return q
	}
	if !spec.Replicated() {
		g := newMemoryGroup(q, v.b.cfg.Now)
		q.group = g
		g.Post(lead{})
		return q
	}
	g, err := v.b.openGroup(q.String(), spec.Log, q)
	switch {
	case err == nil:
		q.group = raftGroup{g, v.b.host}
		g.Start()
	case q.forwards() && v.b.elsewhere(spec.Log):
		q.group = &loopGroup{queue: q}
	default:
		q.offline = err
	}
	return q
}

// raftGroup makes a replica.Group a queueGroup.
type raftGroup struct {
	*replica.Group
	host *replica.Host
}

func (g raftGroup) readFrom(off, end record.Offset, maxBytes int, disk bool) ([][]byte, error) {
	entries, err := g.Log().ReadFrom(off, end, maxBytes, disk)
	if err != nil || len(entries) == 0 {
		return nil, err
	}
	data := make([][]byte, len(entries))
	for i, e := range entries {
		data[i] = e.GetData()
	}
	return data, nil
}

func (g raftGroup) remove() { g.host.Remove(g.ID()) }

// String names the queue in messages.
func (q *Queue) String() string {
	return fmt.Sprintf("queue '%s' in vhost '%s'", q.spec.Name, q.vhost.name)
}

// checkQueueArgs checks the arguments of a declaration.
func checkQueueArgs(name, vhost string, args record.Table) error {
	_, err := queue.ParseConfig(args)
	var e *queue.ArgError
	if errors.As(err, &e) {
		return errorf(PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s': %s", e.Key, name, vhost, e.Problem)
	}
	return err
}

// remove: the catalog has deleted the queue. Called on the catalog's shard.
func (q *Queue) remove() {
	q.deleted.Store(true)
	g := q.driver()
	if g == nil {
		q.vhost.b.host.Remove(q.spec.Log)
		return
	}
	g.remove()
	g.Post(depart{replica.ErrRemoved}) // for one whose replica has left before
}

// move: a replica of the queue comes to this node, or has left it. Called on
// the catalog's shard.
func (q *Queue) move(here bool) {
	switch g := q.driver(); {
	case g == nil:
		// Held offline, and nothing was deleted: the operator decides.
	case here:
		g.Post(arrive{})
	default:
		g.remove()
		if _, ok := g.(*loopGroup); ok { // there may be a copy that could not be opened
			q.vhost.b.host.Remove(q.spec.Log)
		}
	}
}
