package catalog

import (
	"maps"
	"slices"
	"strings"

	"waybill/internal/record"
)

// VHost is a virtual host: a namespace of exchanges, queues and bindings.
type VHost struct {
	name      string
	exchanges map[string]*Exchange
	queues    map[string]*Queue
	from      map[string]bindings // by source
	to        map[string]bindings // by end
}

// bindings is a set of bindings by their ID.
type bindings map[string]*Binding

// predeclared are the exchanges that every virtual host has (AMQP 0-9-1,
// section 3.1.3, and RabbitMQ's amq.rabbitmq.trace). The default exchange has
// no name and no bindings: it routes to the queue named by the routing key.
var predeclared = []Exchange{
	{Name: "", Type: "direct", Durable: true},
	{Name: "amq.direct", Type: "direct", Durable: true},
	{Name: "amq.fanout", Type: "fanout", Durable: true},
	{Name: "amq.headers", Type: "headers", Durable: true},
	{Name: "amq.match", Type: "headers", Durable: true},
	{Name: "amq.rabbitmq.trace", Type: "topic", Durable: true, Internal: true},
	{Name: "amq.topic", Type: "topic", Durable: true},
}

func newVHost(name string) *VHost {
	return &VHost{
		name:      name,
		exchanges: map[string]*Exchange{},
		queues:    map[string]*Queue{},
		from:      map[string]bindings{},
		to:        map[string]bindings{},
	}
}

// end names the destination of a binding among queues and exchanges together.
func end(name string, exchange bool) string {
	if exchange {
		return "x" + name
	}
	return "q" + name
}

// Name is the virtual host's name.
func (v *VHost) Name() string { return v.name }

// Exchange returns an exchange, or nil.
func (v *VHost) Exchange(name string) *Exchange { return v.exchanges[name] }

// Exchanges lists the names of the exchanges, sorted.
func (v *VHost) Exchanges() []string { return slices.Sorted(maps.Keys(v.exchanges)) }

// Queue returns a queue, or nil.
func (v *VHost) Queue(name string) *Queue { return v.queues[name] }

// Queues lists the names of the queues, sorted.
func (v *VHost) Queues() []string { return slices.Sorted(maps.Keys(v.queues)) }

// Bindings lists the bindings, in the order of their sources and IDs.
func (v *VHost) Bindings() []*Binding {
	var all []*Binding
	for _, source := range slices.Sorted(maps.Keys(v.from)) {
		all = append(all, v.from[source].sorted()...)
	}
	return all
}

func (s bindings) sorted() []*Binding {
	list := make([]*Binding, 0, len(s))
	for _, id := range slices.Sorted(maps.Keys(s)) {
		list = append(list, s[id])
	}
	return list
}

func (v *VHost) declareExchange(x *Exchange) Result {
	if old := v.exchanges[x.Name]; old != nil {
		return Result{Err: SameExchange(v.name, old, x)}
	}
	if strings.HasPrefix(x.Name, "amq.") {
		return Result{Err: errorf(Refused, "exchange name '%s' contains reserved prefix 'amq.*'", x.Name)}
	}
	v.exchanges[x.Name] = x
	return Result{Changes: []Change{{VHost: v.name, Exchange: x}}}
}

// SameExchange checks a declaration against the exchange that exists. The
// default exchange cannot be declared at all.
func SameExchange(vhost string, old, x *Exchange) *Error {
	if x.Name == "" {
		return refuseDefault()
	}
	for _, p := range []property{
		{"type", x.Type, old.Type},
		{"durable", x.Durable, old.Durable},
		{"auto_delete", x.AutoDelete, old.AutoDelete},
		{"internal", x.Internal, old.Internal},
	} {
		if err := p.check("exchange", x.Name, vhost); err != nil {
			return err
		}
	}
	return sameArgs("exchange", x.Name, vhost, old.Args, x.Args)
}

func (v *VHost) deleteExchange(name string, ifUnused bool) Result {
	x := v.exchanges[name]
	switch {
	case name == "":
		return Result{Err: refuseDefault()}
	case x == nil:
		return Result{}
	case strings.HasPrefix(name, "amq."):
		return Result{Err: errorf(Refused, "deletion of system exchange '%s' in vhost '%s' not allowed", name, v.name)}
	case ifUnused && len(v.from[name]) > 0:
		return Result{Err: errorf(InUse, "exchange '%s' in vhost '%s' in use", name, v.name)}
	}
	return Result{Changes: v.removeExchange(x)}
}

// removeExchange removes an exchange with the bindings from and to it, and the
// auto-delete exchanges that lose their last binding by that.
func (v *VHost) removeExchange(x *Exchange) []Change {
	var changes []Change
	for _, b := range v.from[x.Name].sorted() {
		changes = append(changes, v.removeBinding(b)...)
	}
	changes = append(changes, v.removeEnd(x.Name, true)...)
	delete(v.exchanges, x.Name)
	return append(changes, Change{VHost: v.name, Exchange: x, Gone: true})
}

// removeEnd removes all bindings to a queue or an exchange, and then the
// auto-delete exchanges that have none left.
func (v *VHost) removeEnd(name string, exchange bool) []Change {
	var changes []Change
	for _, b := range v.to[end(name, exchange)].sorted() {
		changes = append(changes, v.removeBinding(b)...)
		changes = append(changes, v.autoDelete(b.Source)...)
	}
	return changes
}

