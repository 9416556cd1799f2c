package server

import (
	"context"
	"fmt"
	"sync"
)

// Stop stops the node. Clients have until ctx ends, or the configured time has
// passed, to take their last answers; then their connections are cut.
func (n *Node) Stop(ctx context.Context) error {
	n.stopping.Store(true)
	clients, cancel := context.WithTimeout(ctx, n.cfg.ShutdownTimeout)
	defer cancel()
	n.handOver(clients)
	n.stopClients(clients)

	if n.watching != nil {
		n.watching()
	}
	if n.broker != nil {
		n.broker.Close()
	}
	if n.links.transport != nil {
		if err := n.links.transport.Close(); err != nil {
			n.log.Warn("server: the listener for other nodes", "err", err)
		}
	}
	if host := n.host.Load(); host != nil {
		host.Close()
	}
	var failure error
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			failure = fmt.Errorf("data directory %s: %w", n.dir, err)
		}
	}
	if n.admin != nil {
		if err := n.admin.Shutdown(clients); err != nil {
			n.log.Warn("server: HTTP requests were cut off", "err", err)
		}
	}
	n.serving.Wait()
	return failure
}

// stopClients stops the servers of both protocols side by side. That clients
// were cut off after the time they had is told in the log; it is no failure.
func (n *Node) stopClients(ctx context.Context) {
	var both sync.WaitGroup
	stop := func(name string, shutdown func(context.Context) error) {
		both.Go(func() {
			if err := shutdown(ctx); err != nil {
				n.log.Warn("server: clients were cut off", "protocol", name, "err", err)
			}
		})
	}
	if n.amqp != nil {
		stop("amqp", n.amqp.Shutdown)
	}
	if n.kafka != nil {
		stop("kafka", n.kafka.Shutdown)
	}
	both.Wait()
}
