package kafka

import (
	"net"
	"slices"
	"strconv"
)

// clusterNode is a node as clients are told about it.
type clusterNode struct {
	id   int32
	host string
	port int32
}

// kafkaID is the id of a node as clients see it; -1 for none.
func (s *Server) kafkaID(node uint64) int32 {
	switch node {
	case 0:
		return -1
	case s.cfg.Broker.NodeID():
		return s.cfg.NodeID
	}
	return int32(node)
}

func (s *Server) kafkaIDs(nodes []uint64) []int32 {
	ids := make([]int32, len(nodes))
	for i, n := range nodes {
		ids[i] = s.kafkaID(n)
	}
	return ids
}

// nodes lists this node, and those others that have said where their clients
// reach them and are up: clients ask one that is listed again and again. When
// this node cannot reach a majority it is more likely to be cut off itself, and lists all: its
// clients have to find the others.
func (s *Server) nodes(c *conn) []clusterNode {
	var list []clusterNode
	var down []uint64
	if _, ok := s.cfg.Broker.Controller(); ok {
		down = s.cfg.Broker.Down()
	}
	for _, n := range s.cfg.Broker.Nodes() {
		if slices.Contains(down, n.ID) {
			continue
		}
		if n.ID == s.cfg.Broker.NodeID() {
			host, port := s.advertised(c)
			list = append(list, clusterNode{s.cfg.NodeID, host, port})
		} else if host, port, ok := splitAddress(n.Kafka); ok {
			list = append(list, clusterNode{int32(n.ID), host, port})
		}
	}
	return list
}

// node finds a node by its id in the cluster; ok is false when its clients cannot
// reach it.
func (s *Server) node(c *conn, id uint64) (clusterNode, bool) {
	for _, n := range s.nodes(c) {
		if n.id == s.kafkaID(id) {
			return n, true
		}
	}
	return clusterNode{}, false
}

// controller is the node that leads the catalog; this one stands in for it
// while that is not known: clients send what they want changed to it, and every node
// takes that.
func (s *Server) controller() int32 {
	if node, ok := s.cfg.Broker.Controller(); ok {
		return s.kafkaID(node)
	}
	return s.cfg.NodeID
}

func splitAddress(addr string) (host string, port int32, ok bool) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, false
	}
	n, err := strconv.ParseUint(p, 10, 16)
	return host, int32(n), err == nil
}
