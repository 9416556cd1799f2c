package server

import (
	"math"
	"slices"
	"strings"
	"time"
)

// Option describes one setting of a node. It is set, with falling precedence,
// by its flag (when it has one), by its environment variable, or by its key in
// the configuration file.
type Option struct {
	Key   string // in the file: the table's name, a dot, the key
	Flag  string // without the dashes; "" when there is none
	Usage string
	value
}

// Env is the environment variable that sets the option: WAYBILL_ and the name
// of its flag, or its key when it has no flag, in capitals and with
// underscores.
func (o Option) Env() string {
	name := o.Flag
	if name == "" {
		name = o.Key
	}
	return envPrefix + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

const envPrefix = "WAYBILL_"

// Show is the option's present value as text; "" when it is derived at the start.
func (o Option) Show() string { return o.show() }

// Check reports what is wrong with a value, as text, for the option. It sets
// the option of the Config that Options was called on.
func (o Option) Check(text string) error { return o.parse(text) }

// Bool reports whether the option is a switch.
func (o Option) Bool() bool { return o.kind == kindBoolean }

// Kind names the type of the option's value.
func (o Option) Kind() string { return string(o.kind) }

// Options lists the settings of c, bound to it.
func (c *Config) Options() []Option {
	return slices.Concat(c.ownOptions(), c.clusterOptions(), c.kafkaOptions())
}

func (c *Config) ownOptions() []Option {
	return []Option{
		{"data-dir", "data-dir", "directory that holds everything; it belongs to one process", textValue(&c.DataDir)},
		{"shutdown-timeout", "", "how long a stopping node waits for clients to take their last answers", duration(&c.ShutdownTimeout, 0, time.Hour)},
		{"log.format", "log-format", "text or json", oneOf(&c.Log.Format, "text", "json")},
		{"log.level", "log-level", "debug, info, warn or error", oneOf(&c.Log.Level, "debug", "info", "warn", "error")},

		{"amqp.listen", "amqp", "address for AMQP 0-9-1 clients", address(&c.AMQP.Listen, false)},
		{"amqp.advertised", "", "address of the AMQP listener that others are told; without it made of amqp.listen and the host of cluster.advertised", address(&c.AMQP.Advertised, true)},
		{"amqp.max-connections", "", "connections at the same time; 0 for no limit", integer(&c.AMQP.MaxConnections, 0, math.MaxInt32)},
		{"amqp.max-connections-per-address", "", "the same of one IP address", integer(&c.AMQP.MaxConnectionsPerAddress, 0, math.MaxInt32)},
		{"amqp.max-connections-per-user", "", "the same of one user", integer(&c.AMQP.MaxConnectionsPerUser, 0, math.MaxInt32)},
		{"amqp.channel-max", "", "channels that a connection may open", integer(&c.AMQP.MaxChannels, 1, math.MaxUint16)},
		{"amqp.frame-max", "", "largest frame", size(&c.AMQP.MaxFrame, 8192, 16<<20)},
		{"amqp.max-message-size", "", "largest message body", size(&c.AMQP.MaxMessage, 1, 128<<20)},
		{"amqp.max-transaction-size", "", "bytes that the open transactions of a connection may publish", size(&c.AMQP.MaxTransaction, 1, 1<<30)},
		{"amqp.heartbeat", "", "heartbeat interval that is proposed to clients", duration(&c.AMQP.Heartbeat, time.Second, math.MaxUint16*time.Second)},
		{"amqp.handshake-timeout", "", "time that a client has from connecting to connection.open", duration(&c.AMQP.HandshakeTimeout, time.Second, 5*time.Minute)},
		{"amqp.write-timeout", "", "time in which a client must read 128 KiB, or it is cut off", duration(&c.AMQP.WriteTimeout, time.Second, time.Hour)},
		{"amqp.output-limit", "", "bytes that may wait for one client to read them", size(&c.AMQP.OutputLimit, 64<<10, 1<<30)},

		{"http.listen", "http", "address for health, metrics and the HTTP API", address(&c.HTTP.Listen, false)},
		{"http.advertised", "", "address of the HTTP listener that others are told; without it made of http.listen and the host of cluster.advertised", address(&c.HTTP.Advertised, true)},
		{"http.pprof", "pprof", "serve net/http/pprof under /debug/pprof/", boolean(&c.HTTP.Pprof)},

		{"disk.reserve", "", "free space below which publishing is blocked, as a size or as a share like 5%; without it 5 % of the disk and at least 2 GiB, but no more than a fifth of the disk", reserve(&c.Disk.Reserve)},
		{"disk.wal-file-size", "", "size of one file of the write-ahead log; without it 128 MiB, less on a disk below 8 GiB", size(&c.Disk.WALFileSize, 1<<20, 1<<30)},
		{"disk.direct-io", "", "auto: the write-ahead log is written past the page cache while consumers keep up, or lag by more than it can hold; always: whoever reads; never: through the page cache", oneOf(&c.Disk.DirectIO, "auto", "always", "never")},
		{"disk.segment-size", "", "size at which a log starts a new segment file; without it 256 MiB", size(&c.Disk.SegmentSize, 64<<10, 1<<32)},

		{"auth.guest", "", "whether the user guest, password guest, exists; it can log in from a loopback address only", boolean(&c.Guest)},
	}
}

// clusterOptions say how the nodes of a cluster find and know each other.
func (c *Config) clusterOptions() []Option {
	k := &c.Cluster
	return []Option{
		{"cluster.node-id", "node-id", "number of this node, another one for each node of a cluster; it belongs to the data directory", integer(&k.NodeID, 1, math.MaxInt32)},
		{"cluster.listen", "cluster-listen", "address for the other nodes of the cluster; without it there is none", address(&k.Listen, false)},
		{"cluster.advertised", "cluster-advertised", "address that the other nodes are told; without it cluster.listen", address(&k.Advertised, true)},
		{"cluster.join", "join", "cluster-listen addresses of the nodes to found a cluster with, or of some that have one; this node's may be among them", addresses(&k.Join)},
		{"cluster.tls-cert", "tls-cert", "file with this node's certificate, PEM; without it nodes talk in plaintext, and over the loopback interface only", textValue(&k.Cert)},
		{"cluster.tls-key", "tls-key", "file with the key of the certificate", textValue(&k.Key)},
		{"cluster.tls-ca", "tls-ca", "file with the certificates of who signs the nodes' certificates", textValue(&k.CA)},

		{"cluster.catch-up-rate", "", "bytes a second that this node reads for replicas that are behind, and as many that it takes in of snapshots", size(&k.CatchUpRate, 8<<20, 1<<40)},
		{"cluster.leaders-return-after", "", "how long the preferred leader of a log is up to date before it takes over again; 0 for never", duration(&k.LeadersReturnAfter, 0, 24*time.Hour)},
	}
}

// kafkaOptions are the settings of Kafka clients; from num.partitions on they
// bear the names of Kafka's broker settings.
func (c *Config) kafkaOptions() []Option {
	k := &c.Kafka
	return []Option{
		{"kafka.listen", "kafka", "address for Kafka clients", address(&k.Listen, false)},
		{"kafka.advertised", "kafka-advertised", "address that Kafka clients are told to connect to; without it the one that they reached", address(&k.Advertised, true)},

		{"kafka.node.id", "", "node id that Kafka clients see; in a cluster it is cluster.node-id", integer(&k.NodeID, 0, math.MaxInt32)},
		{"kafka.num.partitions", "", "partitions of a topic that is created without a number", integer(&k.NumPartitions, 1, 10_000)},
		{"kafka.default.replication.factor", "", "replicas of a topic that is created without a number; -1 for three, or as many as there are nodes", integer(&k.DefaultReplicationFactor, -1, 32767)},
		{"kafka.auto.create.topics.enable", "", "create a topic when it is first used", boolean(&k.AutoCreateTopics)},
		{"kafka.message.max.bytes", "", "largest record batch", topicDefault(k.TopicDefaults, "max.message.bytes", "1048588", 0, math.MaxInt32)},
		{"kafka.log.retention.ms", "", "age at which records are deleted; -1 for never", topicDefault(k.TopicDefaults, "retention.ms", "604800000", -1, math.MaxInt64)},
		{"kafka.log.retention.bytes", "", "size of a partition beyond which its oldest records are deleted; -1 for no limit", topicDefault(k.TopicDefaults, "retention.bytes", "-1", -1, math.MaxInt64)},
		{"kafka.group.initial.rebalance.delay.ms", "", "how long a new consumer group waits for more members", units(&k.GroupInitialRebalanceDelay, time.Millisecond, 0, math.MaxInt32)},
		{"kafka.group.min.session.timeout.ms", "", "shortest session timeout that a member may ask for", units(&k.GroupMinSessionTimeout, time.Millisecond, 0, math.MaxInt32)},
		{"kafka.group.max.session.timeout.ms", "", "longest session timeout that a member may ask for", units(&k.GroupMaxSessionTimeout, time.Millisecond, 1, math.MaxInt32)},
		{"kafka.group.max.size", "", "members that a consumer group may have", integer(&k.GroupMaxSize, 1, math.MaxInt32)},
		{"kafka.offsets.retention.minutes", "", "how long the committed offsets of an empty group are kept", units(&k.OffsetsRetention, time.Minute, 1, math.MaxInt32)},
		{"kafka.offset.metadata.max.bytes", "", "longest metadata of a committed offset", integer(&k.OffsetMetadataMaxBytes, 0, math.MaxInt16)},
		{"kafka.max.connections", "", "connections at the same time", integer(&k.MaxConnections, 1, math.MaxInt32)},
		{"kafka.connections.max.idle.ms", "", "idle time after which a connection is closed", units(&k.IdleTimeout, time.Millisecond, 1000, math.MaxInt64)},
		{"kafka.socket.request.max.bytes", "", "largest request", integer(&k.MaxRequestBytes, 1<<10, 1<<30)},
		{"kafka.fetch.max.bytes", "", "most bytes in the answer to one Fetch", integer(&k.FetchMaxBytes, 1<<10, 1<<30)},
	}
}
