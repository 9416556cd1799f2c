package broker

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"waybill/internal/catalog"
	"waybill/internal/queue"
	"waybill/internal/record"
)

// DefaultVHost is the virtual host that every broker has.
const DefaultVHost = catalog.DefaultVHost

// Session is the seat of one AMQP connection in a virtual host: it owns the
// connection's exclusive queues. Its methods are safe for concurrent use.
// Those with a context wait until what they changed is durable.
type Session struct {
	b     *Broker
	vhost *vhost
	id    uint64 // owner of exclusive queues in the catalog; no other session of the cluster has it

	routers sync.Pool // of *router

	mu        sync.Mutex // guards exclusive
	exclusive map[string]record.LogID
}

// OpenSession opens a session; NotFound when there is no such virtual host.
func (b *Broker) OpenSession(vhost string) (*Session, error) {
	v, ok := b.vhosts.get(vhost)
	if !ok {
		return nil, errorf(NotFound, "vhost '%s' not found", vhost)
	}
	return &Session{
		b:         b,
		vhost:     v,
		id:        b.sessions.Add(1),
		routers:   sync.Pool{New: func() any { return new(router) }},
		exclusive: map[string]record.LogID{},
	}, nil
}

// firstSession is where a broker counts its sessions from. No other replica has
// the upper bits, and no earlier start of this one came as far as the time now.
func firstSession(replica uint64, now time.Time) uint64 {
	const bits = 44
	return replica<<bits | uint64(now.UnixMilli())&(1<<bits-1)
}

// VHost is the name of the session's virtual host.
func (s *Session) VHost() string { return s.vhost.name }

// Close deletes the session's exclusive queues, and waits for it within ctx:
// another connection may declare the same names right afterwards. The
// subscriptions are closed before, by whoever opened them.
func (s *Session) Close(ctx context.Context) {
	s.mu.Lock()
	names := s.exclusive
	s.exclusive = nil
	s.mu.Unlock()
	var wait sync.WaitGroup
	for name, log := range names {
		wait.Go(func() {
			cmd := &catalog.Command{DeleteQueue: &catalog.DeleteQueue{VHost: s.vhost.name, Name: name, Log: log}}
			if _, err := s.b.change(ctx, cmd); err != nil {
				s.b.log.Warn("an exclusive queue outlives its connection until the node starts again",
					"queue", name, "vhost", s.vhost.name, "error", err)
			}
		})
	}
	wait.Wait()
}

// ExchangeSpec describes an exchange.
type ExchangeSpec struct {
	Name       string
	Type       string // direct, fanout, topic, headers
	Durable    bool
	AutoDelete bool
	Internal   bool
	Args       record.Table
}

// DeclareExchange makes the exchange, or checks that it exists with the same
// properties (PreconditionFailed when not).
func (s *Session) DeclareExchange(ctx context.Context, x ExchangeSpec) error {
	if err := checkName("exchange name", x.Name); err != nil {
		return err
	}
	if newTable(x.Type) == nil {
		return errorf(Invalid, "unknown exchange type '%s': use direct, fanout, topic or headers", x.Type)
	}
	args, err := catalog.EncodeArgs(x.Args)
	if err != nil {
		return errorf(Invalid, "invalid arguments for exchange '%s' in vhost '%s': %v", x.Name, s.vhost.name, err)
	}
	want := catalog.Exchange{
		Name: x.Name, Type: x.Type, Durable: x.Durable, AutoDelete: x.AutoDelete, Internal: x.Internal,
		Args: args, Node: s.home(x.Durable),
	}
	if have, ok := s.vhost.exchanges.get(x.Name); ok {
		if e := catalog.SameExchange(s.vhost.name, &have.spec, &want); e != nil {
			return catalogError(e)
		}
		return nil
	}
	_, err = s.declare(ctx, &catalog.Command{DeclareExchange: &catalog.DeclareExchange{VHost: s.vhost.name, Exchange: want}})
	return err
}

