// Package broker holds the protocol-neutral verbs: publish, append, fetch,
// subscribe, settle, declare. It routes, and gives every queue, partition and
// coordinator its raft group.
package broker

// Broker is the protocol-neutral core of a node.
type Broker struct{}
