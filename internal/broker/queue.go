package broker

import (
	"context"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// Queue hosts one queue. (To be filled in by the queues engineer; the lead's
// code calls exactly these.)
type Queue struct {
	vhost *vhost
	spec  catalog.Queue // immutable
}

// newQueue is called on the catalog's shard. A replicated queue opens its
// group with q.vhost.b.openGroup(what, spec.Log, q) and starts it; when that fails the queue is offline:
// every verb answers Unavailable with the reason.
func newQueue(v *vhost, spec catalog.Queue, args record.Table) *Queue { panic("broker") }

// remove: the catalog has deleted the queue. Called on the catalog's shard. For a replicated one:
// q.vhost.b.host.Remove(log), which calls Follow(ErrRemoved).
func (q *Queue) remove() { panic("broker") }

// publish must call q.vhost.b.budget.release(len(stored)) once the message is applied or given up.
func (q *Queue) publish(stored []byte, to Publisher, tag uint64) { panic("broker") }

func (q *Queue) status(ctx context.Context) (QueueStatus, error) { panic("broker") }
func (q *Queue) purge(ctx context.Context) (int, error)          { panic("broker") }

// prepareDelete checks the conditions on the shard; after nil the queue takes
// no publishes (they are refused) or consumers any more. Returns the number of ready messages.
func (q *Queue) prepareDelete(ctx context.Context, ifUnused, ifEmpty bool) (int, error) {
	panic("broker")
}

func (q *Queue) subscribe(ctx context.Context, o SubscribeOptions, sink Sink, opened func(*Subscription)) (*Subscription, error) {
	panic("broker")
}

// checkQueueArgs checks the arguments of a declaration.
func checkQueueArgs(queue, vhost string, args record.Table) error { panic("broker") }
