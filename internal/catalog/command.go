package catalog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"waybill/internal/record"
)

// Command is one change to the catalog. Exactly one field is set.
type Command struct {
	Start           *Start           `json:"start,omitempty"`
	DeclareExchange *DeclareExchange `json:"declare_exchange,omitempty"`
	DeleteExchange  *DeleteExchange  `json:"delete_exchange,omitempty"`
	DeclareQueue    *DeclareQueue    `json:"declare_queue,omitempty"`
	DeleteQueue     *DeleteQueue     `json:"delete_queue,omitempty"`
	Bind            *Bind            `json:"bind,omitempty"`
	Unbind          *Unbind          `json:"unbind,omitempty"`
	CreateTopic     *CreateTopic     `json:"create_topic,omitempty"`
	DeleteTopic     *DeleteTopic     `json:"delete_topic,omitempty"`
	AddPartitions   *AddPartitions   `json:"add_partitions,omitempty"`
	AlterTopic      *AlterTopic      `json:"alter_topic,omitempty"`
	ReserveIDs      *ReserveIDs      `json:"reserve_ids,omitempty"`

	AddNode     *AddNode     `json:"add_node,omitempty"`
	RemoveNode  *RemoveNode  `json:"remove_node,omitempty"`
	ReplaceNode *ReplaceNode `json:"replace_node,omitempty"`
	DrainNode   *DrainNode   `json:"drain_node,omitempty"`
	Place       *Place       `json:"place,omitempty"`
	ReplicaGone *ReplicaGone `json:"replica_gone,omitempty"`
	Rebalance   *Rebalance   `json:"rebalance,omitempty"`
	Rebuild     *Rebuild     `json:"rebuild,omitempty"`
	Return      *Return      `json:"return,omitempty"`
}

// Start tells that a node begins to work: what lived in its memory is gone.
// The first one founds the cluster. It may be repeated: a second one with the
// same Run changes nothing.
type Start struct {
	Node    uint64 `json:"node"`
	Replica uint64 `json:"replica,omitempty"` // 0: as Node
	Store   string `json:"store,omitempty"`
	Run     string `json:"run,omitempty"`  // random, of this run of the process
	Addr    string `json:"addr,omitempty"` // where other nodes reach it; "": as before
	AMQP    string `json:"amqp,omitempty"` // where clients do, as with the next two
	Kafka   string `json:"kafka,omitempty"`
	HTTP    string `json:"http,omitempty"`

	// What follows is used by the first one only.
	ClusterID    string `json:"cluster_id"`
	Coordinators int    `json:"coordinators"`       // number of coordinator logs
	Founders     []Node `json:"founders,omitempty"` // none: this node alone
}

// AddNode admits a node with a new data directory; the answer has its replica
// id. It may be repeated.
type AddNode struct {
	ID    uint64 `json:"id"`
	Store string `json:"store"`
	Addr  string `json:"addr"`
}

// RemoveNode moves what a node holds to other nodes; then it is no member any more.
type RemoveNode struct {
	ID uint64 `json:"id"`
}

// ReplaceNode gives up a node's data directory. With Replica set it is done only while
// that is the node's replica id, and may be repeated.
type ReplaceNode struct {
	ID      uint64 `json:"id"`
	Replica uint64 `json:"replica,omitempty"`
}

// DrainNode makes a node lead nothing, or with End take part as before.
type DrainNode struct {
	ID  uint64 `json:"id"`
	End bool   `json:"end,omitempty"`
}

// Place says which replicas of a log are wanted, the preferred leader first.
type Place struct {
	Log      record.LogID `json:"log"`
	Replicas []uint64     `json:"replicas"`
}

// ReplicaGone tells that a replica is no member of the log's raft group any
// more: its copy can be deleted.
type ReplicaGone struct {
	Log     record.LogID `json:"log"`
	Replica uint64       `json:"replica"`
}

// Rebalance spreads what exists evenly over the nodes.
type Rebalance struct{}

