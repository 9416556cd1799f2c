package amqp

import (
	"slices"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/record"
)

// Connection describes one connection.
type Connection struct {
	ID        uint64
	Peer      string // address
	User      string
	VHost     string
	Mechanism string
	Since     time.Time
	Channels  int
	FrameMax  int
	Heartbeat time.Duration
	Client    record.Table // client-properties, as it told them
}

// Connections lists the open connections by their ids.
func (s *Server) Connections() []Connection {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Connection, 0, len(s.conns))
	for _, c := range s.conns {
		if !c.opened.Load() {
			continue
		}
		list = append(list, Connection{
			ID: c.id, Peer: c.nc.RemoteAddr().String(), User: c.user, VHost: c.vhost,
			Mechanism: c.mechanism, Since: c.since, Channels: int(c.nchannels.Load()),
			FrameMax: c.frameMax, Heartbeat: c.idle / 2, Client: c.client,
		})
	}
	slices.SortFunc(list, func(a, b Connection) int { return int(int64(a.ID) - int64(b.ID)) })
	return list
}

// CloseConnection ends a connection with code 320 and the reason given; it
// reports whether there is one of that id.
func (s *Server) CloseConnection(id uint64, reason string) bool {
	s.mu.Lock()
	c, ok := s.conns[id]
	s.mu.Unlock()
	if ok {
		c.stopWith(spec.ConnectionForced, reason)
	}
	return ok
}
