// Package server builds a node out of its configuration, starts its parts in
// order and stops them in the opposite one.
//
// Start: the store (which takes the lock on the data directory, and recovers),
// the HTTP listener (so that health can be asked for while the rest starts),
// the links to other nodes (with which a new node finds out who it is, see
// founding), the replica host, the broker (which returns when the catalog has taken
// note of this node, and on a single node when every raft group is led),
// and at last the AMQP and Kafka listeners. A node that accepts a client can
// serve it.
//
// Stop: what is led here is handed over to other nodes, where there are; the AMQP and
// Kafka servers stop accepting, tell their clients, and
// answer what is in flight, for a bounded time; then the broker, the links, the host and
// the store close. What was not acknowledged by then never will be. The HTTP
// listener answers until the end, with /readyz failing from the start of it.
//
// A configuration is the defaults, changed by a TOML file, the environment and
// flags ([Load]); [Config.Options] is the one list of everything that can be
// set.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"waybill/internal/admin"
	"waybill/internal/amqp"
	"waybill/internal/auth"
	"waybill/internal/broker"
	"waybill/internal/kafka"
	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// startTimeout is how long the raft groups of a node without others may take to
// elect their leaders. With one voter that is a write to the disk.
const startTimeout = 5 * time.Minute

// Node is a running node.
type Node struct {
	cfg      Config
	fs       vfs.FS
	dir      string // the data directory, absolute
	log      *slog.Logger
	registry *prometheus.Registry
	started  time.Time

	auth   *auth.Auth
	store  *storage.Store
	links  links
	host   atomic.Pointer[replica.Host] // nil until it is open; the store's flusher reads it
	broker *broker.Broker
	amqp   *amqp.Server
	kafka  *kafka.Server
	admin  *admin.Server
	disk   diskSpace

	anew   *rebirth // the data directory was, or is being, replaced by an empty one; nil: no
	former string   // id of the damaged one, while this node asks for that

	listeners listeners
	serving   sync.WaitGroup // one for each Serve, and the disk watcher
	failed    chan error     // why it cannot go on
	watching  context.CancelFunc
	view      atomic.Pointer[admin.View] // nil until all listeners are up
	stopping  atomic.Bool
}

// Start starts a node. When it fails, everything that it had started is
// stopped again. ctx bounds the start, not the node's life.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Node, error) {
	return startOn(ctx, vfs.OS{}, cfg, log)
}

// startOn starts a node on a file system of its own. One whose data directory is
// damaged as a whole begins anew.
func startOn(ctx context.Context, fs vfs.FS, cfg Config, log *slog.Logger) (*Node, error) {
	n, err := tryStart(ctx, fs, &cfg, log, false)
	if err == nil || !beyondRepair(&cfg, err) {
		return n, err
	}
	log.Error("this node cannot start with its data directory, which is damaged; it begins anew, when the others can do without it", "err", err)
	return tryStart(ctx, fs, &cfg, log, true)
}

func tryStart(ctx context.Context, fs vfs.FS, cfg *Config, log *slog.Logger, anew bool) (*Node, error) {
	n := &Node{cfg: *cfg, fs: fs, log: log, registry: prometheus.NewRegistry(), started: time.Now(), failed: make(chan error, 3)}
	n.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if err := n.start(ctx, anew); err != nil {
		// The reason for the failure is the error to tell; what stopping meets is a consequence.
		if also := n.Stop(context.Background()); also != nil {
			log.Warn("server: stopping after a failed start", "err", also)
		}
		if n.links.transport != nil {
			cfg.Cluster.listener = nil // it was closed
		}
		return nil, err
	}
	return n, nil
}

