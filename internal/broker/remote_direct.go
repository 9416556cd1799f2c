package broker

import (
	"encoding/binary"

	"waybill/internal/record"
)

// Direct messages go to a client of another node without a queue between
// (AMQP's direct reply-to). Nothing is kept: what cannot be delivered at once is lost.

// OnDirect sets who takes direct messages for clients of this node. It must be called
// before there are any, and f must not block.
func (b *Broker) OnDirect(f func(address string, stored []byte)) { b.direct.Store(&f) }

// SendDirect sends a message to an address on another node; false when that is
// certainly in vain.
func (b *Broker) SendDirect(node uint64, address string, stored []byte) bool {
	if b.links == nil || !b.HasNode(node) {
		return false
	}
	l := b.links.get(node)
	if l == nil || l.out.full() {
		return false
	}
	at := l.out.begin(frameDirect, 0)
	buf := binary.AppendUvarint(l.out.buf, uint64(len(address)))
	buf = append(buf, address...)
	l.out.buf = append(buf, stored...)
	l.out.end(at)
	return true
}

// HasNode reports whether a node is a member of the cluster.
func (b *Broker) HasNode(id uint64) bool {
	n := b.members.load().byID[id]
	return n != nil && n.Member()
}

// takeDirect takes a direct message from another node.
func (b *Broker) takeDirect(f *fields) error {
	address := f.bytes()
	var m record.Message
	stored := f.message(&m)
	if err := f.end(); err != nil {
		return err
	}
	if take := b.direct.Load(); take != nil {
		(*take)(string(address), stored)
	}
	return nil
}
