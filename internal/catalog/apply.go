package catalog

import (
	"maps"
	"slices"

	"waybill/internal/record"
)

// Change is one thing that came into being, changed or vanished by a command.
// Exactly one pointer is set. The changes of a command are in an order in
// which they can be followed: a binding appears after its ends, and goes before them.
type Change struct {
	Gone        bool // it was deleted
	VHost       string
	Exchange    *Exchange
	Queue       *Queue
	Binding     *Binding
	Topic       *Topic // as it is now
	Coordinator record.LogID
	Node        *Node      // as it is now
	Placement   *Placement // as it is now, of a log that came into being before
}

// Result is the answer to a command.
type Result struct {
	Err     *Error   // nil: done
	Changes []Change // what it changed, beyond what was so already
	FirstID int64    // of ReserveIDs
	Node    *Node    // the node that a command is about
}

// Apply carries out one command. It never fails half-way.
func (c *Catalog) Apply(cmd *Command) Result {
	r := c.apply(cmd)
	for i := range r.Changes {
		if change := &r.Changes[i]; change.Gone {
			for _, log := range change.Logs() {
				c.unplace(log)
			}
		}
	}
	if len(r.Changes) > 0 {
		r.Changes = append(r.Changes, c.retire()...)
	}
	return r
}

func (c *Catalog) apply(cmd *Command) Result {
	switch {
	case cmd.Start != nil:
		return c.start(cmd.Start)
	case cmd.DeclareExchange != nil:
		return c.inVHost(cmd.DeclareExchange.VHost, func(v *VHost) Result {
			return v.declareExchange(&cmd.DeclareExchange.Exchange)
		})
	case cmd.DeleteExchange != nil:
		return c.inVHost(cmd.DeleteExchange.VHost, func(v *VHost) Result {
			return v.deleteExchange(cmd.DeleteExchange.Name, cmd.DeleteExchange.IfUnused)
		})
	case cmd.DeclareQueue != nil:
		return c.inVHost(cmd.DeclareQueue.VHost, func(v *VHost) Result {
			return v.declareQueue(c, &cmd.DeclareQueue.Queue, cmd.DeclareQueue.Factor, cmd.DeclareQueue.Near)
		})
	case cmd.DeleteQueue != nil:
		return c.inVHost(cmd.DeleteQueue.VHost, func(v *VHost) Result {
			return v.deleteQueue(cmd.DeleteQueue.Name, cmd.DeleteQueue.Log)
		})
	case cmd.Bind != nil:
		return c.inVHost(cmd.Bind.VHost, func(v *VHost) Result { return v.bind(&cmd.Bind.Binding) })
	case cmd.Unbind != nil:
		return c.inVHost(cmd.Unbind.VHost, func(v *VHost) Result { return v.unbind(&cmd.Unbind.Binding) })
	case cmd.CreateTopic != nil:
		return c.createTopic(cmd.CreateTopic)
	case cmd.DeleteTopic != nil:
		return c.deleteTopic(cmd.DeleteTopic)
	case cmd.AddPartitions != nil:
		return c.addPartitions(cmd.AddPartitions)
	case cmd.AlterTopic != nil:
		return c.alterTopic(cmd.AlterTopic)
	case cmd.ReserveIDs != nil:
		first := c.nextProducer
		c.nextProducer += max(cmd.ReserveIDs.Count, 0)
		return Result{FirstID: first}
	case cmd.AddNode != nil:
		return c.addNode(cmd.AddNode)
	case cmd.RemoveNode != nil:
		return c.removeNode(cmd.RemoveNode)
	case cmd.ReplaceNode != nil:
		return c.replaceNode(cmd.ReplaceNode)
	case cmd.DrainNode != nil:
		return c.drainNode(cmd.DrainNode)
	case cmd.Place != nil:
		return c.placeLog(cmd.Place)
	case cmd.ReplicaGone != nil:
		return c.replicaGone(cmd.ReplicaGone)
	case cmd.Rebalance != nil:
		return c.rebalance()
	case cmd.Rebuild != nil:
		return c.rebuild(cmd.Rebuild)
	case cmd.Return != nil:
		return c.returnReplica(cmd.Return)
	default:
		return Result{Err: errorf(Invalid, "a catalog command of a newer version: upgrade this node")}
	}
}

