package server

import (
	"math"
	"net"
	"time"

	"waybill/internal/kafka"
)

// Config is what a node is told: the configuration file, the environment and
// the flags end up here. See [DefaultConfig] and [Load].
type Config struct {
	DataDir string

	Log   LogConfig
	AMQP  AMQPConfig
	Kafka KafkaConfig
	HTTP  HTTPConfig
	Disk  DiskConfig

	Cluster ClusterConfig

	// Guest says whether the user guest, password guest, exists; it may log in
	// from a loopback address only.
	Guest bool
	// Users are the users of the node: name → hash (auth.HashPassword).
	Users map[string]string

	// ShutdownTimeout is how long stopping waits for clients to take their
	// last answers.
	ShutdownTimeout time.Duration
}

// LogConfig says how the node logs.
type LogConfig struct {
	Format string // text or json
	Level  string // debug, info, warn or error
}

// AMQPConfig configures the AMQP listener.
type AMQPConfig struct {
	Listen                   string        // host:port
	Advertised               string        // host:port that others are told; "": made of the others
	MaxChannels              int           // of a connection
	MaxFrame                 int           // bytes
	MaxMessage               int           // bytes of a body
	MaxTransaction           int           // bytes that a connection's transactions may publish
	MaxConnections           int           // 0: no limit
	MaxConnectionsPerAddress int           // 0: no limit
	MaxConnectionsPerUser    int           // 0: no limit
	Heartbeat                time.Duration // that the broker proposes
	HandshakeTimeout         time.Duration // from the first byte to connection.open
	WriteTimeout             time.Duration // for 128 KiB, before a client counts as stuck
	OutputLimit              int           // bytes that wait for one client to read them
}

// KafkaConfig configures the Kafka listener.
type KafkaConfig struct {
	Listen     string // host:port
	Advertised string // host:port that clients are told; "": the address that they reached
	NodeID     int32
	kafka.Settings
}

// HTTPConfig configures the HTTP listener.
type HTTPConfig struct {
	Listen     string // host:port
	Advertised string // host:port that others are told; "": made of the others
	Pprof      bool   // serve net/http/pprof
}

// ClusterConfig says which node of which cluster this one is.
type ClusterConfig struct {
	NodeID     uint64   // the operator's number of the node
	Listen     string   // host:port for the other nodes; "": none can reach this one
	Advertised string   // host:port that the other nodes are told; "": what is listened on
	Join       []string // host:port of the nodes to found a cluster with, or to join
	Cert       string   // file with the node's certificate, PEM; "": plaintext, loopback only
	Key        string   // file with its key
	CA         string   // file with the certificates that sign those of the nodes

	CatchUpRate        int64         // bytes a second for replicas that are behind
	LeadersReturnAfter time.Duration // until preferred leaders take over again; 0: never

	listener net.Listener // in tests, instead of Listen's
}

// DiskConfig says how the node uses its disk.
type DiskConfig struct {
	// Reserve is the free space below which nothing may be published.
	Reserve Reserve
	// WALFileSize is the size of one file of the write-ahead log in bytes; 0:
	// 128 MiB, less on a disk below 8 GiB.
	WALFileSize int64
	// DirectIO says when the write-ahead log is written past the page cache: auto, always or never.
	DirectIO string
	// SegmentSize is the size at which a log starts a new segment, in bytes; 0: the storage's default.
	SegmentSize int64
}

// DefaultConfig is the configuration of a node that was told nothing.
func DefaultConfig() Config {
	settings := kafka.DefaultSettings()
	settings.TopicDefaults = map[string]string{}
	settings.GroupMaxSize = min(settings.GroupMaxSize, math.MaxInt32) // Kafka's own limit
	return Config{
		DataDir: "./waybill-data",
		Log:     LogConfig{Format: "text", Level: "info"},
		AMQP: AMQPConfig{
			Listen:           "127.0.0.1:5672",
			MaxChannels:      2047,
			MaxFrame:         128 << 10,
			MaxMessage:       16 << 20,
			MaxTransaction:   64 << 20,
			MaxConnections:   10_000,
			Heartbeat:        time.Minute,
			HandshakeTimeout: 10 * time.Second,
			WriteTimeout:     time.Minute,
			OutputLimit:      1 << 20,
		},
		Kafka:           KafkaConfig{Listen: "127.0.0.1:9092", Settings: settings},
		HTTP:            HTTPConfig{Listen: "127.0.0.1:15672"},
		Disk:            DiskConfig{DirectIO: "auto"},
		Cluster:         ClusterConfig{NodeID: 1, CatchUpRate: 64 << 20, LeadersReturnAfter: time.Minute},
		Guest:           true,
		Users:           map[string]string{},
		ShutdownTimeout: 10 * time.Second,
	}
}
