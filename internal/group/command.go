package group

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// The kinds of commands, as stored.
const (
	kindGeneration = 1 // group, generation
	kindOutcome    = 2 // group, outcome
	kindCommit     = 3 // group, offsets
	kindForget     = 4 // group, partitions
	kindDelete     = 5 // group
)

// command changes the replicated state of one group.
type command interface {
	append(b []byte) []byte // kind and fields
	apply(s *state)
}

// generation tells that the group's generation was handed out to members.
type generation struct {
	group  string
	number int32
}

// outcome is a group as a finished rebalance left it.
type outcome struct {
	group        string
	generation   int32
	protocolType string
	protocol     string
	leader       string // member id
	since        int64  // when it was proposed, ms since the Unix epoch
	members      []outcomeMember
}

type outcomeMember struct {
	id         string
	instance   string
	clientID   string
	clientHost string
	session    int64 // ms
	rebalance  int64 // ms
	protocols  []Protocol
	assignment []byte
}

// commit sets committed offsets.
type commit struct {
	group   string
	offsets []committed
}

type committed struct {
	TopicPartition
	Offset
}

// forget removes committed offsets.
type forget struct {
	group      string
	partitions []TopicPartition
}

// remove deletes a group.
type remove struct{ group string }

func (c *generation) append(b []byte) []byte {
	b = appendString(append(b, kindGeneration), c.group)
	return binary.AppendVarint(b, int64(c.number))
}

func (c *outcome) append(b []byte) []byte {
	b = appendString(append(b, kindOutcome), c.group)
	b = binary.AppendVarint(b, int64(c.generation))
	b = appendString(b, c.protocolType)
	b = appendString(b, c.protocol)
	b = appendString(b, c.leader)
	b = binary.AppendVarint(b, c.since)
	b = binary.AppendUvarint(b, uint64(len(c.members)))
	for i := range c.members {
		b = c.members[i].append(b)
	}
	return b
}

func (m *outcomeMember) append(b []byte) []byte {
	for _, s := range [...]string{m.id, m.instance, m.clientID, m.clientHost} {
		b = appendString(b, s)
	}
	b = binary.AppendVarint(b, m.session)
	b = binary.AppendVarint(b, m.rebalance)
	b = binary.AppendUvarint(b, uint64(len(m.protocols)))
	for _, p := range m.protocols {
		b = appendString(b, p.Name)
		b = appendString(b, p.Metadata)
	}
	return appendString(b, m.assignment)
}

func (c *commit) append(b []byte) []byte {
	b = appendString(append(b, kindCommit), c.group)
	b = binary.AppendUvarint(b, uint64(len(c.offsets)))
	for i := range c.offsets {
		o := &c.offsets[i]
		b = o.TopicPartition.append(b)
		b = append(b, o.TopicID[:]...)
		b = binary.AppendVarint(b, o.Offset.Offset)
		b = binary.AppendVarint(b, int64(o.LeaderEpoch))
		b = appendString(b, o.Metadata)
		b = binary.AppendVarint(b, o.Time)
		b = binary.AppendVarint(b, o.Expires)
	}
	return b
}

func (c *forget) append(b []byte) []byte {
	b = appendString(append(b, kindForget), c.group)
	b = binary.AppendUvarint(b, uint64(len(c.partitions)))
	for _, p := range c.partitions {
		b = p.append(b)
	}
	return b
}

func (c *remove) append(b []byte) []byte {
	return appendString(append(b, kindDelete), c.group)
}

func (p TopicPartition) append(b []byte) []byte {
	b = appendString(b, p.Topic)
	return binary.AppendVarint(b, int64(p.Partition))
}

// appendCommand appends c with its length.
func appendCommand(b []byte, c command) []byte {
	return appendString(b, c.append(nil))
}

// decodeCommands calls apply with each command of b, up to the first that is
// broken.
func decodeCommands(b []byte, apply func(command)) error {
	d := decoder{b: b}
	for n := 0; len(d.b) > 0; n++ {
		one := decoder{b: d.bytes()}
		if d.err != nil {
			return fmt.Errorf("%w: number %d is cut off", d.err, n)
		}
		c := decodeCommand(&one)
		if one.err != nil || len(one.b) > 0 {
			return fmt.Errorf("%w: number %d", errCommand, n)
		}
		apply(c)
	}
	return nil
}

func decodeCommand(d *decoder) command {
	switch kind := d.byte(); kind {
	case kindGeneration:
		return &generation{group: d.string(), number: d.int32()}
	case kindOutcome:
		return decodeOutcome(d)
	case kindCommit:
		return decodeCommit(d)
	case kindForget:
		return decodeForget(d)
	case kindDelete:
		return &remove{group: d.string()}
	}
	d.fail()
	return nil
}

// decodeOutcome copies what it keeps: an outcome lives long, and must not pin
// the entry that it came in.
func decodeOutcome(d *decoder) *outcome {
	c := &outcome{
		group: d.string(), generation: d.int32(),
		protocolType: d.string(), protocol: d.string(), leader: d.string(),
		since: d.varint(),
	}
	const least = 8 // bytes of a member whose fields are all empty
	c.members = make([]outcomeMember, d.count(least))
	for i := range c.members {
		m := &c.members[i]
		m.id, m.instance, m.clientID, m.clientHost = d.string(), d.string(), d.string(), d.string()
		m.session, m.rebalance = d.varint(), d.varint()
		m.protocols = make([]Protocol, d.count(2))
		for j := range m.protocols {
			m.protocols[j] = Protocol{Name: d.string(), Metadata: bytes.Clone(d.bytes())}
		}
		m.assignment = bytes.Clone(d.bytes())
	}
	return c
}

func decodeCommit(d *decoder) *commit {
	c := &commit{group: d.string()}
	const least = 2 + 16 + 5 // bytes of an offset whose fields are all empty
	c.offsets = make([]committed, d.count(least))
	for i := range c.offsets {
		o := &c.offsets[i]
		o.TopicPartition = decodePartition(d)
		if len(d.b) < len(o.TopicID) {
			d.fail()
			break
		}
		d.b = d.b[copy(o.TopicID[:], d.b):]
		o.Offset.Offset, o.LeaderEpoch = d.varint(), d.int32()
		o.Metadata = d.string()
		o.Time, o.Expires = d.varint(), d.varint()
	}
	return c
}

func decodeForget(d *decoder) *forget {
	c := &forget{group: d.string()}
	c.partitions = make([]TopicPartition, d.count(2))
	for i := range c.partitions {
		c.partitions[i] = decodePartition(d)
	}
	return c
}

func decodePartition(d *decoder) TopicPartition {
	return TopicPartition{Topic: d.string(), Partition: d.int32()}
}
