package broker

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/record/recordtest"
	"waybill/internal/replica"
	"waybill/internal/storage"
	"waybill/internal/vfs"
)

// partitionNode is a broker whose clock the test moves.
type partitionNode struct {
	*Broker
	t     testing.TB
	store *storage.Store
	host  *replica.Host
	now   *atomic.Int64 // ms
}

func startPartitionNode(t testing.TB, fs vfs.FS, now *atomic.Int64) *partitionNode {
	t.Helper()
	n := &partitionNode{t: t, now: now}
	if now.Load() == 0 {
		now.Store(time.Now().UnixMilli())
	}
	log := slog.New(slog.DiscardHandler)
	var err error
	n.store, err = storage.Open(fs, "data", storage.Options{
		WALFileSize: 1 << 20, // small, so that a test reaches the segments
		Logger:      log,
		Checkpoint:  func(id record.LogID) (storage.Checkpoint, bool) { return n.host.Checkpoint(id) },
	})
	if err != nil {
		t.Fatal(err)
	}
	n.host = replica.NewHost(replica.Config{Store: n.store, ReplicaID: 1, Shards: 2, Logger: log})
	n.store.Start()
	n.Broker, err = Open(testContext(t), Config{
		Store: n.store, Host: n.host, Node: 1, Logger: log,
		Now: func() time.Time { return time.UnixMilli(now.Load()) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (n *partitionNode) stop() {
	n.Broker.Close()
	n.host.Close()
	if err := n.store.Close(); err != nil {
		n.t.Error(err)
	}
}

func (n *partitionNode) topic(configs map[string]string) *Partition {
	n.t.Helper()
	t, ok := n.Topic("t")
	if !ok {
		var err error
		if t, err = n.CreateTopic(testContext(n.t), TopicSpec{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: configs}, false); err != nil {
			n.t.Fatal(err)
		}
	}
	return t.Partitions[0]
}

// answers collects what appends came to.
type answers chan struct {
	tag int
	AppendResult
}

func (a answers) Appended(tag int, r AppendResult) {
	a <- struct {
		tag int
		AppendResult
	}{tag, r}
}

func appendBatch(p *Partition, b record.Batch) AppendResult {
	a := make(answers, 1)
	p.Append(bytes.Clone(b), time.Minute, a, 0)
	return (<-a).AppendResult
}

func mustAppend(t testing.TB, p *Partition, b record.Batch) record.Offset {
	t.Helper()
	r := appendBatch(p, b)
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.Base
}

func codeOf(err error) int16 {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return -99
}

// readAll returns the batches of [from, high) and checks that they are dense.
func readAll(t testing.TB, p *Partition, from record.Offset, maxBytes int) (all []record.Batch) {
	t.Helper()
	_, high := p.Offsets()
	for first := true; from < high; first = false {
		r, err := p.Read(from, maxBytes)
		if err != nil || len(r.Batches) == 0 {
			t.Fatalf("at %d of %d: %v, %d batches", from, high, err, len(r.Batches))
		}
		size := 0
		for _, run := range r.Batches {
			size += len(run)
			for len(run) > 0 {
				var b record.Batch
				if b, run, err = record.NextBatch(run); err != nil {
					t.Fatal(err)
				}
				if _, err := record.ParseBatch(b); err != nil {
					t.Fatal(err)
				}
				if b.BaseOffset() > from || b.End() <= from || !first && b.BaseOffset() != from {
					t.Fatalf("batch [%d, %d) at %d", b.BaseOffset(), b.End(), from)
				}
				from, first = b.End(), false
				all = append(all, b)
			}
		}
		if size != r.Size {
			t.Fatalf("size %d, said %d", size, r.Size)
		}
	}
	return all
}

func TestPartitionKeepsBatchesAcrossRestarts(t *testing.T) {
	fs, now := vfs.NewMem(), new(atomic.Int64)
	rnd := rand.New(rand.NewPCG(1, 2))
	var want []record.Batch
	for range 4 {
		n := startPartitionNode(t, fs, now)
		p := n.topic(nil)
		a := make(answers, 300)
		for i := range 300 {
			value := bytes.Repeat([]byte{byte(rnd.Int())}, 1<<rnd.IntN(15))
			b := recordtest.Batch{Time: now.Load(), Values: slices.Repeat([][]byte{value}, 1+rnd.IntN(3))}.Encode()
			want = append(want, b)
			p.Append(bytes.Clone(b), time.Minute, a, i)
		}
		for i := range 300 {
			if r := <-a; r.Err != nil || r.tag != i {
				t.Fatalf("answer %d is for %d: %v", i, r.tag, r.Err)
			}
		}
		for _, maxBytes := range []int{0, 500, 5_000, 50_000, 10 << 20} {
			got := readAll(t, p, 0, maxBytes)
			if len(got) != len(want) {
				t.Fatalf("%d batches, want %d", len(got), len(want))
			}
			for i := range got {
				if !bytes.Equal(got[i][16:], want[i][16:]) {
					t.Fatalf("batch %d is another one", i)
				}
			}
		}
		_, high := p.Offsets()
		for range 20 { // from the middle of a batch too
			readAll(t, p, record.Offset(rnd.Int64N(int64(high))), 1<<20)
		}
		n.stop()
	}
}

func TestReadLeavesNoGap(t *testing.T) {
	small, large := []byte(recordtest.New("v")), []byte(recordtest.New(string(make([]byte, 5000))))
	var r ReadResult
	if r.take(append(bytes.Clone(small), large...), 1000) || r.Size != len(small) {
		t.Errorf("an entry that is too large for 1000 bytes: %d taken, and more may follow", r.Size)
	}
	r = ReadResult{}
	if !r.take(small, 1000) || r.take(large, 1000) || r.Size != len(small) {
		t.Errorf("a small entry, and a large one: %d taken", r.Size)
	}
	r = ReadResult{}
	if !r.take(large, 1000) || r.take(small, 1000) || r.Size != len(large) {
		t.Errorf("the first batch is taken in any case: %d taken", r.Size)
	}
}

func TestProducerStateSurvivesARestart(t *testing.T) {
	fs, now := vfs.NewMem(), new(atomic.Int64)
	n := startPartitionNode(t, fs, now)
	p := n.topic(nil)
	first, second := recordtest.N(3, 9, 0, 0), recordtest.N(2, 9, 0, 3)
	a := make(answers, 3)
	p.Append(bytes.Clone(first), time.Minute, a, 0)
	p.Append(bytes.Clone(second), time.Minute, a, 1)
	p.Append(bytes.Clone(first), time.Minute, a, 2)  // again, while it is on its way
	bases := map[int]record.Offset{0: 0, 1: 3, 2: 0} // in any order: the first may be committed before the second
	for range 3 {
		r := <-a
		if base, open := bases[r.tag]; !open || r.Base != base || r.Err != nil {
			t.Fatalf("%+v", r)
		}
		delete(bases, r.tag)
	}
	n.stop()
	n = startPartitionNode(t, fs, now)
	defer n.stop()
	p = n.topic(nil)
	if base := mustAppend(t, p, second); base != 3 {
		t.Errorf("again after the restart: offset %d", base)
	}
	for _, c := range []struct {
		b    record.Batch
		code int16
	}{
		{recordtest.N(1, 9, 0, 7), codeOutOfOrderSequence},
		{recordtest.N(1, 9, 1, 3), codeOutOfOrderSequence},
		{recordtest.N(1, 8, 0, 3), codeUnknownProducerID},
	} {
		if r := appendBatch(p, c.b); codeOf(r.Err) != c.code {
			t.Errorf("%v, want code %d", r.Err, c.code)
		}
	}
	mustAppend(t, p, recordtest.N(1, 9, 1, 0))
	if r := appendBatch(p, recordtest.N(1, 9, 0, 5)); codeOf(r.Err) != codeInvalidProducerEpoch {
		t.Errorf("an older epoch: %v", r.Err)
	}
	if _, high := p.Offsets(); high != 6 {
		t.Errorf("high watermark %d", high)
	}
}

func TestBatchesThatAreRefused(t *testing.T) {
	now := new(atomic.Int64)
	n := startPartitionNode(t, vfs.NewMem(), now)
	defer n.stop()
	p := n.topic(map[string]string{"max.message.bytes": "1000", "message.timestamp.before.max.ms": "60000"})
	ms := now.Load()
	batch := func(b recordtest.Batch) record.Batch {
		if b.Time == 0 && b.Times == nil {
			b.Time = ms
		}
		if b.Values == nil {
			b.Values = [][]byte{[]byte("v")}
		}
		return b.Encode()
	}
	flipped := batch(recordtest.Batch{})
	flipped[65] ^= 1
	old := batch(recordtest.Batch{})
	old[16] = 1
	for name, c := range map[string]struct {
		b    record.Batch
		code int16
	}{
		"nothing":               {nil, codeInvalidRecord},
		"a flipped bit":         {flipped, codeCorruptMessage},
		"magic 1":               {old, codeUnsupportedForMessage},
		"too large":             {batch(recordtest.Batch{Values: [][]byte{make([]byte, 1000)}}), codeMessageTooLarge},
		"a control batch":       {batch(recordtest.Batch{Attributes: 0x20}), codeInvalidRecord},
		"unknown attributes":    {batch(recordtest.Batch{Attributes: 0x40}), codeInvalidRecord},
		"a transaction":         {batch(recordtest.Batch{Attributes: 0x10}), codeInvalidTxnState},
		"LogAppendTime":         {batch(recordtest.Batch{Attributes: 0x08}), codeInvalidTimestamp},
		"codec 5":               {batch(recordtest.Batch{Codec: 5}), codeUnsupportedCompression},
		"not what it says":      {batch(recordtest.Batch{Attributes: 4}), codeInvalidRecord},
		"from the future":       {batch(recordtest.Batch{Time: ms + 3_600_001}), codeInvalidTimestamp},
		"from the past":         {batch(recordtest.Batch{Time: ms, Times: []int64{ms - 60_001}}), codeInvalidTimestamp},
		"a count that is wrong": {recordtest.Seal(append(batch(recordtest.Batch{}), 0)), codeInvalidRecord},
	} {
		if r := appendBatch(p, c.b); codeOf(r.Err) != c.code || r.Base != -1 {
			t.Errorf("%s: %+v, want code %d", name, r, c.code)
		}
	}
	n.SetAlarm("the disk is full")
	if r := appendBatch(p, batch(recordtest.Batch{})); codeOf(r.Err) != codeKafkaStorageError {
		t.Errorf("during an alarm: %v", r.Err)
	}
	n.SetAlarm("")
	if base := mustAppend(t, p, batch(recordtest.Batch{})); base != 0 {
		t.Errorf("something that was refused took offset 0: %d", base)
	}
}

func TestRetentionByTimeAndSize(t *testing.T) {
	fs, now := vfs.NewMem(), new(atomic.Int64)
	n := startPartitionNode(t, fs, now)
	p := n.topic(map[string]string{"retention.ms": "60000", "max.message.bytes": "3000000"})
	big := recordtest.Batch{Values: [][]byte{make([]byte, 1<<20)}, Time: now.Load()}.Encode()
	for range 5 {
		mustAppend(t, p, big)
		now.Add(10_000)
	}
	if start, _ := p.Offsets(); start != 0 {
		t.Fatalf("dropped too early: start %d", start)
	}
	now.Add(21_000) // the first two are older than a minute now
	mustAppend(t, p, big)
	awaitStart(t, p, 2)
	var refused *Error
	if _, err := p.Read(1, 1000); !errors.As(err, &refused) || refused.Kind != OutOfRange {
		t.Errorf("a read below the start: %v", err)
	}
	readAll(t, p, 2, 1<<20)

	if err := n.AlterTopic(testContext(t), "t", map[string]string{"retention.bytes": "2500000"}); err != nil {
		t.Fatal(err)
	}
	awaitStart(t, p, 3)
	n.stop()
	n = startPartitionNode(t, fs, now)
	defer n.stop()
	p = n.topic(nil)
	if start, high := p.Offsets(); start != 3 || high != 6 {
		t.Errorf("after the restart: [%d, %d)", start, high)
	}
	if p.Size() < 3<<20 || p.Size() > 4<<20 {
		t.Errorf("size %d", p.Size())
	}
}

func awaitStart(t testing.TB, p *Partition, want record.Offset) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		start, _ := p.Offsets()
		if start == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("start %d, want %d", start, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLookupsByTime(t *testing.T) {
	now := new(atomic.Int64)
	n := startPartitionNode(t, vfs.NewMem(), now)
	defer n.stop()
	p := n.topic(map[string]string{"max.message.bytes": "3000000"})
	if _, _, ok, err := p.MaxTimestamp(); ok || err != nil {
		t.Fatal(ok, err)
	}
	for i, codec := range []record.Codec{0, record.CodecZstd, record.CodecGzip, 0} {
		base := int64(i * 100)
		mustAppend(t, p, recordtest.Batch{Codec: codec, Time: base, Times: []int64{base + 10, base + 50, base + 30},
			Values: [][]byte{make([]byte, 1<<20), nil, nil}}.Encode())
	}
	for _, c := range []struct {
		ms   int64
		off  record.Offset
		time int64
		ok   bool
	}{{0, 0, 10, true}, {11, 1, 50, true}, {60, 3, 110, true}, {151, 6, 210, true}, {350, 10, 350, true}, {351, 0, 0, false}} {
		off, ms, ok, err := p.OffsetAtTime(c.ms)
		if off != c.off || ms != c.time || ok != c.ok || err != nil {
			t.Errorf("%d: offset %d with %d, %v %v", c.ms, off, ms, ok, err)
		}
	}
	if off, ms, ok, err := p.MaxTimestamp(); off != 10 || ms != 350 || !ok || err != nil {
		t.Error(off, ms, ok, err)
	}
	done := make(chan error, 1)
	p.DeleteBefore(11, func(_ record.Offset, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if off, ms, ok, err := p.MaxTimestamp(); off != 11 || ms != 330 || !ok || err != nil {
		t.Errorf("after the largest was deleted, which batch 3 still holds: %d %d %v %v", off, ms, ok, err)
	}
}

func TestDeletedTopicAnswersEveryone(t *testing.T) {
	n := startPartitionNode(t, vfs.NewMem(), new(atomic.Int64))
	defer n.stop()
	p := n.topic(nil)
	news := make(chan struct{}, 1)
	p.Watch(0, news)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for range 4 {
		writers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if r := appendBatch(p, recordtest.New("v")); r.Err != nil && codeOf(r.Err) != codeUnknownTopicOrPartition && codeOf(r.Err) != codeNotLeader {
					t.Error(r.Err)
				}
			}
		})
	}
	<-news
	p.Watch(1<<40, news)
	if err := n.DeleteTopic(testContext(t), "t"); err != nil {
		t.Fatal(err)
	}
	<-news
	close(stop)
	writers.Wait() // nobody is left without an answer
	if r := appendBatch(p, recordtest.New("v")); codeOf(r.Err) != codeUnknownTopicOrPartition {
		t.Error(r.Err)
	}
	if _, err := p.Read(0, 1000); codeOf(err) != codeUnknownTopicOrPartition {
		t.Error(err)
	}
}

// Readers, writers and retention at once; run with the race detector.
func TestPartitionUnderLoad(t *testing.T) {
	now := new(atomic.Int64)
	n := startPartitionNode(t, vfs.NewMem(), now)
	defer n.stop()
	p := n.topic(map[string]string{"retention.bytes": "1000000"})
	var writers, readers sync.WaitGroup
	for w := range 4 {
		writers.Go(func() {
			for i := range int32(200) {
				b := recordtest.N(2, int64(w), 0, 2*i)
				base := mustAppend(t, p, b)
				if again := mustAppend(t, p, b); again != base {
					t.Errorf("offsets %d and %d", base, again)
				}
				big := recordtest.Batch{Values: [][]byte{make([]byte, 10_000)}}.Encode()
				mustAppend(t, p, big)
			}
		})
	}
	for range 3 {
		readers.Go(func() {
			news := make(chan struct{}, 1)
			defer p.Unwatch(news)
			for next := record.Offset(0); next < 4*200*3; {
				r, err := p.Read(next, 100_000)
				var e *Error
				if errors.As(err, &e) && e.Kind == OutOfRange {
					next = r.LogStart
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				for _, run := range r.Batches {
					for len(run) > 0 {
						var b record.Batch
						if b, run, err = record.NextBatch(run); err != nil || b.BaseOffset() != next {
							t.Error(fmt.Errorf("batch at %d, want %d: %w", b.BaseOffset(), next, err))
							return
						}
						next = b.End()
					}
				}
				if len(r.Batches) == 0 {
					p.Watch(next, news)
					<-news
				}
			}
		})
	}
	writers.Wait()
	readers.Wait()
	if start, high := p.Offsets(); high != 4*200*3 || start == 0 {
		t.Errorf("[%d, %d)", start, high)
	}
}
