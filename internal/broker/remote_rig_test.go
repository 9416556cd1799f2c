package broker

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/internal/catalog"
	"waybill/internal/queue"
	"waybill/internal/record"
	"waybill/internal/replica"
)

// rig is a cluster of brokers without catalogs: each knows one durable queue,
// which is replicated by a stand-in for raft, and one in the memory of node 1.
type rig struct {
	t     testing.TB
	nodes []*rigNode
	tcp   bool         // connections are real ones
	lent  atomic.Int64 // messages on loan

	mu      sync.Mutex // guards the rest
	entries [][]byte   // of the replicated log
	term    uint64
	cut     map[[2]uint64]bool // pairs of nodes that do not reach each other, the lower one first
	conns   map[[2]uint64][]net.Conn
	rng     *rand.Rand // nil: nothing is left to chance
}

const (
	rigLog    record.LogID = 100
	rigMemory record.LogID = 101
)

type rigNode struct {
	*Broker
	rig     *rig
	id      uint64
	session *Session
	queue   *Queue // the durable one
	raft    *rigRaft
}

// newRig makes a cluster of n nodes. Those after the first replicas ones hold nothing of the queue.
func newRig(t testing.TB, n, replicas int, args record.Table) *rig {
	r := &rig{t: t, cut: map[[2]uint64]bool{}, conns: map[[2]uint64][]net.Conn{}}
	members := make([]*Node, n)
	for i := range members {
		members[i] = &Node{ID: uint64(i + 1), Replica: uint64(i + 1)}
	}
	for i := range n {
		r.nodes = append(r.nodes, r.node(uint64(i+1), i < replicas, members, args))
	}
	return r
}

