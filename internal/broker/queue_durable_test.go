package broker

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

func TestDurableQueueSurvivesARestart(t *testing.T) {
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 1<<20)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	confirmed := make(confirms, 10)
	for v := range uint64(10) {
		if err := n.publishValue("q", v, 8, confirmed, v); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
	}
	b := newBasket(5)
	s := n.consume(t, "q", b)
	var got []received
	for range 5 {
		got = append(got, b.next(t))
	}
	settled := make(chan error, 1)
	s.Settle(Accept, []record.Offset{got[0].off, got[2].off}, func(err error) { settled <- err })
	if err := <-settled; err != nil {
		t.Fatal(err)
	}
	n.stop(t)

	n = startTestNode(t, fs, 1<<20)
	defer n.stop(t)
	if s := n.declare(t, QueueSpec{Name: "q", Durable: true}); s.Ready != 8 {
		t.Fatalf("%d messages are there, want 8", s.Ready)
	}
	b = newBasket(100)
	n.consume(t, "q", b)
	for _, v := range []uint64{1, 3, 4, 5, 6, 7, 8, 9} {
		r := b.next(t)
		if r.value != v || v < 5 && !r.again {
			t.Fatalf("got %d (again %v), want %d", r.value, r.again, v)
		}
	}
}

// A backlog that is far larger than the memtables comes from disk, in order, also
// when much of it is requeued.
func TestDurableQueueReadsItsBacklogFromDisk(t *testing.T) {
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 1<<20)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	const count, size = 8000, 2000
	confirmed := make(confirms, count)
	for v := range uint64(count) {
		if err := n.publishValue("q", v, size, confirmed, v); err != nil {
			t.Fatal(err)
		}
	}
	for range count {
		if err := <-confirmed; err != nil {
			t.Fatal(err)
		}
	}
	n.stop(t)
	n = startTestNode(t, fs, 1<<20)
	defer n.stop(t)
	b := newBasket(count)
	s := n.consume(t, "q", b)
	var offsets []record.Offset
	for v := range uint64(count) {
		r := b.next(t)
		if r.value != v {
			t.Fatalf("got %d, want %d", r.value, v)
		}
		if v%3 == 0 {
			offsets = append(offsets, r.off)
		}
	}
	s.Settle(Requeue, offsets, nil)
	b.more(s, len(offsets))
	for i := range offsets {
		if r := b.next(t); r.value != uint64(3*i) || !r.again {
			t.Fatalf("got %d (again %v), want %d again", r.value, r.again, 3*i)
		}
	}
}

// An auto-delete queue goes with its last consumer, and its name can be used
// again at once; x-expires ends a queue that nobody uses.
func TestQueuesThatDeleteThemselves(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	for range 20 {
		n.declare(t, QueueSpec{Name: "q", Durable: true, AutoDelete: true})
		confirmed := make(confirms, 1)
		if err := n.publishValue("q", 1, 8, confirmed, 1); err != nil {
			t.Fatal(err)
		}
		b := newBasket(1)
		s := n.consume(t, "q", b)
		if r := b.next(t); r.again {
			t.Fatal("a message of the deleted queue is back")
		}
		s.Close()
	}
	lease := QueueSpec{Name: "lease", Args: record.Table{"x-expires": int32(50)}}
	if _, err := n.session.DeclareQueue(testContext(t), lease); err != nil && !isNotFound(err) { // it may have expired by now
		t.Fatal(err)
	}
	eventually(t, "the queue expires", func() bool {
		_, ok := n.session.vhost.queues.get("lease")
		return !ok
	})
}

// A client may be gone before the deletion that it asked for is decided. The
// queue must not be left between life and death.
func TestDeletionGoesOnWithoutItsClient(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	unheard := 0
	for range 10 {
		n.declare(t, QueueSpec{Name: "q", Durable: true})
		if _, err := n.session.DeleteQueue(gone, "q", false, false); err != nil {
			unheard++ // else all was done before anybody looked whether the client is there
		}
		eventually(t, "the queue is gone", func() bool {
			_, ok := n.session.vhost.queues.get("q")
			return !ok
		})
	}
	if unheard == 0 {
		t.Error("no client was gone before its queue was")
	}
}

// Nor may it be left so by a restart between the seal and the deletion.
func TestDeletionGoesOnAfterARestart(t *testing.T) {
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 1<<20)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	q, err := n.session.queue("q")
	if err != nil {
		t.Fatal(err)
	}
	q.sent = time.Now().Add(time.Hour) // the catalog does not hear of it; the shard reads this after the verb
	if _, err := q.prepareDelete(testContext(t), false, true); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	n = startTestNode(t, fs, 1<<20)
	defer n.stop(t)
	eventually(t, "the queue is gone", func() bool {
		_, ok := n.session.vhost.queues.get("q")
		return !ok
	})
}

// Nor may an exclusive queue be left that belongs to nobody.
func TestExclusiveQueueOfAClientThatIsGone(t *testing.T) {
	n := startTestNode(t, vfs.NewMem(), 1<<20)
	defer n.stop(t)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	for range 10 {
		s, err := n.OpenSession("/")
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.DeclareQueue(gone, QueueSpec{Name: "mine", Exclusive: true})
		s.Close(testContext(t))
		// Whatever was on its way to the catalog is there after this.
		n.declare(t, QueueSpec{Name: "other", Durable: true})
		n.session.DeleteQueue(testContext(t), "other", false, false)
		if _, ok := n.session.vhost.queues.get("mine"); ok {
			t.Fatalf("the queue has outlived its session; the declaration said %v", err)
		}
	}
}

