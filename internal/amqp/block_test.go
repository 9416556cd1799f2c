package amqp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	amqp091 "github.com/rabbitmq/amqp091-go"

	"waybill/internal/amqp/spec"
)

// TestBlockIsUsedAgain: a block is free for its connection when nothing of it is on loan, and
// for others when the connection has left it, too; in any order.
func TestBlockIsUsedAgain(t *testing.T) {
	b := newBlocks(100)
	k := b.take()
	if !k.alone() || !k.Lend() || !k.Lend() || k.alone() {
		t.Fatal("two loans are not counted")
	}
	k.GiveBack()
	if k.alone() {
		t.Fatal("one loan is forgotten")
	}
	k.GiveBack()
	if !k.alone() || !k.Lend() {
		t.Fatal("both were given back")
	}
	k.leave()
	if left := b.left.Load(); left != 100 {
		t.Fatalf("%d bytes were left with a loan", left)
	}
	k.GiveBack()
	if left := b.left.Load(); left != 0 {
		t.Fatalf("%d bytes are left after all was given back", left)
	}
	k = b.take()
	k.Lend()
	k.GiveBack()
	k.leave()
	if left := b.left.Load(); left != 0 {
		t.Fatalf("%d bytes are left of a block of which nothing was on loan", left)
	}
	defer func() {
		if recover() == nil {
			t.Error("a message is given back twice, and nobody minds")
		}
	}()
	k.GiveBack()
}

// TestBlocksAreBounded: messages that stay on loan keep no more than so many blocks.
func TestBlocksAreBounded(t *testing.T) {
	b := newBlocks(maxLeft / 4)
	var kept []*block
	for range 4 {
		k := b.take()
		if !k.Lend() {
			t.Fatal("nothing was lent yet")
		}
		k.leave()
		kept = append(kept, k)
	}
	k := b.take()
	if k.Lend() {
		t.Fatal("more is lent than there may be")
	}
	if !k.alone() {
		t.Fatal("what was not lent counts")
	}
	kept[0].GiveBack()
	if !k.Lend() {
		t.Fatal("there is room again")
	}
}

// TestMessagesStayWhileTheyAreOnLoan: whatever is read after a message, it is there until it is given
// back, and no memory is used twice.
func TestMessagesStayWhileTheyAreOnLoan(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	text := func(i, size int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	var in bytes.Buffer
	var sizes []int
	for i := range 2000 {
		sizes = append(sizes, rng.IntN(300))
		in.Write(frameOf(spec.FrameMethod, 1, strings.Repeat("m", rng.IntN(100))))
		in.Write(frameOf(spec.FrameBody, 1, string(text(i, sizes[i]))))
	}
	f := newFrameReader(iotest.HalfReader(&in), newBlocks(1024), minFrameMax)
	type loan struct {
		i      int
		stored []byte
		from   *block
	}
	var loans []loan
	giveBack := func() {
		at := rng.IntN(len(loans))
		l := loans[at]
		loans[at] = loans[len(loans)-1]
		loans = loans[:len(loans)-1]
		if !bytes.Equal(l.stored, append(text(l.i, 20), text(l.i, sizes[l.i])...)) {
			t.Fatalf("message %d has changed: %x", l.i, l.stored)
		}
		clear(l.stored)
		l.from.GiveBack()
	}
	lent := 0
	for i := range sizes {
		h, err := f.next()
		must(t, err)
		must(t, f.skip(h))
		h, err = f.next()
		must(t, err)
		body, err := f.whole(h)
		must(t, err)
		if stored := f.inPlace(text(i, 20), body); stored != nil && f.block.Lend() {
			lent++
			loans = append(loans, loan{i, stored, f.block})
		}
		for len(loans) > 0 && rng.IntN(3) > 0 {
			giveBack()
		}
	}
	for len(loans) > 0 {
		giveBack()
	}
	if lent < len(sizes)/2 {
		t.Errorf("only %d of %d messages were lent", lent, len(sizes))
	}
}

// TestMessagesOfAllSizes: messages that come whole, in pieces and without a body arrive as they
// were sent, on channels side by side, with headers of any length.
func TestMessagesOfAllSizes(t *testing.T) {
	const messages = 300
	n := startNode(t, nil)
	consumer := n.channel(t)
	queue := durable(t, consumer)
	deliveries, err := consumer.Consume(queue, "", true, false, false, false, nil)
	must(t, err)
	body := func(i int) []byte {
		return bytes.Repeat(fmt.Appendf(nil, "%d.", i), []int{0, 1, 10, 500, 2000, 20_000}[i%6])
	}
	note := func(i int) string { return strings.Repeat("n", i%7*100) }
	conn := n.dial(t)
	for c := range 3 {
		ch, err := conn.Channel()
		must(t, err)
		go func() {
			for i := c; i < messages; i += 3 {
				p := amqp091.Publishing{Body: body(i), Headers: amqp091.Table{"i": int32(i), "note": note(i)}}
				if err := ch.Publish("", queue, false, false, p); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	for range messages {
		d := receive(t, deliveries)
		i := int(d.Headers["i"].(int32))
		if !bytes.Equal(d.Body, body(i)) || d.Headers["note"] != note(i) {
			t.Fatalf("message %d has changed", i)
		}
	}
	eventually(t, "all is given back", func() bool { return n.blocks.left.Load() == 0 && n.cfg.Intake.Used() == 0 })
}
