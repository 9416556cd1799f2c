package broker

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"waybill/internal/record"
	"waybill/internal/record/recordtest"
	"waybill/internal/vfs"
)

// TestPartitionSurvivesPowerCuts cuts the power again and again while batches
// of idempotent producers are appended. Every batch that was acknowledged
// before a cut must be at its offset after it, and an append that is repeated
// because its answer was lost must not be stored twice.
func TestPartitionSurvivesPowerCuts(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	fs, now := vfs.NewMem(), new(atomic.Int64)
	w := &crashWriters{t: t, acked: map[record.Offset]string{}}
	for cut := range 25 {
		n := startPartitionNode(t, fs, now)
		p := n.topic(map[string]string{"retention.ms": "-1"})
		w.check(p)
		next, acked := w.run(p, fs, rnd)
		n.stop()
		fs, w.acked = next, acked
		if t.Failed() {
			t.Fatalf("after cut %d", cut)
		}
	}
}

const crashProducers = 3

// crashWriters append batches of one record each, in sequence per producer.
type crashWriters struct {
	t     *testing.T
	next  [crashProducers]int32 // the next sequence number to send
	acked map[record.Offset]string
}

// run appends a while, and returns what a power cut at some moment leaves, with
// what was acknowledged before that moment.
func (w *crashWriters) run(p *Partition, fs *vfs.Mem, rnd *rand.Rand) (*vfs.Mem, map[record.Offset]string) {
	cutAfter, answered := 20+rnd.IntN(200), 0
	a := make(answers, 8)
	var sent [crashProducers]int32 // in this run
	inFlight := 0
	start := w.next
	send := func() {
		id := rnd.IntN(crashProducers)
		if sent[id]-(w.next[id]-start[id]) >= 5 { // the window of an idempotent producer
			return
		}
		sequence := start[id] + sent[id]
		sent[id]++
		inFlight++
		p.Append(crashBatch(id, sequence, rnd.IntN(30_000)), time.Minute, a, id)
	}
	for {
		for inFlight < 8 && rnd.IntN(4) > 0 {
			send()
		}
		if inFlight == 0 {
			continue
		}
		r := <-a
		inFlight--
		if r.Err != nil {
			w.t.Fatal(r.Err)
		}
		w.acked[r.Base] = fmt.Sprintf("%d/%d/", r.tag, w.next[r.tag])
		w.next[r.tag]++ // answers come in the order of the appends
		if answered++; answered == cutAfter {
			acked := map[record.Offset]string{}
			for off, v := range w.acked {
				acked[off] = v
			}
			after := fs.CrashClone(rnd.Uint64())
			for range inFlight { // whatever became of these, they are sent again
				<-a
			}
			return after, acked
		}
	}
}

func crashBatch(id int, sequence int32, size int) []byte {
	value := append(fmt.Appendf(nil, "%d/%d/", id, sequence), bytes.Repeat([]byte{'x'}, size)...)
	return recordtest.Batch{Idempotent: true, ProducerID: int64(id), Sequence: sequence, Values: [][]byte{value}}.Encode()
}

// check compares the partition with what was acknowledged.
func (w *crashWriters) check(p *Partition) {
	w.t.Helper()
	_, high := p.Offsets()
	for off := range w.acked {
		if off >= high {
			w.t.Errorf("offset %d was acknowledged, the log ends at %d", off, high)
		}
	}
	var sequences [crashProducers]int32
	for i, b := range readAll(w.t, p, 0, 1<<20) {
		if want, ok := w.acked[record.Offset(i)]; ok && !bytes.Contains(b, []byte(want)) {
			w.t.Errorf("offset %d does not hold %q", i, want)
		}
		id := b.ProducerID()
		if b.BaseSequence() != sequences[id] {
			w.t.Errorf("offset %d: producer %d has sequence %d, expected %d", i, id, b.BaseSequence(), sequences[id])
		}
		sequences[id]++
	}
}
