package broker

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"

	"waybill/internal/catalog"
	"waybill/internal/record"
)

// TopicSpec describes a topic to create.
type TopicSpec struct {
	Name              string
	Partitions        int32             // -1: the broker's default (num.partitions)
	ReplicationFactor int16             // -1: the broker's default
	Configs           map[string]string // topic configs by Kafka's names
	Assignment        [][]uint64        // nodes of each partition's replicas; none: they are placed
}

// Topic is an immutable view of a topic.
type Topic struct {
	ID         [16]byte // Kafka's topic id
	Name       string
	Configs    map[string]string // those that were set; defaults are not in it
	Partitions []*Partition      // by partition number
	Factor     int               // replicas that were asked for; 0: the default
}

// CreateTopic makes a topic; it has leaders and can be used by everyone when
// CreateTopic returns. Exists when there is one.
func (b *Broker) CreateTopic(ctx context.Context, t TopicSpec, validateOnly bool) (*Topic, error) {
	if t.Partitions == -1 {
		t.Partitions = b.cfg.DefaultPartitions
	}
	switch {
	case t.Partitions < 1 || t.Partitions > catalog.MaxPartitions:
		e := errorf(Invalid, "the number of partitions must be from 1 to %d, not %d", catalog.MaxPartitions, t.Partitions)
		e.Code = codeInvalidPartitions
		return nil, e
	case t.ReplicationFactor < -1 || t.ReplicationFactor == 0:
		return nil, &Error{Kind: Invalid, Code: codeInvalidReplicationFactor, Text: "the replication factor is at least 1"}
	case int(t.ReplicationFactor) > b.hosts():
		e := errorf(Invalid, "a replication factor of %d needs as many nodes; there are %d", t.ReplicationFactor, b.hosts())
		e.Code = codeInvalidReplicationFactor
		return nil, e
	}
	if _, ok := b.Topic(t.Name); ok {
		return nil, errorf(Exists, "topic '%s' already exists", t.Name)
	}
	factor := int(t.ReplicationFactor)
	if factor == -1 {
		factor = 0
	}
	if err := b.checkTopicConfigs(t.Configs, cmp.Or(factor, b.DefaultReplicationFactor())); err != nil {
		return nil, err
	}
	assigned, err := b.replicasOf(t.Assignment)
	if err != nil {
		return nil, err
	}
	if validateOnly {
		return &Topic{Name: t.Name, Configs: t.Configs, Partitions: make([]*Partition, t.Partitions), Factor: cmp.Or(factor, b.DefaultReplicationFactor())}, nil
	}
	cmd := &catalog.CreateTopic{Name: t.Name, Partitions: t.Partitions, Configs: t.Configs, Factor: factor, Replicas: assigned}
	rand.Read(cmd.ID[:]) // never fails
	if _, err := b.change(ctx, &catalog.Command{CreateTopic: cmd}); err != nil {
		return nil, err
	}
	topic, ok := b.Topic(t.Name)
	if !ok {
		return nil, errorf(NotFound, "topic '%s' was deleted right after it was created", t.Name)
	}
	return topic, b.settled(ctx, topic)
}

// replicasOf turns an assignment of nodes into one of replica ids.
func (b *Broker) replicasOf(assignment [][]uint64) ([][]uint64, error) {
	var all [][]uint64
	for _, nodes := range assignment {
		var ids []uint64
		for _, id := range nodes {
			n := b.members.load().byID[id]
			if n == nil || !n.Hosts() {
				e := b.noNode(id)
				e.Kind, e.Code = Invalid, codeInvalidReplicaAssignment
				return nil, e
			}
			ids = append(ids, n.Replica)
		}
		all = append(all, ids)
	}
	return all, nil
}

// settled waits until every partition has a leader, and every node that can be
// reached knows it.
func (b *Broker) settled(ctx context.Context, t *Topic) error {
	var logs []record.LogID
	for _, p := range t.Partitions {
		if err := p.settled(ctx); err != nil {
			return err
		}
		logs = append(logs, p.id)
	}
	b.everywhere(ctx, logs)
	return nil
}

// hosts is the number of nodes that replicas can be placed on.
func (b *Broker) hosts() int {
	n := 0
	for _, node := range b.members.load().nodes {
		if node.Hosts() {
			n++
		}
	}
	return n
}