func (n *Node) start(ctx context.Context, anew bool) (err error) {
	n.auth, err = auth.New(auth.Options{Users: n.cfg.Users, NoGuest: !n.cfg.Guest, Registerer: n.registry})
	if err != nil {
		return err
	}
	if err := n.makeDir(); err != nil {
		return err
	}
	if n.anew, err = n.begunAnew(); err != nil {
		return err
	}
	if anew || n.anew != nil {
		if err := n.serveHTTP(); err != nil { // it may take long
			return err
		}
		if err := n.beginAnew(ctx); err != nil {
			return err
		}
	}
	if err := n.openStore(); err != nil {
		return err
	}
	if err := n.serveHTTP(); err != nil {
		return err
	}
	if err := n.openLinks(ctx); err != nil {
		return err
	}
	if err := n.openBroker(ctx); err != nil {
		return err
	}
	if err := n.settle(); err != nil {
		return err
	}
	if err := n.serveClients(); err != nil {
		return err
	}
	if err := n.announce(ctx); err != nil {
		return err
	}
	n.watchDisk()
	n.view.Store(n.newView())
	return nil
}

// makeDir sees to it that there is a data directory.
func (n *Node) makeDir() error {
	dir, err := filepath.Abs(n.cfg.DataDir)
	if err != nil {
		return fmt.Errorf("data directory %s: %w", n.cfg.DataDir, err)
	}
	n.dir = dir
	if err := vfs.MakeDirs(n.fs, dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// directIO are the words of disk.direct-io; without one it is auto.
var directIO = map[string]storage.DirectIO{"always": storage.AlwaysDirect, "never": storage.NeverDirect}

// openStore opens the data directory.
func (n *Node) openStore() (err error) {
	dir := n.dir
	if n.disk, err = measure(n.fs, dir, n.cfg.Disk); err != nil {
		return err
	}
	n.store, err = storage.Open(n.fs, dir, storage.Options{
		WALFileSize: n.disk.walFile,
		SegmentSize: n.cfg.Disk.SegmentSize,
		DirectIO:    directIO[n.cfg.Disk.DirectIO],
		CacheBytes:  int64(memoryOfMachine() / cacheShare),
		Reserve:     n.disk.reserve,
		Checkpoint:  n.checkpoint,
		Fatal:       n.fatal,
		Logger:      n.log,
		Registerer:  n.registry,
	})
	if errors.Is(err, vfs.ErrLocked) {
		return fmt.Errorf("data directory %s is in use by another process; stop that one, or give this one a directory of its own with --data-dir", dir)
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
	return nil
}

// openBroker starts the replica host, and the broker on it. In a cluster it
// waits as long as it takes for enough other nodes.
func (n *Node) openBroker(ctx context.Context) error {
	n.links.leaders = broker.NewLeaders()
	hostConfig := replica.Config{
		Store: n.store, ReplicaID: n.replicaID(), OnLeader: n.links.leaders.Set, OnInSync: n.links.leaders.SetInSync,
		CatchUpRate: n.cfg.Cluster.CatchUpRate,
		Logger:      n.log, Registerer: n.registry,
	}
	n.links.told = n.addresses()
	brokerConfig := broker.Config{
		Store: n.store, Node: n.cfg.Cluster.NodeID, Replica: n.replicaID(),
		Leaders: n.links.leaders, Addresses: n.links.told, OnNodes: n.membersChanged,
		OnCatalogDamage:   n.catalogDamaged,
		LeadersReturn:     n.cfg.Cluster.LeadersReturnAfter,
		DefaultPartitions: n.cfg.Kafka.NumPartitions,
		TopicDefaults:     n.cfg.Kafka.TopicDefaults,
		Groups:            n.cfg.Kafka.GroupConfig(),
		InFlightBytes:     inFlightBytes(),
		Logger:            n.log, Registerer: n.registry,
	}
	if file := n.links.file.Load(); file != nil {
		brokerConfig.ClusterID = file.Cluster
		for _, m := range file.Founders {
			brokerConfig.Founders = append(brokerConfig.Founders, broker.Node{ID: m.Node, Replica: m.Replica, Store: m.Store, Addr: m.Addr})
		}
	}
	for _, m := range n.links.members() {
		if m.Node != n.cfg.Cluster.NodeID {
			brokerConfig.Contacts = append(brokerConfig.Contacts, m.Node)
		}
	}
	var cancel context.CancelFunc
	if n.links.transport != nil {
		hostConfig.Transport = raftLinks{&n.links}
		brokerConfig.Cluster = brokerLinks{n.links.transport}
		ctx, cancel = context.WithCancel(ctx)
	} else {
		ctx, cancel = context.WithTimeout(ctx, startTimeout)
	}
	defer cancel()
	ctx, n.links.giveUp = context.WithCancelCause(ctx)
	defer n.links.giveUp(nil)

	host := replica.NewHost(hostConfig)
	n.host.Store(host)
	n.store.Start()
	brokerConfig.Host = host
	b, err := broker.New(brokerConfig)
	if err != nil {
		return err
	}
	n.broker = b
	n.reach(host)
	stop := n.sayWhatIsMissing(ctx)
	defer stop()
	err = b.Start(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && ctx.Err() != nil {
		err = fmt.Errorf("%w (%w)", cause, err)
	}
	return err
}

// inFlightBytes bounds what is published and not durable yet: the broker's
// default, or a sixteenth of GOMEMLIMIT when that is less.
func inFlightBytes() int64 {
	const standard, floor = 64 << 20, 1 << 20
	return max(floor, min(standard, ownMemoryLimit/16))
}

// intakeBytes bounds what clients may have sent of messages, requests and
// transactions that are not complete: half a gigabyte, or an eighth of GOMEMLIMIT when
// that is less.
func intakeBytes() int64 {
	const standard, floor = 512 << 20, 8 << 20
	return max(floor, min(standard, ownMemoryLimit/8))
}

// newIntake makes the one that the servers of both protocols share.
func (n *Node) newIntake() *broker.Intake {
	intake := broker.NewIntake(intakeBytes(), 0)
	n.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "waybill_intake_bytes",
		Help: "Bytes received of messages, requests and transactions that are not complete, beyond a small allowance for each connection.",
	}, func() float64 { return float64(intake.Used()) }))
	return intake
}

// checkpoint asks the host for the state of a log. The store may ask before
// there is a host, and while it closes.
func (n *Node) checkpoint(id record.LogID) (storage.Checkpoint, bool) {
	if host := n.host.Load(); host != nil {
		return host.Checkpoint(id)
	}
	return storage.Checkpoint{}, false
}

// fatal ends the process, at once: the disk failed in a way that must not be
// retried, and nobody may be told anything that rests on it.
func (n *Node) fatal(err error) {
	n.log.Error("the disk failed; the process ends, and recovers what is on the disk when it is started again", "err", err)
	os.Exit(1)
}

// catalogDamaged ends the node in order: it does not learn any more what exists. It begins
// anew when it is started again.
func (n *Node) catalogDamaged(err error) {
	select {
	case n.failed <- fmt.Errorf("the copy of the catalog on this node is damaged; start it again, and it is rebuilt: %w", err):
	default: // it ends already
	}
}

// Failed delivers why the node cannot go on: a listener that ended by itself, a
// damaged catalog.
func (n *Node) Failed() <-chan error { return n.failed }

// ready returns nil when the node serves its clients, else why it does not.
func (n *Node) ready() error {
	if n.stopping.Load() {
		return errors.New("stopping")
	}
	host := n.host.Load()
	if host == nil || n.view.Load() == nil {
		if why := n.links.waits.Load(); why != nil {
			return fmt.Errorf("starting: %s", *why)
		}
		return errors.New("starting")
	}
	if n.links.transport != nil {
		return n.leadersKnown()
	}
	if open, led := host.Groups(); led < open {
		return fmt.Errorf("%d of %d raft groups have no leader", open-led, open)
	}
	return nil
}

// leadersKnown returns nil when the catalog, and every log with a replica
// here, has a leader somewhere.
func (n *Node) leadersKnown() error {
	if _, ok := n.broker.Controller(); !ok {
		return errors.New("the catalog has no leader")
	}
	if own, led := n.broker.LogsHere(); led < own {
		return fmt.Errorf("%d of %d raft groups with a replica here have no leader", own-led, own)
	}
	return nil
}

// serve runs a server on a listener in the background.
func (n *Node) serve(name string, l net.Listener, serve func(net.Listener) error) {
	n.serving.Go(func() {
		if err := serve(l); err != nil && !n.stopping.Load() {
			n.failed <- fmt.Errorf("%s listener on %s: %w", name, l.Addr(), err)
		}
	})
}