// declare changes the catalog and waits until the other nodes know it: the client, or another
// one that it tells, may publish there next, and what leads nowhere is dropped and acked.
func (s *Session) declare(ctx context.Context, cmd *catalog.Command) (catalog.Result, error) {
	r, err := s.b.change(ctx, cmd)
	if err == nil {
		s.b.everywhere(ctx, nil)
	}
	return r, err
}

// checkName: a short string is UTF-8 (AMQP 0-9-1, section 4.2.5.3). The catalog
// could not keep another one.
func checkName(what, name string) error {
	if utf8.ValidString(name) {
		return nil
	}
	return errorf(Invalid, "%s %q is not valid UTF-8", what, name)
}

// home is the node that something lives and dies with; 0 when it is replicated.
func (s *Session) home(replicated bool) uint64 {
	if replicated {
		return 0
	}
	return s.b.cfg.Node
}

// CheckExchange is the passive declaration: NotFound when there is none.
func (s *Session) CheckExchange(name string) error {
	if name == "" {
		return errorf(AccessRefused, "operation not permitted on the default exchange")
	}
	if _, ok := s.vhost.exchanges.get(name); !ok {
		return s.vhost.noExchange(name)
	}
	return nil
}

// DeleteExchange deletes an exchange; one that does not exist is no error.
func (s *Session) DeleteExchange(ctx context.Context, name string, ifUnused bool) error {
	_, err := s.b.change(ctx, &catalog.Command{DeleteExchange: &catalog.DeleteExchange{
		VHost: s.vhost.name, Name: name, IfUnused: ifUnused,
	}})
	return err
}

// QueueSpec describes a queue. An empty Name asks for a generated one.
type QueueSpec struct {
	Name       string
	Durable    bool
	Exclusive  bool
	AutoDelete bool
	Args       record.Table
}

// QueueStatus is what declare-ok tells.
type QueueStatus struct {
	Name      string
	Ready     int // messages ready for delivery
	Consumers int
}

// DeclareQueue makes the queue, or checks that it exists with the same
// properties.
func (s *Session) DeclareQueue(ctx context.Context, q QueueSpec) (QueueStatus, error) {
	want, err := s.queueSpec(q)
	if err != nil {
		return QueueStatus{}, err
	}
	if err := s.dropOrphan(ctx, want.Name); err != nil {
		return QueueStatus{}, err
	}
	if have, ok := s.vhost.queues.get(want.Name); ok {
		if e := catalog.SameQueue(s.vhost.name, &have.spec, want); e != nil {
			return QueueStatus{}, catalogError(e)
		}
		// A queue that is just being deleted answers when it is gone.
		if status, err := have.status(ctx); !isNotFound(err) {
			return status, err
		}
	}
	if strings.HasPrefix(q.Name, "amq.") {
		return QueueStatus{}, errorf(AccessRefused, "queue name '%s' contains reserved prefix 'amq.*'", q.Name)
	}
	factor, err := queueFactor(q.Name, s.vhost.name, q.Args)
	if err != nil {
		return QueueStatus{}, err
	}
	cmd := &catalog.Command{DeclareQueue: &catalog.DeclareQueue{VHost: s.vhost.name, Queue: *want, Factor: factor, Near: s.b.NodeID()}}
	until := ctx
	if q.Exclusive {
		// Who gives up waiting would leave a queue that nobody can use.
		until = context.WithoutCancel(ctx)
	}
	if _, err := s.declare(until, cmd); err != nil {
		return QueueStatus{}, err
	}
	have, ok := s.vhost.queues.get(want.Name)
	if !ok {
		return QueueStatus{}, s.vhost.noQueue(want.Name) // deleted at once by another connection
	}
	if q.Exclusive {
		s.own(want.Name, have.spec.Log)
	}
	return have.status(ctx)
}

// orphanedAfter is how long the node of a queue in memory has to be gone before another
// queue can take its name. It may only be cut off, and come back with what is in the queue.
const orphanedAfter = awayWait

