package server

import (
	"fmt"
	"net"
	"strconv"

	"waybill/internal/admin"
	"waybill/internal/amqp"
	"waybill/internal/kafka"
)

// listeners are what the node listens on; nil where it does not yet.
type listeners struct {
	amqp, kafka, http net.Listener
}

// Addrs are the addresses that a node listens on, with the real ports where
// port 0 was asked for.
type Addrs struct {
	AMQP, Kafka, HTTP net.Addr
}

// Addrs tells where the node listens.
func (n *Node) Addrs() Addrs {
	return Addrs{n.listeners.amqp.Addr(), n.listeners.kafka.Addr(), n.listeners.http.Addr()}
}

// listen opens a listener; the error names what it is for and how to move it.
func listen(name, flag, addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("cannot listen for %s: %w (choose another address with --%s)", name, err, flag)
	}
	return l, nil
}

func (n *Node) serveHTTP() (err error) {
	if n.listeners.http != nil {
		return nil
	}
	if n.listeners.http, err = listen("HTTP", "http", n.cfg.HTTP.Listen); err != nil {
		return err
	}
	n.admin = admin.NewServer(admin.Config{
		Auth:     n.auth,
		Gatherer: n.registry,
		Ready:    n.ready,
		View:     n.view.Load,
		Pprof:    n.cfg.HTTP.Pprof,
		Logger:   n.log,
	})
	n.serve("HTTP", n.listeners.http, n.admin.Serve)
	return nil
}

// serveClients opens both listeners before it serves either: a node with one
// protocol missing should not have accepted a client.
func (n *Node) serveClients() error {
	kafkaConfig, err := n.kafkaConfig()
	if err != nil {
		return err
	}
	if n.listeners.amqp, err = listen("AMQP", "amqp", n.cfg.AMQP.Listen); err != nil {
		return err
	}
	if n.listeners.kafka, err = listen("Kafka", "kafka", n.cfg.Kafka.Listen); err != nil {
		_ = n.listeners.amqp.Close() // it has served nobody
		return err
	}
	intake := n.newIntake()
	amqpConfig := n.amqpConfig()
	amqpConfig.Intake, kafkaConfig.Intake = intake, intake
	n.amqp = amqp.NewServer(amqpConfig)
	n.kafka = kafka.NewServer(kafkaConfig)
	n.serve("AMQP", n.listeners.amqp, n.amqp.Serve)
	n.serve("Kafka", n.listeners.kafka, n.kafka.Serve)
	return nil
}

func (n *Node) amqpConfig() amqp.Config {
	c := &n.cfg.AMQP
	return amqp.Config{
		Broker:                   n.broker,
		Auth:                     n.auth,
		Logger:                   n.log,
		Registerer:               n.registry,
		Version:                  Version,
		MaxConnections:           c.MaxConnections,
		MaxConnectionsPerAddress: c.MaxConnectionsPerAddress,
		MaxConnectionsPerUser:    c.MaxConnectionsPerUser,
		MaxChannels:              c.MaxChannels,
		MaxFrame:                 c.MaxFrame,
		MaxMessage:               c.MaxMessage,
		MaxTransaction:           c.MaxTransaction,
		Heartbeat:                c.Heartbeat,
		HandshakeTimeout:         c.HandshakeTimeout,
		WriteTimeout:             c.WriteTimeout,
		OutputLimit:              c.OutputLimit,
	}
}

// kafkaID is the number that Kafka clients know this node by. In a cluster it
// is the node's own, since every node must know it.
func (n *Node) kafkaID() int32 {
	if n.links.transport != nil {
		return int32(n.cfg.Cluster.NodeID)
	}
	return n.cfg.Kafka.NodeID
}

func (n *Node) kafkaConfig() (kafka.Config, error) {
	c := kafka.Config{
		Broker:     n.broker,
		Logger:     n.log,
		Registerer: n.registry,
		NodeID:     n.kafkaID(),
		ClusterID:  n.broker.ClusterID(),
		Settings:   n.cfg.Kafka.Settings,
	}
	if n.cfg.Kafka.Advertised == "" {
		return c, nil
	}
	host, port, err := net.SplitHostPort(n.cfg.Kafka.Advertised)
	if err != nil {
		return c, fmt.Errorf("%w: kafka.advertised: %w", ErrConfig, err)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return c, fmt.Errorf("%w: kafka.advertised: %w", ErrConfig, err)
	}
	c.AdvertisedHost, c.AdvertisedPort = host, int32(number)
	return c, nil
}
