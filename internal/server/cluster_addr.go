package server

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"time"

	"waybill/internal/broker"
)

// addresses are where others reach this node, as far as that is known: a port
// 0 is known when it is listened on.
func (n *Node) addresses() broker.Addresses {
	l := &n.listeners
	return broker.Addresses{
		Cluster: n.links.addr,
		AMQP:    n.advertised(n.cfg.AMQP.Advertised, n.cfg.AMQP.Listen, l.amqp),
		Kafka:   n.advertised(n.cfg.Kafka.Advertised, n.cfg.Kafka.Listen, l.kafka),
		HTTP:    n.advertised(n.cfg.HTTP.Advertised, n.cfg.HTTP.Listen, l.http),
	}
}

// advertised is the address of a listener that others are told. Where it
// listens on all interfaces, they reach it where they reach the node.
func (n *Node) advertised(told, listen string, l net.Listener) string {
	if told != "" {
		return told
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return ""
	}
	if l != nil {
		_, port, _ = net.SplitHostPort(l.Addr().String())
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host, _, _ = net.SplitHostPort(n.links.addr)
	}
	if host == "" || port == "0" {
		return ""
	}
	return net.JoinHostPort(host, port)
}

// announce tells the cluster the addresses that were not known before.
func (n *Node) announce(ctx context.Context) error {
	now := n.addresses()
	if n.links.transport == nil || now == n.links.told {
		return nil
	}
	return n.broker.Announce(ctx, now)
}

// missingEvery is the time between two lines about what a start waits for.
const missingEvery = 5 * time.Second

// sayWhatIsMissing logs, until stop is called, which nodes a start waits for.
func (n *Node) sayWhatIsMissing(ctx context.Context) (stop func()) {
	if n.links.transport == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(missingEvery)
		defer tick.Stop()
		for {
			text := n.missing()
			n.links.waits.Store(&text)
			select {
			case <-ctx.Done():
				n.links.waits.Store(nil)
				return
			case <-tick.C:
				n.log.Info("waiting for the catalog", "why", n.missing())
			}
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

func (n *Node) missing() string {
	var down []uint64
	up := n.links.transport.Peers()
	for _, node := range slices.Sorted(maps.Keys(up)) {
		if !up[node] {
			down = append(down, node)
		}
	}
	if len(down) == 0 {
		return "the catalog has no leader yet"
	}
	return fmt.Sprintf("the catalog has no leader yet; nodes that cannot be reached: %v", down)
}
