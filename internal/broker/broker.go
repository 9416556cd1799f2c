// Package broker holds the protocol-neutral verbs: publish, append, fetch,
// subscribe, settle, declare. It routes, and gives every queue, partition and
// coordinator its raft group.
//
// # What exists
//
// The catalog, itself a raft group, says what exists, and on which nodes. The directory
// hosts it on every node and keeps the registries in step with it: virtual hosts with their exchanges and
// queues, topics with their partitions. Registries are changed only by
// the directory, on the catalog's shard, and are read from everywhere as
// immutable snapshots, without a lock.
//
// # Which node
//
// A log has its replicas where the catalog has placed it, and this node opens
// those that are its own. What is led by another node is known here all the same: a
// partition says so to its client, a change of the catalog is handed on (propose.go), and who
// leads what is in one table (leaders.go). When the catalog moves a replica,
// the leader of its group carries that out (reconcile.go).
//
// # Promises
//
//   - A verb with a context returns nil only when what it changed is durable.
//   - Publisher.Published(tag, nil) and an AppendResult without error are called only
//     from Apply of the entry that carries the message: it is committed, and fsynced.
//   - What lives in memory (queues that are exclusive or not durable) is confirmed when it
//     is in memory, as its client asked.
package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/catalog"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/topic"
)

// Config configures a Broker. The zero value of an optional field means its
// default.
type Config struct {
	Store *storage.Store
	Host  *replica.Host

	// Node is the operator's number of this node, and Replica the id of its data
	// directory in every raft group; 0: as Node.
	Node    uint64
	Replica uint64
	// Founders are the nodes that the cluster was founded with, from the data
	// directory; none: this node alone.
	Founders []Node
	// Contacts are nodes to ask as long as the catalog has not told who the
	// members are; none: the founders.
	Contacts []uint64
	// Cluster reaches the other nodes; nil: there are none.
	Cluster Cluster
	// Leaders is the table that the host was given; nil: one of the broker's own.
	Leaders   *Leaders
	Addresses Addresses // of this node
	ClusterID string    // of a cluster that is founded now; "": random
	// OnNodes, when set, is called with the nodes that have to be reached whenever they change:
	// all members, and those that are [Broker.Parting]. It must not block.
	OnNodes func([]Node)
	// OnCatalogDamage, when set, is called when the copy of the catalog on this node
	// turns out to be damaged while it works. It must not block.
	OnCatalogDamage func(error)
	// LeadersReturn is how long the preferred leader of a log has to be up to date
	// before it leads again; 0: it does not by itself.
	LeadersReturn time.Duration

	DefaultPartitions int32             // of a topic that is created without a number, 1
	TopicDefaults     map[string]string // topic configs that hold where a topic sets none
	Coordinators      int               // number of coordinator logs of a new cluster, 4
	Groups            GroupConfig

	// InFlightBytes bounds the messages that are published but not durable
	// yet, 64 MiB; publishing waits beyond it.
	InFlightBytes int64

	Now        func() time.Time // default time.Now
	Logger     *slog.Logger     // default slog.Default
	Registerer prometheus.Registerer
}

// Broker is the protocol-neutral core of a node.
type Broker struct {
	cfg       Config
	host      *replica.Host
	log       *slog.Logger
	directory *directory
	budget    *budget
	alarm     alarm
	metrics   *metrics
	serving   map[string]service
	leaders   *Leaders
	members   membershipView
	places    places
	groups    sync.Map // log → *replica.Group of this node
	down      sync.Map // node id → since when it cannot be reached

	reconciler *reconciler
	healer     *healer // works for the reconciler
	herald     *herald
	tending    context.Context    // of those two
	stop       context.CancelFunc // ends it
	running    sync.WaitGroup     // of those two
	links      *links             // to queues that other nodes lead; nil: there are none
	guests     guests
	depths     depths                                              // of queues that other nodes lead
	direct     atomic.Pointer[func(address string, stored []byte)] // takes messages for clients of this node
	byLog      sync.Map                                            // the *Queue of each record.LogID; the directory changes it

	vhosts cowMap[*vhost]
	topics topicRegistry

	coordinators atomic.Pointer[[]*Coordinator] // the directory changes it
	producerIDs  idBlock
	sessions     atomic.Uint64 // the last session's id
	started      time.Time
}

