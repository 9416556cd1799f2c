package amqp

import (
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"waybill/internal/broker"
)

// Authenticator checks logins. The error is shown to the client.
type Authenticator interface {
	Login(mechanism, user, password string, peer net.Addr) error
}

// Config configures a Server. The zero value of an optional field means its
// default.
type Config struct {
	Broker     *broker.Broker
	Auth       Authenticator
	Logger     *slog.Logger          // default slog.Default
	Registerer prometheus.Registerer // nil: no metrics are registered

	Version     string // Waybill's own, told to clients
	ClusterName string // told to clients, "waybill"

	MaxConnections           int           // that are open at a time, 0 for no limit
	MaxConnectionsPerAddress int           // the same from one IP address
	MaxConnectionsPerUser    int           // the same of one user
	MaxChannels              int           // per connection, 2047
	MaxFrame                 int           // bytes, 131072
	MaxMessage               int           // bytes of a body, 16 MiB
	MaxTransaction           int           // bytes that a connection's transactions may publish, 64 MiB
	Heartbeat                time.Duration // suggested to clients, 60 s
	HandshakeTimeout         time.Duration // from the first byte to connection.open, 10 s
	WriteTimeout             time.Duration // for 128 KiB; a client that reads slower is cut off; 60 s
	OutputLimit              int           // bytes that wait for one client to read them, 1 MiB

	// Intake is what all connections may hold of messages that are not complete
	// and transactions that are not committed; one of its own, of 512 MiB.
	Intake *broker.Intake
}

func (c *Config) setDefaults() {
	orElse(&c.MaxChannels, 2047)
	orElse(&c.MaxFrame, 128<<10)
	orElse(&c.MaxMessage, 16<<20)
	orElse(&c.MaxTransaction, 64<<20)
	orElse(&c.Heartbeat, 60*time.Second)
	orElse(&c.HandshakeTimeout, 10*time.Second)
	orElse(&c.WriteTimeout, 60*time.Second)
	orElse(&c.OutputLimit, 1<<20)
	orElse(&c.Version, "dev")
	orElse(&c.ClusterName, "waybill")
	if c.Intake == nil {
		c.Intake = broker.NewIntake(512<<20, 0)
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
}

func orElse[T comparable](value *T, def T) {
	var zero T
	if *value == zero {
		*value = def
	}
}
