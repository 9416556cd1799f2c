package sim

import (
	"errors"
	"fmt"
	"time"

	"waybill/internal/record"
	"waybill/internal/record/recordtest"
	"waybill/internal/replica"
	"waybill/test/check"
)

// client does something until it is told to stop, and says when it has finished.
type client interface {
	finished() bool
}

func (w *World) addClients(g *group) {
	for k := range uint32(2) {
		id := uint32(g.id)*10 + k
		if g.queue {
			p := &publisher{w: w, g: g, id: id}
			w.clients = append(w.clients, p)
			w.every(30*time.Millisecond, p.next)
			continue
		}
		p := &producer{w: w, g: g, id: id}
		w.clients = append(w.clients, p)
		w.after(w.upTo(time.Second), p.next)
		r := &reader{w: w, g: g}
		w.clients = append(w.clients, r)
		w.every(40*time.Millisecond, r.next)
	}
	if !g.queue {
		c := &fetcher{w: w, g: g, c: w.kafka.Consumer(), p: w.kafka.Partition("t", int32(g.id))}
		w.every(50*time.Millisecond, c.next)
	}
}

// somewhere is a node that a client thinks leads the group; mostly it does.
func (w *World) somewhere(g *group) *hosted {
	var all []*hosted
	for _, n := range w.nodes {
		if h := n.groups[g.id]; n.up && h != nil && (h.leads || w.chance(10)) {
			all = append(all, h)
		}
	}
	if len(all) == 0 {
		return nil
	}
	return all[w.rng.IntN(len(all))]
}

// producer is an idempotent Kafka producer with one batch in flight, which it
// sends again until it has an answer.
type producer struct {
	w        *World
	g        *group
	id       uint32
	counter  uint32
	sequence int32
	values   []check.Value
	batch    record.Batch
	try      int
}

func (p *producer) String() string {
	return fmt.Sprintf("producer %d of %v, at %v, try %d,", p.id, p.g, p.values, p.try)
}

func (p *producer) finished() bool { return p.values == nil }

// next begins another batch.
func (p *producer) next() {
	w := p.w
	if w.calm {
		return
	}
	b := recordtest.Batch{Idempotent: true, ProducerID: int64(p.id), Sequence: p.sequence, Time: w.now.UnixMilli()}
	size := 30
	if w.chance(5) {
		size = w.rng.IntN(3000)
	}
	for range 1 + w.rng.IntN(3) {
		v := check.Value{Producer: p.id, Counter: p.counter}
		p.counter++
		p.values = append(p.values, v)
		b.Values = append(b.Values, v.Payload(size))
		w.kafka.Attempt(v)
	}
	p.batch = b.Encode()
	p.sequence += int32(len(p.values))
	p.send()
}

func (p *producer) send() {
	w := p.w
	p.try++
	try := p.try
	again := func(d time.Duration) {
		w.after(d, func() {
			if p.try == try && p.values != nil {
				p.send()
			}
		})
	}
	h := w.somewhere(p.g)
	if h == nil {
		again(100 * time.Millisecond)
		return
	}
	answered, sequence := false, p.sequence
	e := &produce{batch: append(record.Batch(nil), p.batch...), done: func(base record.Offset, err error) {
		if answered {
			w.fail("%v: two answers to one batch", p.g)
		}
		answered = true
		if verbose {
			w.trace("  %v answers %d of %v, sequence %d: base %d, %v; index %d, leads %v in term %d", h.n, p.id, p.g, p.sequence-int32(len(p.values)), base, err, h.chain.index, h.leads, h.term)
		}
		if err != nil {
			again(20*time.Millisecond + w.upTo(100*time.Millisecond))
			return
		}
		w.after(w.upTo(2*time.Millisecond), func() {
			if p.sequence == sequence { // else an earlier try of this batch was answered first
				p.acked(base)
			}
		})
	}}
	h.n.run(func() {
		if !h.group.Post(e) {
			again(50 * time.Millisecond)
		}
	})
	again(2*time.Second + w.upTo(time.Second))
}