// Open makes a broker and starts it.
func Open(ctx context.Context, cfg Config) (*Broker, error) {
	b, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := b.Start(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// New makes a broker that serves other nodes (ServeCall, ServeStream) and nobody else
// before it is started: they may have to answer each other for any of them to start.
func New(cfg Config) (*Broker, error) {
	if cfg.DefaultPartitions <= 0 {
		cfg.DefaultPartitions = 1
	}
	if cfg.Coordinators <= 0 {
		cfg.Coordinators = 4
	}
	if cfg.InFlightBytes <= 0 {
		cfg.InFlightBytes = 64 << 20
	}
	if cfg.Replica == 0 {
		cfg.Replica = cfg.Node
	}
	if cfg.Leaders == nil {
		cfg.Leaders = NewLeaders()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	b := &Broker{
		cfg:     cfg,
		host:    cfg.Host,
		log:     cfg.Logger,
		budget:  newBudget(cfg.InFlightBytes),
		metrics: newMetrics(cfg.Registerer),
		leaders: cfg.Leaders,
		started: cfg.Now(),
	}
	b.serving = b.services()
	if cfg.Cluster != nil {
		b.links = newLinks(b.dialQueues, b.linkLost)
	}
	if _, err := topic.ParseConfig(cfg.TopicDefaults); err != nil {
		return nil, fmt.Errorf("broker: default topic configs: %w", err)
	}
	b.alarm.init()
	b.sessions.Store(firstSession(cfg.Replica, b.started))
	b.tending, b.stop = context.WithCancel(context.Background())
	b.directory, b.reconciler, b.healer, b.herald = newDirectory(b), newReconciler(b), newHealer(b), newHerald(b)
	return b, nil
}

// Start starts the catalog, and then everything that it names. A single node returns when
// every group is led, a node of a cluster when it knows what there is. A log
// that is damaged is held offline and named in the log; the others are served. After an
// error the broker is of no use.
func (b *Broker) Start(ctx context.Context) error {
	b.tend()
	if err := b.directory.open(ctx); err != nil {
		b.stop()
		return err
	}
	// In a cluster a group may have to wait for other nodes.
	if b.cfg.Cluster == nil {
		if err := b.host.Led(ctx); err != nil {
			b.stop()
			return fmt.Errorf("broker: waiting for leaders: %w", err)
		}
	}
	if r := b.cfg.Registerer; r != nil {
		r.MustRegister(newGroupCollector(b), newQueueCollector(b))
	}
	return nil
}

// tend starts what works beside the verbs, in a cluster.
func (b *Broker) tend() {
	if b.cfg.Cluster == nil {
		return
	}
	b.leaders.hear(func(log record.LogID, moved bool) {
		b.herald.tell(log)
		if !moved {
			return
		}
		b.reconciler.look(log)
		if q, ok := b.queueOf(log); ok {
			q.leaderMoved()
		}
	})
	b.running.Go(func() { b.herald.run(b.tending) })
	b.running.Go(func() { b.reconciler.run(b.tending) })
}

// Close releases everyone who waits in a verb. The host is closed by its owner.
func (b *Broker) Close() {
	b.closeQueues()
	b.budget.close()
	b.alarm.close()
	b.directory.close()
	b.stop()
	b.running.Wait()
}

// ClusterID is the random id that the cluster got when it was founded.
func (b *Broker) ClusterID() string { return b.directory.clusterID.Load().(string) }

// Started is when the broker was opened.
func (b *Broker) Started() time.Time { return b.started }

// change proposes a command to the catalog and waits until it is durable and
// followed.
func (b *Broker) change(ctx context.Context, cmd *catalog.Command) (catalog.Result, error) {
	r, err := b.directory.propose(ctx, cmd)
	if err != nil {
		return r, err
	}
	if r.Err != nil {
		return r, catalogError(r.Err)
	}
	return r, nil
}

// catalogError turns a refusal of the catalog into one for the client.
func catalogError(e *catalog.Error) *Error {
	kinds := map[catalog.Kind]Kind{
		catalog.NotFound:     NotFound,
		catalog.Exists:       Exists,
		catalog.Inequivalent: PreconditionFailed,
		catalog.InUse:        PreconditionFailed,
		catalog.Locked:       ResourceLocked,
		catalog.Refused:      AccessRefused,
		catalog.Invalid:      Invalid,
		catalog.TooFewNodes:  Invalid,
	}
	kind, ok := kinds[e.Kind]
	if !ok {
		panic(fmt.Sprintf("broker: catalog error of unknown kind %d: %s", e.Kind, e.Text))
	}
	err := &Error{Kind: kind, Text: e.Text}
	if e.Kind == catalog.TooFewNodes {
		err.Code = codeInvalidReplicationFactor
	}
	return err
}

// unavailable words an error of the node for a client.
func unavailable(doing string, err error) *Error {
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return errorf(Unavailable, "%s: no answer in time; it may still happen, look before you repeat it", doing)
	case errors.Is(err, replica.ErrUnknown):
		return errorf(Unavailable, "%s: the leader changed; it may or may not have happened, look before you repeat it", doing)
	default:
		return errorf(Unavailable, "%s: not possible at the moment (%v), try again", doing, err)
	}
}

// randomText returns n random characters that are safe in a name.
func randomText(n int) string {
	text := rand.Text()
	for len(text) < n {
		text += rand.Text()
	}
	return text[:n]
}

// idBlock hands out ids from blocks that were reserved in the catalog.
type idBlock struct {
	mu        sync.Mutex // held while a block is reserved
	next, end int64
}

const idBlockSize = 1000

// NewProducerID returns a producer id that was never handed out before, also
// across restarts.
func (b *Broker) NewProducerID(ctx context.Context) (int64, error) {
	p := &b.producerIDs
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		r, err := b.change(ctx, &catalog.Command{ReserveIDs: &catalog.ReserveIDs{Count: idBlockSize}})
		if err != nil {
			return 0, err
		}
		p.next, p.end = r.FirstID, r.FirstID+idBlockSize
	}
	p.next++
	return p.next - 1, nil
}
