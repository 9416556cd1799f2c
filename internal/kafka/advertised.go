package kafka

// advertised is where the client of c shall connect to: what the operator
// says, else the address at which it has reached this node.
func (s *Server) advertised(c *conn) (host string, port int32) {
	host, port = s.cfg.AdvertisedHost, s.cfg.AdvertisedPort
	if host != "" && port != 0 {
		return host, port
	}
	h, p, ok := splitAddress(c.nc.LocalAddr().String())
	if !ok {
		return host, port // not an IP address: a test's pipe
	}
	if host == "" {
		host = h
	}
	if port == 0 {
		port = p
	}
	return host, port
}