func (r *rig) node(id uint64, hosts bool, members []*Node, args record.Table) *rigNode {
	n := &rigNode{rig: r, id: id}
	n.Broker = &Broker{
		cfg:     Config{Now: time.Now, Node: id, Replica: id, Cluster: n},
		log:     slog.New(slog.DiscardHandler),
		budget:  newBudget(16 << 20),
		metrics: newMetrics(nil),
		leaders: NewLeaders(),
	}
	n.directory = deafDirectory(n.Broker)
	n.alarm.init()
	n.sessions.Store(id << 44)
	n.members.set(members, nil)
	n.links = newLinks(n.dialQueues, func(uint64, error) {})
	v := n.vhost("/")
	v.exchanges.set("", newExchange(v, catalog.Exchange{Type: "direct"}))

	config, err := queue.ParseConfig(args)
	if err != nil {
		r.t.Fatal(err)
	}
	q := &Queue{vhost: v, spec: catalog.Queue{Name: "q", Durable: true, Log: rigLog}, args: args, config: config, fresh: noOffset}
	q.source.init(q)
	if hosts {
		n.raft = &rigRaft{node: n, queue: q}
		q.group = n.raft
	} else {
		q.group = &loopGroup{queue: q}
	}
	n.queue = q
	n.add(q)
	n.add(newQueue(v, catalog.Queue{Name: "memory", Node: 1, Log: rigMemory}, nil))
	n.session, err = n.OpenSession("/")
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// deafDirectory is one that is closed: what is sent to it is lost.
func deafDirectory(b *Broker) *directory {
	d := &directory{b: b, group: new(replica.Group), closed: make(chan struct{})}
	close(d.closed)
	return d
}

func (n *rigNode) add(q *Queue) {
	q.vhost.queues.set(q.spec.Name, q)
	n.byLog.Store(q.spec.Log, q)
}

// Call implements Cluster.
func (n *rigNode) Call(context.Context, uint64, string, []byte) ([]byte, error) {
	return nil, errors.New("not here")
}

func pair(a, b uint64) [2]uint64 { return [2]uint64{min(a, b), max(a, b)} }

// Dial implements Cluster.
func (n *rigNode) Dial(ctx context.Context, to uint64, service string) (net.Conn, error) {
	r := n.rig
	near, far, err := r.connection()
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cut[pair(n.id, to)] {
		near.Close()
		far.Close()
		return nil, errors.New("cut")
	}
	r.conns[pair(n.id, to)] = append(r.conns[pair(n.id, to)], near, far)
	go r.nodes[to-1].serveQueues(n.id, far)
	return near, nil
}

func (r *rig) connection() (near, far net.Conn, err error) {
	if !r.tcp {
		near, far = net.Pipe()
		return near, far, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		c, _ := l.Accept()
		accepted <- c
	}()
	if near, err = net.Dial("tcp", l.Addr().String()); err != nil {
		return nil, nil, err
	}
	return near, <-accepted, nil
}

// hangUp closes the connections between two nodes, and keeps them from making new ones when cut.
func (r *rig) hangUp(a, b uint64, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cut[pair(a, b)] = cut
	for _, c := range r.conns[pair(a, b)] {
		c.Close()
	}
	delete(r.conns, pair(a, b))
}

// lead makes node the leader of the queue; 0: nobody.
func (r *rig) lead(node uint64) {
	r.mu.Lock()
	r.term++
	term := r.term
	r.mu.Unlock()
	for _, n := range r.nodes {
		if n.raft != nil && n.id != node {
			n.raft.ask(rigFollow{})
		}
	}
	if node != 0 {
		r.nodes[node-1].raft.ask(rigLead{term})
	}
	for _, n := range r.nodes {
		n.leaders.Set(rigLog, node, term)
	}
}

// replace makes node the leader. The one before hears nothing of it, nor of anything else, until told is called.
func (r *rig) replace(before, node uint64) (told func()) {
	r.mu.Lock()
	r.term++
	term := r.term
	r.mu.Unlock()
	old := r.nodes[before-1]
	old.raft.ask(rigStick{true})
	r.nodes[node-1].raft.ask(rigLead{term})
	for _, n := range r.nodes {
		if n != old {
			n.leaders.Set(rigLog, node, term)
		}
	}
	return func() {
		old.raft.ask(rigFollow{})
		old.raft.ask(rigStick{false})
		old.leaders.Set(rigLog, node, term)
	}
}

func (r *rig) stop() {
	for _, n := range r.nodes {
		n.session.Close(context.Background())
	}
	for _, n := range r.nodes {
		n.Broker.closeQueues()
		if n.raft != nil {
			n.raft.ask(depart{replica.ErrClosed})
		}
		memory, _ := n.session.vhost.queues.get("memory")
		memory.remove()
	}
	for _, n := range r.nodes {
		if used := n.budget.used.Load(); used != 0 {
			r.t.Errorf("node %d: %d bytes of the budget are not given back", n.id, used)
		}
	}
	if lent := r.lent.Load(); lent != 0 {
		r.t.Errorf("%d messages are still on loan", lent)
	}
}

// lend makes the memory of a message one that is lent, and used for something else once it
// is given back.
func (r *rig) lend(p *Publication) *Publication {
	p.Lender = &rigLender{r, p.Stored}
	return p
}

type rigLender struct {
	rig    *rig
	stored []byte
}

// Lend implements Lender.
func (l *rigLender) Lend() bool {
	l.rig.lent.Add(1)
	return true
}

// GiveBack implements Lender.
func (l *rigLender) GiveBack() {
	if l.stored == nil {
		panic("given back twice")
	}
	clear(l.stored)
	l.stored = nil
	l.rig.lent.Add(-1)
}

// rigRaft stands in for a raft group: what the leader builds is committed at
// once, or later, and is applied by all.
type rigRaft struct {
	node  *rigNode
	queue *Queue

	mu      sync.Mutex // guards inbox and running
	inbox   []any
	running bool

	leads   bool
	stuck   bool     // nothing is committed, and nothing heard of others
	pending [][]byte // built and not committed
	applied int
}

// Events of a rigRaft.
type (
	rigLead   struct{ term uint64 }
	rigFollow struct{}
	rigApply  struct{}
	rigStick  struct{ stuck bool }
	rigRing   struct{}
	rigLook   func() // at what the shard owns
	rigAsk    struct {
		event any
		done  chan struct{}
	}
)

func (g *rigRaft) Post(event any) bool {
	g.mu.Lock()
	g.inbox = append(g.inbox, event)
	start := !g.running
	g.running = true
	g.mu.Unlock()
	if start {
		go g.loop()
	}
	return true
}

// ask posts an event and waits until it is handled.
func (g *rigRaft) ask(event any) {
	done := make(chan struct{})
	g.Post(rigAsk{event, done})
	<-done
}

// end tells how far the end of the queue has come.
func (n *rigNode) end() (sealed, decided bool) {
	n.raft.ask(rigLook(func() { sealed, decided = n.queue.sealed, n.queue.decided }))
	return sealed, decided
}

func (g *rigRaft) loop() {
	for {
		g.mu.Lock()
		events := g.inbox
		g.inbox = nil
		g.running = len(events) > 0
		g.mu.Unlock()
		if len(events) == 0 {
			return
		}
		for _, event := range events {
			if a, ok := event.(rigAsk); ok {
				g.handle(a.event)
				close(a.done)
				continue
			}
			g.handle(event)
		}
		g.build()
	}
}

func (g *rigRaft) handle(event any) {
	q := g.queue
	switch e := event.(type) {
	case rigLead:
		g.handle(rigFollow{}) // one that leads already begins another term
		g.apply()
		g.leads = true
		q.Lead(e.term)
	case rigFollow:
		if g.leads {
			g.leads = false
			q.Follow(replica.ErrNotLeader)
			if !g.stuck { // else it was replaced long ago, and all that it built is lost
				g.commit(g.chance(len(g.pending) + 1))
			}
			g.pending = nil
			g.apply()
		}
	case rigStick:
		g.stuck = e.stuck
	case rigApply:
		if g.leads && g.stuck {
			return
		}
		if g.leads {
			g.commit(len(g.pending))
		}
		g.apply()
	case rigLook:
		e()
	case rigRing:
		q.Timer(time.Now())
	case depart:
		g.leads = false
		q.Follow(e.reason)
	default:
		q.Handle(event)
	}
}

func (g *rigRaft) chance(n int) int {
	r := g.node.rig
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rng == nil {
		return 0
	}
	return r.rng.IntN(n)
}

// build builds entries and commits them, or, by chance, a little later.
func (g *rigRaft) build() {
	for g.leads && len(g.pending) < 3 {
		data := g.queue.Build(64 << 10)
		if data == nil {
			break
		}
		g.pending = append(g.pending, data)
	}
	if len(g.pending) == 0 || g.stuck {
		return
	}
	if delay := g.chance(4); delay > 0 {
		time.AfterFunc(time.Duration(delay)*time.Millisecond, func() { g.Post(rigApply{}) })
		return
	}
	g.Post(rigApply{})
}

// commit commits the first n of the pending entries.
func (g *rigRaft) commit(n int) {
	if n == 0 {
		return
	}
	r := g.node.rig
	r.mu.Lock()
	r.entries = append(r.entries, g.pending[:n]...)
	r.mu.Unlock()
	g.pending = g.pending[n:]
	for _, other := range r.nodes {
		if other.raft != nil && other != g.node {
			other.raft.Post(rigApply{})
		}
	}
}

func (g *rigRaft) apply() {
	r := g.node.rig
	r.mu.Lock()
	entries := r.entries
	r.mu.Unlock()
	for ; g.applied < len(entries); g.applied++ {
		g.queue.Apply(replica.Entry{Index: record.Index(g.applied + 1), Data: entries[g.applied]})
	}
}

func (g *rigRaft) SetTimer(t time.Time) {
	time.AfterFunc(time.Until(t), func() { g.Post(rigRing{}) })
}

func (g *rigRaft) readFrom(off, end record.Offset, maxBytes int, _ bool) ([][]byte, error) {
	r := g.node.rig
	r.mu.Lock()
	entries := r.entries
	r.mu.Unlock()
	var data [][]byte
	for size, i := 0, 0; i < len(entries) && (size == 0 || size < maxBytes); i++ {
		h, _, err := record.ParseHeader(entries[i])
		if err != nil {
			return nil, err
		}
		if h.Count > 0 && h.End() > off && h.Base < end {
			data = append(data, entries[i])
			size += len(entries[i])
		}
	}
	return data, nil
}

func (g *rigRaft) remove() { g.ask(depart{replica.ErrRemoved}) }

// put publishes to the queue of that name and returns the tag's answers.
func (n *rigNode) put(t testing.TB, queue string, to Publisher, tag uint64, body []byte) {
	t.Helper()
	if routed, err := n.session.Publish(n.rig.lend(publicationTo(queue, body)), to, tag); err != nil || routed != 1 {
		t.Fatalf("published to %d queues, %v", routed, err)
	}
}

// publicationTo is a message for the default exchange.
func publicationTo(queue string, body []byte) *Publication {
	m := record.Message{Time: time.Now().UnixMilli(), TTL: record.NoTTL, RoutingKey: []byte(queue), Properties: []byte{0, 0}, Body: body}
	return &Publication{RoutingKey: queue, Stored: m.Append(nil)}
}
