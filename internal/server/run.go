package server

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"strings"
	"time"
)

// Version is the version of Waybill.
const Version = "0.1.0-dev"

// Run runs a node until ctx ends, and then stops it in order. It writes what
// the node listens on to out, once it is ready, and its log to logTo.
func Run(ctx context.Context, cfg Config, out, logTo io.Writer, warnings ...string) error {
	log, err := NewLogger(cfg.Log, logTo)
	if err != nil {
		return err
	}
	for _, w := range warnings {
		log.Warn(w)
	}
	go watchMemory(ctx)
	go watchCores(ctx)
	n, err := Start(ctx, cfg, log)
	if err != nil && ctx.Err() != nil {
		log.Info("stopped before it was ready", "reason", context.Cause(ctx))
		return nil //nolint:nilerr // whoever stops a node does not care that it had not started
	}
	if err != nil {
		return err
	}
	if _, err := io.WriteString(out, n.banner()); err != nil {
		log.Warn("server: cannot write to standard output", "err", err)
	}
	n.warnOfOpenDoors()
	var failure error
	select {
	case <-ctx.Done():
		log.Info("stopping", "reason", context.Cause(ctx))
	case failure = <-n.Failed():
		log.Error("stopping", "err", failure)
	}
	if err := n.Stop(context.Background()); err != nil {
		return err
	}
	if failure == nil {
		log.Info("stopped")
	}
	return failure
}

// NewLogger returns a logger in the configured format.
func NewLogger(cfg LogConfig, to io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		return nil, fmt.Errorf("%w: log.level: %w", ErrConfig, err)
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(to, o)), nil
	}
	return slog.New(slog.NewTextHandler(to, o)), nil
}

// banner is what a started node tells: where it listens, and where its data is.
func (n *Node) banner() string {
	var b strings.Builder
	a := n.Addrs()
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-7s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "Waybill %s is ready after %v. It listens on\n", Version, time.Since(n.started).Round(time.Millisecond))
	login := ""
	if n.cfg.Guest && isLoopback(a.AMQP) {
		login = "guest:guest@"
	}
	line("AMQP", "amqp://%s%s", login, a.AMQP)
	line("Kafka", "%s", a.Kafka)
	line("HTTP", "http://%s  (/healthz, /readyz, /metrics, /api/overview)", a.HTTP)
	if n.links.transport != nil {
		line("nodes", "%s  (this is node %d of cluster %s)", n.links.addr, n.cfg.Cluster.NodeID, n.broker.ClusterID())
	}
	line("data", "%s  (%s free, publishing is blocked below %s)", n.dir, showBytes(n.disk.free), showBytes(n.disk.reserve))
	if ownMemoryLimit < math.MaxInt64 {
		line("memory", "limited to %s", showBytes(uint64(ownMemoryLimit)))
	}
	return b.String()
}

// warnOfOpenDoors names listeners that others than this machine can reach.
func (n *Node) warnOfOpenDoors() {
	a := n.Addrs()
	for _, door := range []struct {
		name string
		addr net.Addr
		risk string
	}{
		{"AMQP", a.AMQP, "users and passwords cross the network in clear text"},
		{"Kafka", a.Kafka, "whoever reaches it can read and write all topics: Kafka clients do not log in"},
		{"HTTP", a.HTTP, "whoever reaches it can read the metrics, and passwords cross the network in clear text"},
	} {
		if !isLoopback(door.addr) {
			n.log.Warn("a listener is open to other machines", "protocol", door.name, "addr", door.addr, "risk", door.risk)
		}
	}
}

func isLoopback(addr net.Addr) bool {
	t, ok := addr.(*net.TCPAddr)
	return ok && t.IP.IsLoopback()
}