// autoDelete removes an auto-delete exchange that has no binding left.
func (v *VHost) autoDelete(source string) []Change {
	x := v.exchanges[source]
	if x == nil || !x.AutoDelete || len(v.from[source]) > 0 {
		return nil
	}
	return v.removeExchange(x)
}

func (v *VHost) declareQueue(c *Catalog, q *Queue, factor int, near uint64) Result {
	if old := v.queues[q.Name]; old != nil {
		return Result{Err: SameQueue(v.name, old, q)}
	}
	q.Log = c.newLog()
	if q.Replicated() {
		n := c.defaultFactor()
		if factor > 0 {
			n = factor
		}
		c.place(q.Log, factor, n, near)
	}
	v.queues[q.Name] = q
	return Result{Changes: []Change{{VHost: v.name, Queue: q}}}
}

// SameQueue checks a declaration against the queue that exists.
func SameQueue(vhost string, old, q *Queue) *Error {
	if err := Owned(vhost, old, q.Owner); err != nil {
		return err
	}
	for _, p := range []property{
		{"durable", q.Durable, old.Durable},
		{"exclusive", q.Exclusive, old.Exclusive},
		{"auto_delete", q.AutoDelete, old.AutoDelete},
	} {
		if err := p.check("queue", q.Name, vhost); err != nil {
			return err
		}
	}
	return sameArgs("queue", q.Name, vhost, old.Args, q.Args)
}

// Owned checks that a connection may use a queue: an exclusive one is for its
// owner only.
func Owned(vhost string, q *Queue, owner uint64) *Error {
	if !q.Exclusive || q.Owner == owner {
		return nil
	}
	return errorf(Locked, "cannot obtain exclusive access to locked queue '%s' in vhost '%s'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.", q.Name, vhost)
}

func (v *VHost) deleteQueue(name string, log record.LogID) Result {
	q := v.queues[name]
	if q == nil || log != 0 && q.Log != log {
		return Result{}
	}
	return Result{Changes: v.removeQueue(q)}
}

func (v *VHost) removeQueue(q *Queue) []Change {
	changes := v.removeEnd(q.Name, false)
	delete(v.queues, q.Name)
	return append(changes, Change{VHost: v.name, Queue: q, Gone: true})
}

func (v *VHost) bind(b *Binding) Result {
	if err := v.checkEnds(b); err != nil {
		return Result{Err: err}
	}
	id := b.ID()
	if v.from[b.Source][id] != nil {
		return Result{}
	}
	add(v.from, b.Source, id, b)
	add(v.to, end(b.Destination, b.ToExchange), id, b)
	return Result{Changes: []Change{{VHost: v.name, Binding: b}}}
}

func (v *VHost) unbind(b *Binding) Result {
	if err := b.checkNotDefault(); err != nil {
		return Result{Err: err}
	}
	old := v.from[b.Source][b.ID()] // an end that does not exist has no bindings
	if old == nil {
		return Result{}
	}
	return Result{Changes: append(v.removeBinding(old), v.autoDelete(old.Source)...)}
}

// checkNotDefault: the default exchange takes part in no binding.
func (b *Binding) checkNotDefault() *Error {
	if b.Source == "" || b.ToExchange && b.Destination == "" {
		return refuseDefault()
	}
	return nil
}

func refuseDefault() *Error {
	return errorf(Refused, "operation not permitted on the default exchange")
}

// checkEnds: both ends of a binding must exist.
func (v *VHost) checkEnds(b *Binding) *Error {
	if err := b.checkNotDefault(); err != nil {
		return err
	}
	if v.exchanges[b.Source] == nil {
		return errorf(NotFound, "no exchange '%s' in vhost '%s'", b.Source, v.name)
	}
	if b.ToExchange && v.exchanges[b.Destination] == nil {
		return errorf(NotFound, "no exchange '%s' in vhost '%s'", b.Destination, v.name)
	}
	if !b.ToExchange && v.queues[b.Destination] == nil {
		return errorf(NotFound, "no queue '%s' in vhost '%s'", b.Destination, v.name)
	}
	return nil
}

func (v *VHost) removeBinding(b *Binding) []Change {
	id := b.ID()
	if v.from[b.Source][id] == nil {
		return nil
	}
	remove(v.from, b.Source, id)
	remove(v.to, end(b.Destination, b.ToExchange), id)
	return []Change{{VHost: v.name, Binding: b, Gone: true}}
}

// dropNode removes what lived in the memory of a node.
func (v *VHost) dropNode(node uint64) []Change {
	var changes []Change
	for _, name := range v.Queues() {
		if q := v.queues[name]; !q.Replicated() && q.Node == node {
			changes = append(changes, v.removeQueue(q)...)
		}
	}
	for _, name := range v.Exchanges() {
		// An exchange may be gone already, by auto-delete.
		if x := v.exchanges[name]; x != nil && !x.Durable && x.Node == node {
			changes = append(changes, v.removeExchange(x)...)
		}
	}
	return changes
}

func add(index map[string]bindings, key, id string, b *Binding) {
	if index[key] == nil {
		index[key] = bindings{}
	}
	index[key][id] = b
}

func remove(index map[string]bindings, key, id string) {
	delete(index[key], id)
	if len(index[key]) == 0 {
		delete(index, key)
	}
}
