package server

import (
	"context"
	"net"
	"net/netip"

	"waybill/internal/admin"
)

// newView is what the HTTP API shows.
func (n *Node) newView() *admin.View {
	a := n.Addrs()
	return &admin.View{
		Version: Version,
		Cluster: n.broker.ClusterID(),
		Node:    "waybill",
		Listeners: []admin.Listener{
			listenerView("amqp", a.AMQP), listenerView("kafka", a.Kafka), listenerView("http", a.HTTP),
		},
		Queues:      n.queues,
		Connections: n.connections,
		Topics:      func() int { return len(n.broker.Topics()) },
		Alarm:       n.broker.Alarm,
		Members:     members{n},
	}
}

func listenerView(protocol string, addr net.Addr) admin.Listener {
	v := admin.Listener{Protocol: protocol, Address: addr.String()}
	if t, ok := addr.(*net.TCPAddr); ok {
		v.Address, v.Port = t.IP.String(), t.Port
	}
	return v
}

func (n *Node) connections() []admin.Connection {
	local := n.Addrs().AMQP.String()
	open := n.amqp.Connections()
	list := make([]admin.Connection, len(open))
	for i, c := range open {
		list[i] = admin.Connection{
			Name: c.Peer + " -> " + local, User: c.User, VHost: c.VHost,
			Protocol: "AMQP 0-9-1", Channels: c.Channels, State: "running",
			AuthMechanism: c.Mechanism, FrameMax: c.FrameMax,
			Timeout: int(c.Heartbeat.Seconds()), ConnectedAt: c.Since.UnixMilli(),
		}
		if peer, err := netip.ParseAddrPort(c.Peer); err == nil {
			list[i].PeerHost, list[i].PeerPort = peer.Addr().String(), int(peer.Port())
		}
	}
	return list
}

func (n *Node) queues(ctx context.Context) []admin.Queue {
	all := n.broker.Queues(ctx)
	list := make([]admin.Queue, len(all))
	for i, q := range all {
		list[i] = admin.Queue{
			Name: q.Name, VHost: q.VHost, Type: q.Type,
			Durable: q.Durable, Exclusive: q.Exclusive, AutoDelete: q.AutoDelete,
			Arguments: orNone(q.Args), State: "running",
			Ready: int(q.Ready), Unacked: int(q.Unacked), Messages: int(q.Ready + q.Unacked), Consumers: int(q.Consumers),
		}
		if q.Offline != nil {
			list[i].State = "down"
		}
	}
	return list
}

// orNone makes an empty table of a nil one, which JSON would show as null.
func orNone(args map[string]any) map[string]any {
	if args == nil {
		return map[string]any{}
	}
	return args
}
