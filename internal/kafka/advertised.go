package kafka

import (
	"net"
	"strconv"
)

// advertised is where the client of c shall connect to: what the operator
// says, else the address at which it has reached this node.
func (s *Server) advertised(c *conn) (host string, port int32) {
	host, port = s.cfg.AdvertisedHost, s.cfg.AdvertisedPort
	if host != "" && port != 0 {
		return host, port
	}
	h, p, err := net.SplitHostPort(c.nc.LocalAddr().String())
	if err != nil {
		return host, port // not an IP address: a test's pipe
	}
	if host == "" {
		host = h
	}
	if n, err := strconv.ParseInt(p, 10, 32); err == nil && port == 0 {
		port = int32(n)
	}
	return host, port
}
