package clustertest

import (
	"slices"
	"testing"

	brokertest "waybill/test/broker"
)

// A client that goes from node to node has taken their list, and must not find nobody in it.
func TestForgetLeavesListsAlone(t *testing.T) {
	c := &Cluster{}
	for id := range uint64(3) {
		c.Nodes = append(c.Nodes, &Node{ID: id + 1, Broker: &brokertest.Broker{}, c: c})
	}
	taken := c.Nodes
	before := slices.Clone(taken)
	c.Forget(before[1])
	if !slices.Equal(taken, before) {
		t.Errorf("a list that was taken before is %v now, it was %v", taken, before)
	}
	if want := []*Node{before[0], before[2]}; !slices.Equal(c.Nodes, want) {
		t.Errorf("the cluster has the nodes %v, want %v", c.Nodes, want)
	}
}