// dropOrphan gives up a queue that was in the memory of a node which is gone, so that it can be declared
// anew, as with RabbitMQ: its clients come back to other nodes, and want it there.
func (s *Session) dropOrphan(ctx context.Context, name string) error {
	for {
		q, ok := s.vhost.queues.get(name)
		if !ok || q.spec.Replicated() {
			return nil
		}
		since, down := s.b.downSince(q.spec.Node)
		if !down {
			return nil
		}
		left := orphanedAfter - s.b.cfg.Now().Sub(since)
		if left <= 0 {
			s.b.log.Warn("a queue that was in the memory of a node which is gone is given up, to be declared anew", "queue", name, "vhost", s.vhost.name, "node", q.spec.Node)
			_, err := s.b.change(ctx, &catalog.Command{DeleteQueue: &catalog.DeleteQueue{VHost: s.vhost.name, Name: name, Log: q.spec.Log}})
			return err
		}
		select {
		case <-time.After(min(left, awayPause)): // it may come back meanwhile
		case <-ctx.Done():
			return unavailable("declare "+q.String(), ctx.Err())
		}
	}
}

// queueFactor is the number of replicas that a declaration asks for; 0 when it
// does not. As with RabbitMQ, a queue gets no more than there are nodes.
func queueFactor(name, vhost string, args record.Table) (int, error) {
	for _, key := range []string{"x-replication-factor", "x-quorum-initial-group-size"} {
		v, ok := args[key]
		if !ok {
			continue
		}
		n, isInt := queue.Integer(v)
		if !isInt || n < 1 || n > math.MaxInt16 {
			return 0, errorf(PreconditionFailed, "invalid arg '%s' for queue '%s' in vhost '%s': must be a positive integer", key, name, vhost)
		}
		return int(n), nil
	}
	return 0, nil
}

// queueSpec checks a declaration and gives it the form of the catalog.
func (s *Session) queueSpec(q QueueSpec) (*catalog.Queue, error) {
	if q.Name == "" {
		q.Name = "amq.gen-" + randomText(22)
	}
	if err := checkName("queue name", q.Name); err != nil {
		return nil, err
	}
	if err := checkQueueArgs(q.Name, s.vhost.name, q.Args); err != nil {
		return nil, err
	}
	args, err := catalog.EncodeArgs(q.Args)
	if err != nil {
		return nil, errorf(Invalid, "invalid arguments for queue '%s' in vhost '%s': %v", q.Name, s.vhost.name, err)
	}
	spec := &catalog.Queue{Name: q.Name, Durable: q.Durable, Exclusive: q.Exclusive, AutoDelete: q.AutoDelete, Args: args}
	spec.Node = s.home(spec.Replicated())
	if q.Exclusive {
		spec.Owner = s.id
	}
	return spec, nil
}

// own notes an exclusive queue, to be deleted with the session.
func (s *Session) own(name string, log record.LogID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.exclusive != nil {
		s.exclusive[name] = log
	}
}

// queue finds a queue that the session may use.
func (s *Session) queue(name string) (*Queue, error) {
	q, ok := s.vhost.queues.get(name)
	if !ok {
		return nil, s.vhost.noQueue(name)
	}
	if e := catalog.Owned(s.vhost.name, &q.spec, s.id); e != nil {
		return nil, catalogError(e)
	}
	return q, nil
}

// CheckQueue is the passive declaration.
func (s *Session) CheckQueue(ctx context.Context, name string) (QueueStatus, error) {
	q, err := s.queue(name)
	if err != nil {
		return QueueStatus{}, err
	}
	return q.status(ctx)
}

// PurgeQueue drops all ready messages and returns their number.
func (s *Session) PurgeQueue(ctx context.Context, name string) (int, error) {
	q, err := s.queue(name)
	if err != nil {
		return 0, err
	}
	return q.purge(ctx)
}

