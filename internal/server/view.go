package server

import (
	"net"

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
		Queues:      func() []admin.Queue { return nil },
		Connections: func() []admin.Connection { return nil },
		Topics:      func() int { return len(n.broker.Topics()) },
		Alarm:       n.broker.Alarm,
	}
}

func listenerView(protocol string, addr net.Addr) admin.Listener {
	v := admin.Listener{Protocol: protocol, Address: addr.String()}
	if t, ok := addr.(*net.TCPAddr); ok {
		v.Address, v.Port = t.IP.String(), t.Port
	}
	return v
}