// DefaultReplicationFactor is the number of replicas of what does not ask for
// one, with the nodes that there are now.
func (b *Broker) DefaultReplicationFactor() int { return catalog.DefaultFactor(b.hosts()) }

// Kafka error codes that tell more than a Kind.
const (
	codeInvalidPartitions        = 37
	codeInvalidReplicationFactor = 38
	codeInvalidReplicaAssignment = 39
)

// DeleteTopic deletes a topic and all that it holds.
func (b *Broker) DeleteTopic(ctx context.Context, name string) error {
	_, err := b.change(ctx, &catalog.Command{DeleteTopic: &catalog.DeleteTopic{Name: name}})
	if err == nil {
		b.everywhere(ctx, nil)
	}
	return err
}

// AddPartitions raises a topic's number of partitions to total. The assignment
// is that of the new ones, as in TopicSpec.
func (b *Broker) AddPartitions(ctx context.Context, name string, total int32, assignment [][]uint64, validateOnly bool) error {
	assigned, err := b.replicasOf(assignment)
	if err != nil {
		return err
	}
	if validateOnly {
		t, ok := b.Topic(name)
		switch {
		case !ok:
			return errorf(NotFound, "topic '%s' does not exist", name)
		case int(total) <= len(t.Partitions):
			return errorf(Invalid, "topic '%s' has %d partitions; their number can only be raised", name, len(t.Partitions))
		}
		return nil
	}
	if _, err := b.change(ctx, &catalog.Command{AddPartitions: &catalog.AddPartitions{Name: name, Total: total, Replicas: assigned}}); err != nil {
		return err
	}
	if t, ok := b.Topic(name); ok {
		return b.settled(ctx, t)
	}
	return nil
}

// AlterTopic replaces a topic's set configs.
func (b *Broker) AlterTopic(ctx context.Context, name string, configs map[string]string) error {
	if err := b.CheckAlter(name, configs); err != nil {
		return err
	}
	_, err := b.change(ctx, &catalog.Command{AlterTopic: &catalog.AlterTopic{Name: name, Configs: configs}})
	return err
}

// Topics lists all topics in the order of their names.
func (b *Broker) Topics() []*Topic { return b.topics.byName.values() }

// Topic finds a topic by name.
func (b *Broker) Topic(name string) (*Topic, bool) { return b.topics.byName.get(name) }

// TopicByID finds a topic by its id.
func (b *Broker) TopicByID(id [16]byte) (*Topic, bool) { return b.topics.byID.get(string(id[:])) }

// topicRegistry holds the topics; the directory changes it.
type topicRegistry struct {
	byName, byID cowMap[*Topic]
}

// followTopic makes the registry follow a change of a topic.
func (b *Broker) followTopic(t *catalog.Topic, gone bool) {
	old, _ := b.topics.byName.get(t.Name)
	if gone {
		b.topics.byName.delete(t.Name)
		b.topics.byID.delete(string(t.ID[:]))
		for _, p := range old.Partitions {
			p.remove()
		}
		b.forgetTopic(t.ID)
		return
	}
	topic := &Topic{ID: t.ID, Name: t.Name, Configs: t.Configs, Factor: t.Factor}
	if old != nil {
		topic.Partitions = append(topic.Partitions, old.Partitions...)
		for _, p := range old.Partitions {
			p.configure(t.Configs)
		}
	}
	for n := len(topic.Partitions); n < len(t.Partitions); n++ {
		topic.Partitions = append(topic.Partitions, newPartition(b, t.Name, int32(n), t.Partitions[n], t.Configs))
	}
	b.topics.byName.set(t.Name, topic)
	b.topics.byID.set(string(t.ID[:]), topic)
}

// replacePartition: a replica of the partition comes to this node, or has left it.
func (b *Broker) replacePartition(name string, number int) {
	old, ok := b.topics.byName.get(name)
	if !ok || number >= len(old.Partitions) {
		return
	}
	p := old.Partitions[number]
	p.leave()
	t := *old
	t.Partitions = slices.Clone(old.Partitions)
	t.Partitions[number] = newPartition(b, name, p.number, p.id, t.Configs)
	b.topics.byName.set(name, &t)
	b.topics.byID.set(string(t.ID[:]), &t)
}