// DeleteQueue deletes a queue with its bindings and returns the number of its
// ready messages; a queue that does not exist is no error.
func (s *Session) DeleteQueue(ctx context.Context, name string, ifUnused, ifEmpty bool) (int, error) {
	// It may have been declared, or deleted and declared anew, at another node while this one was cut off. Also a
	// leader of what has that name no longer may not know it yet.
	if err := s.b.directory.latest(ctx); err != nil {
		return 0, unavailable(fmt.Sprintf("delete queue '%s' in vhost '%s'", name, s.vhost.name), err)
	}
	if _, ok := s.vhost.queues.get(name); !ok {
		return 0, nil
	}
	q, err := s.queue(name)
	if err != nil {
		return 0, err
	}
	n, err := q.prepareDelete(ctx, ifUnused, ifEmpty)
	if err != nil {
		return 0, err
	}
	s.mu.Lock()
	delete(s.exclusive, name)
	s.mu.Unlock()
	// The same once more, to hear when it is durable; and for a queue that is offline.
	_, err = s.b.change(ctx, &catalog.Command{DeleteQueue: q.deletion()})
	return n, err
}

// deletion is the catalog command that deletes exactly this queue.
func (q *Queue) deletion() *catalog.DeleteQueue {
	return &catalog.DeleteQueue{VHost: q.vhost.name, Name: q.spec.Name, Log: q.spec.Log}
}

// expire deletes the queue because its rules say so (auto-delete, x-expires),
// or a client has. It does not wait, and may be called from a shard.
func (q *Queue) expire() {
	q.vhost.b.directory.send(&catalog.Command{DeleteQueue: q.deletion()})
}

// Binding routes from the exchange Source to a queue, or to an exchange.
type Binding struct {
	Source      string
	Destination string
	ToExchange  bool
	Key         string
	Args        record.Table
}

// Bind adds a binding; one that exists is no error.
func (s *Session) Bind(ctx context.Context, b Binding) error {
	cb, err := s.binding(b)
	if err != nil {
		return err
	}
	_, err = s.declare(ctx, &catalog.Command{Bind: &catalog.Bind{VHost: s.vhost.name, Binding: *cb}})
	return err
}

// Unbind removes a binding; one that does not exist, or whose ends do not, is
// no error.
func (s *Session) Unbind(ctx context.Context, b Binding) error {
	cb, err := s.binding(b)
	if isNotFound(err) { // the queue may have been declared, and bound, at another node while this one was cut off
		if err := s.b.directory.latest(ctx); err != nil {
			return unavailable(fmt.Sprintf("unbind '%s' in vhost '%s'", b.Destination, s.vhost.name), err)
		}
		cb, err = s.binding(b)
	}
	if isNotFound(err) && b.Source != "" {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.b.change(ctx, &catalog.Command{Unbind: &catalog.Unbind{VHost: s.vhost.name, Binding: *cb}})
	return err
}

func (s *Session) binding(b Binding) (*catalog.Binding, error) {
	if !b.ToExchange {
		if _, err := s.queue(b.Destination); err != nil {
			return nil, err
		}
	}
	if err := checkName("binding key", b.Key); err != nil {
		return nil, err
	}
	cb := &catalog.Binding{Source: b.Source, Destination: b.Destination, ToExchange: b.ToExchange, Key: b.Key}
	if len(b.Args) > 0 {
		if err := checkMatch(b.Args); err != nil {
			return nil, err
		}
		args, err := b.Args.Append(nil)
		if err != nil {
			return nil, errorf(Invalid, "invalid arguments for a binding to '%s' in vhost '%s': %v", b.Destination, s.vhost.name, err)
		}
		cb.Args = args
	}
	return cb, nil
}

// Subscribe adds a consumer. Deliveries may begin before it returns. opened,
// when not nil, is called on the queue's shard before the first delivery.
func (s *Session) Subscribe(ctx context.Context, o SubscribeOptions, sink Sink, opened func(*Subscription)) (*Subscription, error) {
	q, err := s.queue(o.Queue)
	if err != nil {
		return nil, err
	}
	return q.subscribe(ctx, o, sink, opened)
}