func (c *Catalog) inVHost(name string, do func(*VHost) Result) Result {
	v := c.vhosts[name]
	if v == nil {
		return Result{Err: errorf(NotFound, "vhost '%s' not found", name)}
	}
	return do(v)
}

// MaxPartitions bounds the partitions of one topic, so that a number in a
// request cannot take the node's memory.
const MaxPartitions = 10_000

func (c *Catalog) createTopic(t *CreateTopic) Result {
	if old := c.topics[t.Name]; old != nil {
		if old.ID == t.ID && t.ID != [16]byte{} {
			return Result{} // the command was repeated
		}
		return Result{Err: errorf(Exists, "topic '%s' already exists", t.Name)}
	}
	if t.Partitions < 1 || t.Partitions > MaxPartitions {
		return Result{Err: badCount(t.Name, t.Partitions)}
	}
	if err := c.checkFactor(t.Factor); err != nil {
		return Result{Err: err}
	}
	if err := c.checkReplicas(t.Replicas, int(t.Partitions)); err != nil {
		return Result{Err: err}
	}
	topic := &Topic{ID: t.ID, Name: t.Name, Configs: maps.Clone(t.Configs), Factor: t.Factor}
	for i := range t.Partitions {
		topic.Partitions = append(topic.Partitions, c.newPartition(topic, t.Replicas, int(i)))
	}
	c.topics[t.Name] = topic
	return Result{Changes: []Change{{Topic: topic}}}
}

func (c *Catalog) deleteTopic(t *DeleteTopic) Result {
	topic := c.topics[t.Name]
	if topic == nil {
		return Result{Err: noTopic(t.Name)}
	}
	delete(c.topics, t.Name)
	return Result{Changes: []Change{{Topic: topic, Gone: true}}}
}

// addPartitions and alterTopic replace the topic instead of changing it, so
// that who holds the old one sees a consistent view.
func (c *Catalog) addPartitions(t *AddPartitions) Result {
	old := c.topics[t.Name]
	switch {
	case old == nil:
		return Result{Err: noTopic(t.Name)}
	case t.Total > MaxPartitions:
		return Result{Err: badCount(t.Name, t.Total)}
	case int(t.Total) <= len(old.Partitions):
		return Result{Err: errorf(Invalid, "topic '%s' has %d partitions; their number can only be raised, not set to %d",
			t.Name, len(old.Partitions), t.Total)}
	}
	have := len(old.Partitions)
	if err := c.checkReplicas(t.Replicas, int(t.Total)-have); err != nil {
		return Result{Err: err}
	}
	topic := *old
	topic.Partitions = slices.Clone(old.Partitions)
	for i := range int(t.Total) - have {
		topic.Partitions = append(topic.Partitions, c.newPartition(&topic, t.Replicas, i))
	}
	c.topics[t.Name] = &topic
	return Result{Changes: []Change{{Topic: &topic}}}
}

// newPartition places one more partition of a topic: where replicas says for
// the i-th new one, if it says anything.
func (c *Catalog) newPartition(t *Topic, replicas [][]uint64, i int) record.LogID {
	id := c.newLog()
	if len(replicas) > 0 {
		c.setPlacement(&Placement{Log: id, Initial: replicas[i], Replicas: replicas[i], Factor: len(replicas[i])})
		return id
	}
	n := t.Factor
	if n == 0 {
		n = c.defaultFactor()
	}
	c.place(id, t.Factor, n, 0)
	return id
}

func (c *Catalog) alterTopic(t *AlterTopic) Result {
	old := c.topics[t.Name]
	if old == nil {
		return Result{Err: noTopic(t.Name)}
	}
	topic := *old
	topic.Configs = maps.Clone(t.Configs)
	c.topics[t.Name] = &topic
	return Result{Changes: []Change{{Topic: &topic}}}
}

func badCount(topic string, n int32) *Error {
	return errorf(Invalid, "topic '%s': the number of partitions must be from 1 to %d, not %d", topic, MaxPartitions, n)
}

func noTopic(name string) *Error {
	return errorf(NotFound, "topic '%s' does not exist", name)
}

// Logs lists the logs of what the change names.
func (c *Change) Logs() []record.LogID {
	switch {
	case c.Coordinator != 0:
		return []record.LogID{c.Coordinator}
	case c.Queue != nil:
		return []record.LogID{c.Queue.Log}
	case c.Topic != nil:
		return c.Topic.Partitions
	default:
		return nil
	}
}
