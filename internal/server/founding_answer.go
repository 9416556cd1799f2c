package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"waybill/internal/broker"
	"waybill/internal/transport"
)

// answerJoin answers a node that is in no cluster yet.
func (n *Node) answerJoin(ctx context.Context, from transport.Identity, request []byte) ([]byte, error) {
	var q joinRequest
	if err := json.Unmarshal(request, &q); err != nil {
		return nil, fmt.Errorf("not a question to join: %w", err)
	}
	if q.Node != from.Node || q.Store != from.Store {
		return nil, fmt.Errorf("node %d asks for node %d", from.Node, q.Node)
	}
	a := joinAnswer{Node: n.cfg.Cluster.NodeID, Store: n.store.ID(), Addr: n.links.addr}
	switch file := n.links.file.Load(); {
	case file != nil:
		a.Cluster, a.Founders, a.Members = file.Cluster, file.Founders, n.links.members()
		switch {
		case q.Lost != "":
			n.giveUp(ctx, q, &a)
		case q.Admit:
			n.admit(ctx, q, &a)
		}
	default:
		if f := n.links.founding.Load(); f != nil {
			a.View = f.seen()
		}
	}
	return json.Marshal(a)
}

// admit has the catalog decide about a node that wants to join.
func (n *Node) admit(ctx context.Context, q joinRequest, a *joinAnswer) {
	b := n.links.broker.Load()
	if b == nil {
		a.Wait = "it is starting"
		return
	}
	admitted, err := b.AddNode(ctx, q.Node, q.Store, q.Addr)
	var refusal *broker.Error
	switch {
	case err == nil:
		a.Replica = admitted.Replica
		a.Members = n.links.members()
		n.log.Info("a node joins the cluster", "node", q.Node, "replica", admitted.Replica, "addr", q.Addr)
	case errors.As(err, &refusal) && refusal.Kind != broker.Unavailable:
		a.Refused = refusal.Text
	default:
		a.Wait = err.Error()
	}
}

// giveUp has the cluster do without the damaged data directory of a node.
func (n *Node) giveUp(ctx context.Context, q joinRequest, a *joinAnswer) {
	b := n.links.broker.Load()
	if b == nil {
		a.Wait = "it is starting"
		return
	}
	err := b.GiveUp(ctx, q.Node, q.Lost)
	var refusal *broker.Error
	switch {
	case err == nil:
		a.GivenUp = true
		n.log.Warn("the damaged data directory of a node is given up; the node gets a new replica id", "node", q.Node)
	case errors.As(err, &refusal) && refusal.Kind == broker.AccessRefused:
		a.Refused = refusal.Text
	default:
		a.Wait = err.Error()
	}
}
