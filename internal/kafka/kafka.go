// Package kafka serves Kafka clients: it speaks the Kafka protocol on a
// listener and turns each request into verbs of package broker.
//
// # A connection
//
// Two goroutines serve a connection. The reader takes one request after the
// other off the socket, decodes it and starts its handler; the writer sends the
// responses in the order of the requests, as many at once as are ready. Between
// them lies the connection's pipeline of requests that are not answered yet.
// A handler is started on the reader and may answer later from any goroutine,
// so several Produce requests of a connection are in flight together, and still
// take effect in the order in which they were sent.
//
// # Adding an API
//
// An API key is one line in the table of api.go and one file named after the
// key (00_produce.go). See handler for the three ways to answer.
//
// # What a client can make the broker hold
//
// A frame is at most MaxRequestBytes long and its buffer grows with the bytes
// received, never with the length declared; beyond its first piece it comes out
// of the Intake, which all connections share. The shape of a request is checked
// before it is decoded (shape.go). At most maxPipeline requests of a connection
// wait for an answer, and fewer when they are large; beyond that it is not read, nor
// while the broker holds too many bytes that are not durable yet. The bytes of
// Fetch responses come out of one budget.
package kafka

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/broker"
)

// Config configures a [Server].
type Config struct {
	Broker     *broker.Broker
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept but not registered

	// AdvertisedHost and AdvertisedPort are what Metadata tells clients to
	// connect to. With an empty host or port 0 a client is told the address
	// at which it has reached this node.
	AdvertisedHost string
	AdvertisedPort int32

	// Intake is what all connections may hold of requests that are not complete, or
	// not answered yet; one of its own, of 512 MiB, when nil.
	Intake *broker.Intake

	// NodeID is what clients are told as the id of this node; 0 is allowed. Other
	// nodes are told under their ids in the cluster.
	NodeID    int32
	ClusterID string

	Settings

	// firstRequest is the time in which a new connection has to send its first
	// request; stall that for the next piece of a frame that was begun, either
	// way. 0: the usual ones. Tests shorten them.
	firstRequest, stall time.Duration
}

// Settings are the broker settings, by Kafka's names.
type Settings struct {
	NumPartitions            int32         // num.partitions
	DefaultReplicationFactor int16         // default.replication.factor; -1: three, or as many as there are nodes
	AutoCreateTopics         bool          // auto.create.topics.enable
	MaxRequestBytes          int32         // socket.request.max.bytes
	FetchMaxBytes            int32         // fetch.max.bytes
	MaxConnections           int           // max.connections
	IdleTimeout              time.Duration // connections.max.idle.ms

	// TopicDefaults are the topic configs that hold where a topic does not
	// set its own, by topic config name (retention.ms for log.retention.ms).
	TopicDefaults map[string]string

	GroupInitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	GroupMinSessionTimeout     time.Duration // group.min.session.timeout.ms
	GroupMaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	GroupMaxSize               int           // group.max.size
	OffsetsRetention           time.Duration // offsets.retention.minutes
	OffsetMetadataMaxBytes     int           // offset.metadata.max.bytes
}

// DefaultSettings are Kafka's own defaults, but that replicas are made where
// there are nodes for them.
func DefaultSettings() Settings {
	return Settings{
		NumPartitions:              1,
		DefaultReplicationFactor:   -1,
		AutoCreateTopics:           true,
		MaxRequestBytes:            100 << 20,
		FetchMaxBytes:              55 << 20,
		MaxConnections:             10_000,
		IdleTimeout:                10 * time.Minute,
		GroupInitialRebalanceDelay: 3 * time.Second,
		GroupMinSessionTimeout:     6 * time.Second,
		GroupMaxSessionTimeout:     30 * time.Minute,
		GroupMaxSize:               1 << 31,
		OffsetsRetention:           7 * 24 * time.Hour,
		OffsetMetadataMaxBytes:     4096,
	}
}