func (p *producer) acked(base record.Offset) {
	if p.values == nil {
		return
	}
	part := p.w.kafka.Partition("t", int32(p.g.id))
	for i, v := range p.values {
		part.Acked(v, int64(base)+int64(i))
	}
	p.g.ackEnd = max(p.g.ackEnd, base+record.Offset(len(p.values)))
	p.w.acked += len(p.values)
	p.values = nil
	p.w.after(p.w.upTo(90*time.Millisecond), p.next)
}

// reader asks how far a partition goes. The answer must have all that was
// acknowledged before it asked.
type reader struct {
	w    *World
	g    *group
	busy int
}

func (r *reader) finished() bool { return true }

func (r *reader) next() {
	w := r.w
	h := w.somewhere(r.g)
	if h == nil || r.busy > 8 {
		return
	}
	known := r.g.ackEnd
	look := func() {
		w.reads++
		if end := h.machine.end(); end < known {
			w.fail("%v: n%d says that the log ends at offset %d; all below %d was acknowledged before it was asked", r.g, h.n.id, end, known)
		}
	}
	if w.cfg.Bug == StaleRead {
		if !h.n.paused {
			look()
		}
		return
	}
	r.busy++
	h.n.run(func() {
		h.group.Read(func(err error) {
			r.busy--
			if err == nil {
				look()
			}
		})
	})
	life := h.n.life
	w.after(15*time.Second, func() {
		if h.n.life != life {
			r.busy = 0 // nobody will answer
		}
	})
}

// fetcher is a Kafka consumer of one partition.
type fetcher struct {
	w    *World
	g    *group
	c    *check.Consumer
	p    *check.Partition
	from record.Offset
}

func (f *fetcher) next() {
	h := f.w.somewhere(f.g)
	if h == nil || !h.leads || h.n.paused {
		return
	}
	got, next, err := h.fetch(f.p, f.from, 1+f.w.rng.IntN(8000))
	if err != nil {
		if !h.n.harmed {
			f.w.fail("%v: n%d cannot read from offset %d: %v", f.g, h.n.id, f.from, err)
		}
		return
	}
	f.from = next
	f.c.Polled(got)
}

// fetch reads records of a partition, below its high watermark.
func (h *hosted) fetch(p *check.Partition, from record.Offset, limit int) (got []check.Polled, next record.Offset, err error) {
	entries, err := h.group.Log().ReadFrom(from, h.machine.end(), limit, true)
	if err != nil {
		return nil, from, err
	}
	for _, e := range entries {
		records, end, err := h.records(e.Data, from)
		if err != nil {
			return nil, from, err
		}
		for _, r := range records {
			r.Partition = p
			got = append(got, r)
		}
		from = end
	}
	return got, from, nil
}

// publisher publishes to a queue with confirms.
type publisher struct {
	w       *World
	g       *group
	id      uint32
	counter uint32
	open    int
}

func (p *publisher) finished() bool { return true } // what is unknown stays so

func (p *publisher) next() {
	w := p.w
	if w.calm || p.open > 20 {
		p.open = max(0, p.open-1)
		return
	}
	v := check.Value{Producer: p.id, Counter: p.counter}
	p.counter++
	p.open++
	w.queue.Attempt(v)
	body := v.Payload(30)
	if w.chance(6) {
		body = v.Payload(w.rng.IntN(4000))
	}
	m := record.Message{TTL: record.NoTTL, RoutingKey: []byte("q"), Body: body}
	p.send(v, m.Append(nil), len(body))
}

func (p *publisher) send(v check.Value, stored []byte, body int) {
	w := p.w
	h := w.somewhere(p.g)
	if h == nil {
		w.after(100*time.Millisecond, func() { p.send(v, stored, body) })
		return
	}
	e := &publish{value: v, stored: stored, body: body, done: func(err error) {
		switch {
		case err == nil:
			w.queue.Acked(v)
			w.acked++
			p.open--
		case errors.Is(err, replica.ErrUnknown):
			p.open--
		case w.chance(3) && w.cfg.Bug == "":
			w.queue.Refused(v) // and never sent again
			p.open--
		default:
			w.after(20*time.Millisecond+w.upTo(200*time.Millisecond), func() { p.send(v, stored, body) })
		}
	}}
	h.n.run(func() { h.group.Post(e) })
}
