// Package catalog is the machine that knows what exists: virtual hosts with
// their exchanges, queues and bindings, topics with their partitions, and which
// log belongs to what. It is pure: commands go in, results and changes come
// out, and equal commands in equal order give equal state on every replica.
//
// Everything that can be declared goes through it, what lives in memory
// included: one place decides about every name. What is not durable belongs to
// a node, and is dropped when that node starts again ([Start]).
//
// It knows the nodes too, and which of them have the replicas of each log
// ([Placement]). A command that makes a log places it when it is applied: on the nodes
// that carry least, equal ones in the order of their ids. A move is told in
// two steps: the placement changes, and when the raft group has carried that out a
// [ReplicaGone] lets the node that was left delete its copy.
//
// Each replica applies the same commands, so the outcome of a declaration is
// decided here, at apply, and not before: two clients that declare the same
// name at the same time get the same answer as if they had come one after the other.
package catalog

import (
	"fmt"
	"maps"
	"slices"

	"waybill/internal/record"
)

// LogID is the id of the catalog's own log. The others are handed out from
// [FirstLogID] on and never reused.
const (
	LogID      record.LogID = 1
	FirstLogID record.LogID = 16
)

// DefaultVHost is the virtual host that exists from the start.
const DefaultVHost = "/"

// Kind classifies an [Error].
type Kind uint8

// The kinds of errors.
const (
	NotFound     Kind = iota + 1 // it does not exist
	Exists                       // it exists
	Inequivalent                 // it exists with other properties
	InUse                        // something still needs it
	Locked                       // it is exclusive to another connection
	Refused                      // not allowed for this name
	Invalid                      // the command makes no sense
	TooFewNodes                  // it needs more nodes than there are
)

// Error is why a command was not carried out; nothing was changed.
type Error struct {
	Kind Kind
	Text string
}

func (e *Error) Error() string { return e.Text }

func errorf(kind Kind, format string, args ...any) *Error {
	return &Error{Kind: kind, Text: fmt.Sprintf(format, args...)}
}

// Exchange is an exchange as declared.
type Exchange struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	Durable    bool   `json:"durable,omitempty"`
	AutoDelete bool   `json:"auto_delete,omitempty"`
	Internal   bool   `json:"internal,omitempty"`
	Args       []byte `json:"args,omitempty"` // encoded record.Table, normalized
	Node       uint64 `json:"node,omitempty"` // of one that is not durable: the node it lives and dies with
}

// Queue is a queue as declared.
type Queue struct {
	Name       string       `json:"name"`
	Durable    bool         `json:"durable,omitempty"`
	Exclusive  bool         `json:"exclusive,omitempty"`
	AutoDelete bool         `json:"auto_delete,omitempty"`
	Args       []byte       `json:"args,omitempty"`  // encoded record.Table, normalized
	Log        record.LogID `json:"log"`             // identity; the raft group, where it is replicated
	Node       uint64       `json:"node,omitempty"`  // of one in memory: the node it lives and dies with
	Owner      uint64       `json:"owner,omitempty"` // of an exclusive one: the connection, unique per node and start
}

// Replicated reports whether the queue has a raft group; otherwise it lives in
// the memory of Node.
func (q *Queue) Replicated() bool { return q.Durable && !q.Exclusive }

// Binding routes from the exchange Source to a queue or an exchange.
type Binding struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	ToExchange  bool   `json:"to_exchange,omitempty"`
	Key         string `json:"key"`
	Args        []byte `json:"args,omitempty"` // encoded record.Table
}

// ID identifies the binding within its virtual host.
func (b *Binding) ID() string {
	return fmt.Sprintf("%q%q%t%q%q", b.Source, b.Destination, b.ToExchange, b.Key, b.Args)
}

// Topic is a topic.
type Topic struct {
	ID         [16]byte          `json:"id"`
	Name       string            `json:"name"`
	Configs    map[string]string `json:"configs,omitempty"`
	Partitions []record.LogID    `json:"partitions"`       // by partition number
	Factor     int               `json:"factor,omitempty"` // replicas that were asked for; 0: the default
}

// Catalog is the machine's state. It is not safe for concurrent use. What its
// methods return is the catalog's own and must not be changed.
type Catalog struct {
	clusterID    string
	nextLog      record.LogID
	nextProducer int64
	coordinators []record.LogID
	vhosts       map[string]*VHost
	topics       map[string]*Topic

	nodes       map[uint64]*Node // by id
	nextReplica uint64
	placements  map[record.LogID]*Placement
	load        map[uint64]load // of placements, by replica id

	index record.Index
}

// New returns an empty catalog; the first [Start] fills it.
func New() *Catalog {
	return &Catalog{
		nextLog: FirstLogID,
		vhosts:  map[string]*VHost{},
		topics:  map[string]*Topic{},

		nodes:       map[uint64]*Node{},
		nextReplica: 1,
		placements:  map[record.LogID]*Placement{},
		load:        map[uint64]load{},
	}
}

// Index is the last index that was noted with Reached, also in the replica that
// the state was copied from.
func (c *Catalog) Index() record.Index { return c.index }

// Reached notes that the entry at an index of the catalog's log is applied.
func (c *Catalog) Reached(i record.Index) { c.index = i }

// ClusterID is the random id of the cluster, "" before the first Start.
func (c *Catalog) ClusterID() string { return c.clusterID }

// NextLog is the id that the next log will get: smaller ones that nothing
// refers to were deleted.
func (c *Catalog) NextLog() record.LogID { return c.nextLog }

// Coordinators lists the logs of the consumer group coordinators.
func (c *Catalog) Coordinators() []record.LogID { return c.coordinators }

// VHosts lists the names of the virtual hosts, sorted.
func (c *Catalog) VHosts() []string { return slices.Sorted(maps.Keys(c.vhosts)) }

// VHost returns a virtual host, or nil.
func (c *Catalog) VHost(name string) *VHost { return c.vhosts[name] }

// Topics lists the names of the topics, sorted.
func (c *Catalog) Topics() []string { return slices.Sorted(maps.Keys(c.topics)) }

// Topic returns a topic, or nil.
func (c *Catalog) Topic(name string) *Topic { return c.topics[name] }

// newLog hands out a log id.
func (c *Catalog) newLog() record.LogID {
	id := c.nextLog
	c.nextLog++
	return id
}
