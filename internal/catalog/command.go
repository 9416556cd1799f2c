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
}

// Start tells that a node begins to work: what lived in its memory is gone.
// The first one founds the cluster.
type Start struct {
	Node         uint64 `json:"node"`
	ClusterID    string `json:"cluster_id"`   // used by the first one only
	Coordinators int    `json:"coordinators"` // likewise: number of coordinator logs
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
// given by the catalog.
type DeclareQueue struct {
	VHost string `json:"vhost"`
	Queue Queue  `json:"queue"`
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

// CreateTopic makes a topic.
type CreateTopic struct {
	Name       string            `json:"name"`
	ID         [16]byte          `json:"id"`
	Partitions int32             `json:"partitions"`
	Configs    map[string]string `json:"configs,omitempty"`
}

// DeleteTopic deletes a topic.
type DeleteTopic struct {
	Name string `json:"name"`
}

// AddPartitions raises the number of a topic's partitions to Total.
type AddPartitions struct {
	Name  string `json:"name"`
	Total int32  `json:"total"`
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