// Rebuild has a replica of a log begin anew, because its copy is damaged: it
// leaves the raft group, is gone, and comes back with a [Return]. It may be repeated.
type Rebuild struct {
	Log     record.LogID `json:"log"`
	Replica uint64       `json:"replica"`
}

// Return tells that a replica which is to begin anew has deleted its copy of
// the log, and that nothing that it has said before is on its way any more.
type Return struct {
	Log     record.LogID `json:"log"`
	Replica uint64       `json:"replica"`
}

// DeclareExchange makes an exchange, or checks that an equal one exists.
type DeclareExchange struct {
	VHost    string   `json:"vhost"`
	Exchange Exchange `json:"exchange"`
}

// DeleteExchange deletes an exchange and all bindings from and to it; one that
// does not exist is no error.
type DeleteExchange struct {
	VHost    string `json:"vhost"`
	Name     string `json:"name"`
	IfUnused bool   `json:"if_unused,omitempty"` // InUse when it has bindings as a source
}

// DeclareQueue makes a queue, or checks that an equal one exists. Queue.Log is
// given by the catalog. Factor is the number of replicas that it should have; 0:
// the default. With fewer nodes than that it gets as many as there are. Near is the
// node where it was declared, which leads it as long as the leaders stay spread.
type DeclareQueue struct {
	VHost  string `json:"vhost"`
	Queue  Queue  `json:"queue"`
	Factor int    `json:"factor,omitempty"`
	Near   uint64 `json:"near,omitempty"`
}

// DeleteQueue deletes a queue and its bindings; one that does not exist is no
// error. With Log set, only the queue with that log is meant.
type DeleteQueue struct {
	VHost string       `json:"vhost"`
	Name  string       `json:"name"`
	Log   record.LogID `json:"log,omitempty"`
}

// Bind adds a binding; one that exists is no error.
type Bind struct {
	VHost   string  `json:"vhost"`
	Binding Binding `json:"binding"`
}

// Unbind removes a binding; one that does not exist is no error.
type Unbind struct {
	VHost   string  `json:"vhost"`
	Binding Binding `json:"binding"`
}

// CreateTopic makes a topic; one that exists with the same ID is no error.
type CreateTopic struct {
	Name       string            `json:"name"`
	ID         [16]byte          `json:"id"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"`
	Factor     int               `json:"factor,omitempty"`   // replicas of each partition; 0: the default
	Replicas   [][]uint64        `json:"replicas,omitempty"` // of each partition, replica ids; none: the catalog places them
}

// DeleteTopic deletes a topic.
type DeleteTopic struct {
	Name string `json:"name"`
}

// AddPartitions raises the number of a topic's partitions to Total.
type AddPartitions struct {
	Name     string     `json:"name"`
	Total    int32      `json:"total"`
	Replicas [][]uint64 `json:"replicas,omitempty"` // of each new partition, as in CreateTopic
}

// AlterTopic replaces the configs of a topic.
type AlterTopic struct {
	Name    string            `json:"name"`
	Configs map[string]string `json:"configs"`
}

// ReserveIDs takes a block of Count producer ids out of circulation.
type ReserveIDs struct {
	Count int64 `json:"count"`
}

// ErrCommand is returned for bytes that are not encoded commands.
var ErrCommand = errors.New("catalog: not a command")

// Append appends the encoded command to b: a uvarint length and JSON, so that
// a dump of the log can be read.
func (c *Command) Append(b []byte) []byte {
	text, err := json.Marshal(c)
	if err != nil {
		panic("catalog: " + err.Error()) // no field can fail to encode
	}
	b = binary.AppendUvarint(b, uint64(len(text)))
	return append(b, text...)
}

// ParseCommand reads the command at the start of b and returns the bytes after it.
func ParseCommand(b []byte) (*Command, []byte, error) {
	n, k := binary.Uvarint(b)
	if k <= 0 || n > uint64(len(b)-k) {
		return nil, nil, fmt.Errorf("%w: bad length", ErrCommand)
	}
	c := new(Command)
	if err := json.Unmarshal(b[k:k+int(n)], c); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	return c, b[k+int(n):], nil
}
