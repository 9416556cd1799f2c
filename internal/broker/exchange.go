package broker

import (
	"slices"
	"sync/atomic"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// exchange routes messages by its bindings. spec is immutable; table is
// replaced by the directory.
type exchange struct {
	vhost     *vhost
	spec      catalog.Exchange
	args      record.Table
	alternate string // the alternate exchange's name, "" for none
	table     atomic.Pointer[bindingTable]
}

func newExchange(v *vhost, spec catalog.Exchange) *exchange {
	x := &exchange{vhost: v, spec: spec, args: decodeArgs(spec.Args)}
	x.alternate, _ = x.args["alternate-exchange"].(string)
	table := newTable(spec.Type)
	x.table.Store(&table)
	return x
}

func (x *exchange) follow(b *catalog.Binding, gone bool, to target) {
	table := *x.table.Load()
	if gone {
		table = table.without(b)
	} else {
		table = table.with(bound{binding: b, args: decodeArgs(b.Args), target: to})
	}
	x.table.Store(&table)
}

// router collects the queues that a message goes to. Its slices are reused.
type router struct {
	targets []target
	visited []*exchange
	queues  []*Queue
	seen    map[*Queue]struct{} // of queues, once they are many
}

// route returns the queues for p, each once, starting at x. The result is
// valid until the next call.
func (r *router) route(x *exchange, p *Publication) []*Queue {
	r.queues, r.visited, r.seen = r.queues[:0], r.visited[:0], nil
	r.from(x, p)
	return r.queues
}

// from follows x, and its alternate when x itself leads to no queue (RabbitMQ,
// alternate exchanges).
func (r *router) from(x *exchange, p *Publication) {
	if slices.Contains(r.visited, x) {
		return
	}
	r.visited = append(r.visited, x)
	before := len(r.queues)
	matched := r.key(x, p, p.RoutingKey)
	for _, key := range p.ExtraKeys {
		matched = r.key(x, p, key) || matched
	}
	if x.alternate != "" && !matched && len(r.queues) == before {
		if alt, ok := x.vhost.exchanges.get(x.alternate); ok {
			r.from(alt, p)
		}
	}
}

// key follows the bindings of x for one routing key; it reports whether there are any.
func (r *router) key(x *exchange, p *Publication, key string) bool {
	if x.spec.Name == "" {
		q, ok := x.vhost.queues.get(key)
		if ok {
			r.add(q)
		}
		return ok
	}
	first := len(r.targets)
	r.targets = (*x.table.Load()).route(key, p.Headers, r.targets)
	end := len(r.targets)
	for i := first; i < end; i++ {
		if t := r.targets[i]; t.queue != nil {
			r.add(t.queue)
		} else {
			r.from(t.exchange, p)
		}
	}
	r.targets = r.targets[:first]
	return end > first
}

// few is how many queues are searched one by one.
const few = 16

func (r *router) add(q *Queue) {
	if len(r.queues) < few {
		if !slices.Contains(r.queues, q) {
			r.queues = append(r.queues, q)
		}
		return
	}
	if r.seen == nil {
		r.seen = map[*Queue]struct{}{}
		for _, q := range r.queues {
			r.seen[q] = struct{}{}
		}
	}
	if _, ok := r.seen[q]; !ok {
		r.seen[q] = struct{}{}
		r.queues = append(r.queues, q)
	}
}