// A message that rots on the disk stops the deliveries before it: consumers
// get all that lies in front of it, though reading ahead has found the damage by then,
// and no gap; publishing goes on.
func TestDurableQueueStopsAtDamage(t *testing.T) {
	fs := vfs.NewMem()
	n := startTestNode(t, fs, 256<<10)
	n.declare(t, QueueSpec{Name: "q", Durable: true})
	q, _ := n.session.vhost.queues.get("q")
	log := q.spec.Log
	// Few at a time, so that a read has entries in front of what is damaged, and behind.
	const size = 2000
	count := 0
	confirmed := make(confirms, 10)
	eventually(t, "a backlog below a checkpoint", func() bool {
		for range cap(confirmed) {
			if err := n.publishValue("q", uint64(count), size, confirmed, 0); err != nil {
				t.Fatal(err)
			}
			count++
		}
		for range cap(confirmed) {
			if err := <-confirmed; err != nil {
				t.Fatal(err)
			}
		}
		return len(covered(t, fs, log)) >= 20
	})
	n.stop(t)
	blocks := covered(t, fs, log)
	if len(blocks) < 20 {
		t.Fatalf("a checkpoint covers %d blocks of messages, and another covered more", len(blocks))
	}
	damaged := blocks[len(blocks)/2]
	if err := fs.Flip(damaged.path, damaged.pos+size/2, 0xff); err != nil { // in its first entry
		t.Fatal(err)
	}

	n = startTestNode(t, fs, 256<<10)
	defer n.stop(t)
	b := newBasket(count)
	n.consume(t, "q", b)
	q, _ = n.session.vhost.queues.get("q")
	pull, err := n.session.Subscribe(testContext(t), SubscribeOptions{Queue: "q", Pull: true}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Gets compete with the consumer until both come to the damage.
	seen := map[uint64]bool{}
	for {
		d, _, ok, err := pull.Get(testContext(t))
		if err != nil {
			break
		}
		if !ok {
			t.Fatalf("the queue pretends to be empty, with %+v", q.Depth())
		}
		seen[valueOf(d)] = true
	}
	if _, err := n.session.CheckQueue(testContext(t), "q"); err != nil { // the turn is over in which the damage was met
		t.Fatal(err)
	}
	delivered := int(q.Depth().Unacked)
	for len(seen) < delivered {
		seen[b.next(t).value] = true
	}
	for v := range uint64(delivered) {
		if !seen[v] {
			t.Fatalf("%d messages were delivered, and %d is not among them: a gap", delivered, v)
		}
	}
	if delivered != damaged.messages {
		t.Fatalf("%d messages were delivered, and %d lie before the damage", delivered, damaged.messages)
	}
	if err := n.publishValue("q", 0, size, confirmed, 0); err != nil {
		t.Fatal(err)
	}
	if err := <-confirmed; err != nil {
		t.Fatal(err)
	}
}

// block is where entries of a log lie, in a segment or in a WAL file that is kept.
type block struct {
	path     string
	pos      int64
	messages int // before it
}

// covered returns the blocks of messages that the newest checkpoint covers, but for the first. What
// lies above it raft needs as well, and a log in which that is damaged is offline.
func covered(t *testing.T, fs *vfs.Mem, log record.LogID) []block {
	t.Helper()
	names, err := fs.List("data/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".ckpt") })
	var out bytes.Buffer
	if len(names) == 0 || storage.DumpCheckpoint(&out, fs, "data/checkpoint/"+slices.Max(names)) != nil {
		return nil // it was removed meanwhile
	}
	type place struct{ segment, pos int64 }
	var (
		id      record.LogID
		applied record.Index
		chunks  []place
		wals    = map[int64]int64{} // by segment
	)
	for line := range strings.Lines(out.String()) {
		line = strings.TrimSpace(line)
		var of record.LogID
		var at record.Index
		var p place
		var size, wal int64
		if n, _ := fmt.Sscanf(line, "segment %d: %d bytes, WAL file %d", &p.segment, &size, &wal); n == 3 {
			wals[p.segment] = wal
		} else if n, _ := fmt.Sscanf(line, "log %d: applied %d", &of, &at); n == 2 {
			if id = of; id == log {
				applied = at
			}
		} else if n, _ := fmt.Sscanf(line, "segment %d at %d", &p.segment, &p.pos); n == 2 && id == log {
			chunks = append(chunks, p)
		}
	}
	var blocks []block
	for _, c := range chunks {
		path, dump := fmt.Sprintf("data/seg/%012d.seg", c.segment), storage.DumpSegment
		if wal := wals[c.segment]; wal != 0 {
			path, dump = fmt.Sprintf("data/wal/%012d.wal", wal), storage.DumpWAL
		}
		out.Reset()
		if dump(&out, fs, path) != nil {
			return nil
		}
		_, rest, _ := strings.Cut(out.String(), fmt.Sprintf("\n%d: chunk of log %d,", c.pos, log))
		for line := range strings.Lines(rest) {
			if strings.Contains(line, ": chunk of log ") {
				break
			}
			var index record.Index
			b := block{path: path}
			n, _ := fmt.Sscanf(strings.TrimSpace(line), "mark: index %d, offset %d at %d", &index, &b.messages, &b.pos)
			if n == 3 && index <= applied && b.messages > 0 {
				blocks = append(blocks, b)
			}
		}
	}
	return blocks
}

// eventually waits until done, for at most a minute.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !done() {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}
