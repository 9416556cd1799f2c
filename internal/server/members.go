package server

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"waybill/internal/admin"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// members is what the HTTP API sees of the cluster. It implements admin.Cluster.
type members struct{ n *Node }

// maxNamed is how many raft groups in trouble are named.
const maxNamed = 20

// Status implements admin.Cluster.
func (m members) Status() admin.ClusterStatus {
	b, own := m.n.broker, m.n.cfg.Cluster.NodeID
	logs := b.Logs()
	s := admin.ClusterStatus{Cluster: b.ClusterID(), Asked: own, Groups: len(logs)}
	s.CatalogLeader, _ = b.Controller()
	down := b.Down()
	index := map[uint64]int{}
	for _, node := range append(b.Nodes(), b.Parting()...) {
		index[node.ID] = len(s.Nodes)
		s.Nodes = append(s.Nodes, admin.ClusterNode{
			ID: node.ID, Replica: node.Replica, State: stateName(string(node.State)), Up: !slices.Contains(down, node.ID),
			Address: node.Addr, AMQP: node.AMQP, Kafka: node.Kafka, HTTP: node.HTTP,
		})
	}
	for _, l := range logs {
		for _, node := range slices.Concat(l.Replicas, l.Leaving) {
			if i, ok := index[node]; ok {
				s.Nodes[i].Replicas++
			}
		}
		if i, ok := index[l.Leader]; ok {
			s.Nodes[i].Leaders++
		} else {
			s.LeaderlessTotal++
			s.Leaderless = named(s.Leaderless, l.What)
		}
		live := m.live(&l, down)
		text := fmt.Sprintf("%s (%d of %d)", l.What, live, len(l.Replicas))
		if l.Moving { // a node that is lost may still count for its majority
			text = fmt.Sprintf("%s (%d of %d, its replicas are being moved)", l.What, live, len(l.Replicas))
		}
		if live < len(l.Replicas) || l.Moving {
			s.UnderReplicatedTotal++
			s.UnderReplicated = named(s.UnderReplicated, text)
		}
	}
	return s
}

func named(list []string, what string) []string {
	if len(list) < maxNamed {
		list = append(list, what)
	}
	return list
}

func stateName(state string) string {
	if state == "" {
		return "active"
	}
	return state
}

// live is how many replicas are up to date; where only another node knows, those
// whose node is up.
func (m members) live(l *broker.Log, down []uint64) int {
	if l.InSync != nil {
		return len(l.InSync)
	}
	up := 0
	for _, node := range l.Replicas {
		if !slices.Contains(down, node) {
			up++
		}
	}
	return up
}

// Groups implements admin.Cluster.
func (m members) Groups() []admin.ClusterGroup {
	logs := m.n.broker.Logs()
	list := make([]admin.ClusterGroup, len(logs))
	for i, l := range logs {
		list[i] = admin.ClusterGroup{Log: uint64(l.ID), What: l.What, Leader: l.Leader, Term: l.Term, Replicas: l.Replicas, Live: -1}
		if l.InSync != nil {
			list[i].Live = len(l.InSync)
		}
	}
	return list
}

// Remove implements admin.Cluster, as do the others.
func (m members) Remove(ctx context.Context, node uint64) error {
	return unknown(m.n.broker.RemoveNode(ctx, node))
}

// Replace gives up the data directory of a node.
func (m members) Replace(ctx context.Context, node uint64) error {
	return unknown(m.n.broker.ReplaceNode(ctx, node))
}

// Drain moves all leaders off a node.
func (m members) Drain(ctx context.Context, node uint64, undo bool) error {
	return unknown(m.n.broker.DrainNode(ctx, node, undo))
}

// Transfer moves one leadership.
func (m members) Transfer(ctx context.Context, log, to uint64) error {
	return unknown(m.n.broker.Transfer(ctx, record.LogID(log), to))
}

// Rebalance spreads replicas and leaders.
func (m members) Rebalance(ctx context.Context) error { return unknown(m.n.broker.Rebalance(ctx)) }

// unknown marks the errors that say that there is no such node or log.
func unknown(err error) error {
	var refusal *broker.Error
	if errors.As(err, &refusal) && refusal.Kind == broker.NotFound {
		return fmt.Errorf("%w: %w", admin.ErrUnknown, err)
	}
	return err
}
