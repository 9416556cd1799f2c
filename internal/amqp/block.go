package amqp

import (
	"sync"
	"sync/atomic"
)

// blocks are what connections read into. A small message that came whole is lent to
// the broker where it lies in a block: nothing is allocated for it, and nothing copied, until it is
// in its entry. So a block is used again from its start only when nothing of it is on loan;
// otherwise the connection goes on with another one, and who gives back the last message
// gives back the block.
//
// A message on loan keeps its whole block, however small it is. So what blocks may take that
// connections have left is bounded; beyond that messages are copied, each into memory of its own.
type blocks struct {
	size int
	free sync.Pool    // of *block
	left atomic.Int64 // bytes of blocks without a connection of which something is on loan
}

const (
	// blockSize is as much as is read at a time.
	blockSize = 32 << 10
	// maxLeft bounds blocks.left; each connection may exceed it by one block.
	maxLeft = 16 << 20
)

func newBlocks(size int) *blocks {
	b := &blocks{size: size}
	b.free.New = func() any { return &block{blocks: b, data: make([]byte, size)} }
	return b
}

// block is a piece of memory with messages on loan. Its connection counts what it lends for
// itself, so that the counter that is shared with those who give back is touched once for
// each loan, and not twice.
type block struct {
	blocks *blocks
	data   []byte
	lent   int64        // loans so far; owned by the connection
	open   atomic.Int64 // less those given back: connected; once the connection has left, lent
}

// connected is more than any number of loans.
const connected = 1 << 40

// take returns a block for a connection.
func (b *blocks) take() *block {
	k := b.free.Get().(*block)
	k.lent = 0
	k.open.Store(connected)
	return k
}

// alone reports whether nothing is on loan. Only the connection asks, and only
// it lends.
func (k *block) alone() bool {
	switch {
	case k.lent == 0:
	case k.open.Load()+k.lent == connected:
		k.lent = 0
		k.open.Store(connected)
	default:
		return false
	}
	return true
}

// leave ends the connection's use of the block.
func (k *block) leave() {
	if k.less(connected - k.lent) {
		k.blocks.put(k)
		return
	}
	k.blocks.left.Add(int64(len(k.data)))
}

// less takes n from open, and reports whether nobody has anything of the block now.
func (k *block) less(n int64) bool {
	left := k.open.Add(-n)
	if left < 0 {
		panic("amqp: a message was given back twice")
	}
	return left == 0
}

// Lend implements broker.Lender.
func (k *block) Lend() bool {
	if k.lent == 0 && k.blocks.left.Load() >= maxLeft {
		return false
	}
	k.lent++
	return true
}

// GiveBack implements broker.Lender.
func (k *block) GiveBack() {
	if k.less(1) {
		k.blocks.left.Add(-int64(len(k.data)))
		k.blocks.put(k)
	}
}

func (b *blocks) put(k *block) {
	spoil(k.data)
	b.free.Put(k)
}
