package sim

import (
	"context"
	"errors"
	"time"

	"waybill/internal/broker"
	"waybill/internal/record"
	"waybill/internal/record/recordtest"
	"waybill/test/check"
)

// theTopic is the one that there is.
const theTopic = "t"

// makeTopic creates the topic, as often as it takes.
func (u *user) makeTopic(partitions int32) {
	for {
		p := u.connect()
		if p == nil {
			return
		}
		ctx, cancel := context.WithTimeout(p.ctx, 10*time.Second)
		_, err := p.broker.CreateTopic(ctx, broker.TopicSpec{Name: theTopic, Partitions: partitions, ReplicationFactor: 3}, false)
		_, there := p.broker.Topic(theTopic)
		cancel()
		if there {
			return
		}
		u.trace("cannot create %s at n%d: %v", theTopic, p.n.id, err)
		if !u.sleep(100 * time.Millisecond) {
			return
		}
	}
}

// lead finds the partition on the node that leads it, as some node says; nil while none does.
func (u *user) lead(number int32) (*process, *broker.Partition) {
	p := u.h.pick(u.rng)
	if p == nil {
		return nil, nil
	}
	if t, ok := p.broker.Topic(theTopic); ok {
		if leader := u.h.at(t.Partitions[number].State().Leader); leader != nil {
			p = leader
		}
	}
	t, ok := p.broker.Topic(theTopic)
	if !ok {
		return nil, nil
	}
	return p, t.Partitions[number]
}

// idempotent is a Kafka producer with one batch in flight, which it sends again until
// it is answered.
type idempotent struct {
	user
	number   int32
	id       uint32
	producer int64
	counter  uint32
	sequence int32
}

func (p *idempotent) run() {
	if !p.identify() {
		return
	}
	for !p.h.calm.Load() && p.produce() && p.sleep(80*time.Millisecond) {
	}
}

// identify asks for a producer id.
func (p *idempotent) identify() bool {
	for {
		to := p.connect()
		if to == nil {
			return false
		}
		ctx, cancel := context.WithTimeout(to.ctx, 10*time.Second)
		p.h.ids <- struct{}{} // who waits for the lock that is held meanwhile would stop the time
		id, err := to.broker.NewProducerID(ctx)
		<-p.h.ids
		cancel()
		if err == nil {
			p.producer = id
			return true
		}
		if !p.sleep(100 * time.Millisecond) {
			return false
		}
	}
}

// produce sends a batch until it is answered; false when it never was.
func (p *idempotent) produce() bool {
	w := p.h.w
	b := recordtest.Batch{Idempotent: true, ProducerID: p.producer, Sequence: p.sequence, Time: w.time().UnixMilli()}
	size := 30
	if p.chance(5) {
		size = p.rng.IntN(3000)
	}
	var values []check.Value
	for range 1 + p.rng.IntN(3) {
		v := check.Value{Producer: p.id, Counter: p.counter}
		p.counter++
		values = append(values, v)
		b.Values = append(b.Values, v.Payload(size))
		w.kafka.Attempt(v)
	}
	p.sequence += int32(len(values))
	batch := b.Encode()
	for refused := 0; ; {
		base, err := p.try(batch)
		if err == nil {
			for i, v := range values {
				p.h.fetched[p.number].Acked(v, int64(base)+int64(i))
			}
			p.h.acked.Add(int64(len(values)))
			return true
		}
		// A leader that does not know yet that there is another may miss what came before.
		if final(err) {
			refused++
			p.trace("is refused: %v", err)
		}
		if refused > 30 {
			w.fail("%s does all right and is refused: %v", p.name, err)
			return false
		}
		if !p.sleep(100 * time.Millisecond) {
			return false
		}
	}
}

// final: a producer does not try again.
func final(err error) bool {
	var e *broker.Error
	return errors.As(err, &e) && (e.Kind != broker.Unavailable && e.Kind != broker.NotFound)
}

// appended is a broker.Appender.
type appended chan broker.AppendResult

// Appended implements broker.Appender.
func (a appended) Appended(_ int, r broker.AppendResult) { a <- r }

func (p *idempotent) try(batch []byte) (record.Offset, error) {
	to, part := p.lead(p.number)
	if part == nil {
		return 0, errUnreachable
	}
	answer := make(appended, 2)
	part.Append(append([]byte(nil), batch...), 5*time.Second, answer, 0)
	t := time.NewTimer(time.Minute)
	defer t.Stop()
	select {
	case r := <-answer:
		return r.Base, r.Err
	case <-to.ctx.Done():
	case <-p.h.ctx.Done():
	case <-t.C:
		if to.ctx.Err() == nil {
			p.h.w.fail("%s: n%d does not answer for a minute", p.name, to.n.id)
		}
	}
	return 0, errUnreachable
}

// poller is a Kafka consumer of one partition.
type poller struct {
	user
	number int32
	c      *check.Consumer
	from   record.Offset
}

func (f *poller) run() {
	for f.sleep(80 * time.Millisecond) {
		p, part := f.lead(f.number)
		if part == nil {
			continue
		}
		f.poll(p, part, 1+f.rng.IntN(8000))
	}
}

// poll reads on; it reports whether there was something.
func (f *poller) poll(p *process, part *broker.Partition, limit int) bool {
	r, err := part.Read(f.from, limit)
	if err != nil {
		return false // not the leader, or one that does not know better yet: the judge reads all
	}
	var got []check.Polled
	next := f.from
	for _, b := range r.Batches {
		records, end, err := recordsOf(b, next)
		if err != nil {
			f.h.w.fail("%s: n%d, from offset %d on: %v", f.name, p.n.id, next, err)
			return false
		}
		for _, rec := range records {
			rec.Partition = f.h.fetched[f.number]
			got = append(got, rec)
		}
		next = end
	}
	f.from = next
	f.c.Polled(got)
	return len(got) > 0
}

// readAll reads a partition from its beginning, at its leader.
func (u *user) readAll(number int32) {
	f := poller{user: *u, number: number, c: u.h.w.kafka.Consumer()}
	part := u.h.fetched[number]
	until := u.h.w.time().Add(30 * time.Second)
	for u.h.w.time().Before(until) && u.h.ctx.Err() == nil {
		p, at := f.lead(number)
		if at == nil || at.Err() != nil {
			u.sleep(20 * time.Millisecond)
			continue
		}
		for f.poll(p, at, 1<<20) {
		}
		if _, high := at.Offsets(); at.Err() == nil && f.from >= high {
			part.Drained(0, int64(f.from))
			return
		}
		u.sleep(20 * time.Millisecond)
	}
	if u.h.ctx.Err() != nil {
		return // something else was found
	}
	u.h.w.fail("%s/%d cannot be read to its end; offset %d is reached", theTopic, number, f.from)
}

// committer commits offsets of a partition, and looks what is committed.
type committer struct {
	user
	number int32
	group  string
	offset int64
}

func (c *committer) run() {
	for !c.h.calm.Load() && c.sleep(150*time.Millisecond) {
		p, t := c.coordinator()
		if p == nil {
			continue
		}
		if c.chance(3) {
			c.fetch(p)
		} else {
			c.commit(p, t)
		}
	}
}

// coordinator finds who coordinates the group.
func (c *committer) coordinator() (*process, *broker.Topic) {
	p := c.h.pick(c.rng)
	if p == nil {
		return nil, nil
	}
	if node, ok := p.broker.CoordinatorOf(c.group); ok && c.h.at(node) != nil {
		p = c.h.at(node)
	}
	t, ok := p.broker.Topic(theTopic)
	if !ok {
		return nil, nil
	}
	return p, t
}

func (c *committer) commit(p *process, t *broker.Topic) {
	c.offset += 1 + c.rng.Int64N(5)
	c.h.commits.Attempt(c.group, theTopic, c.number, c.offset)
	commit := &broker.CommitOffsets{Group: c.group, Generation: -1, Retention: -1, Offsets: []broker.OffsetCommit{{
		TopicPartition: broker.TopicPartition{Topic: theTopic, Partition: c.number}, TopicID: t.ID, Offset: c.offset, LeaderEpoch: -1,
	}}}
	r, ok := answered(&c.user, p, func(done func(*broker.CommitOffsetsResult)) { p.broker.CommitOffsets(commit, done) })
	if ok && r.Code == 0 && len(r.Offsets) == 1 && r.Offsets[0] == 0 {
		c.h.commits.Answered(c.group, theTopic, c.number, c.offset)
	}
}

// fetch looks what is committed; it reports whether that was told.
func (c *committer) fetch(p *process) bool {
	fetch := &broker.FetchOffsets{Group: c.group, Partitions: []broker.TopicPartition{{Topic: theTopic, Partition: c.number}}}
	r, ok := answered(&c.user, p, func(done func(*broker.FetchOffsetsResult)) { p.broker.FetchOffsets(fetch, done) })
	if !ok || r.Code != 0 || len(r.Offsets) != 1 {
		return false
	}
	offset := int64(check.NoCommit)
	if r.Offsets[0].Found {
		offset = r.Offsets[0].Offset.Offset
	}
	c.h.commits.Fetched(c.group, theTopic, c.number, offset)
	return true
}

// last looks what is committed in the end.
func (c *committer) last() {
	for until := c.h.w.time().Add(30 * time.Second); c.h.w.time().Before(until) && c.h.ctx.Err() == nil; c.sleep(50 * time.Millisecond) {
		if p, _ := c.coordinator(); p != nil && c.fetch(p) {
			return
		}
	}
	if c.h.ctx.Err() != nil {
		return // something else was found
	}
	c.h.w.fail("%s: nobody tells what it has committed", c.group)
}

// answered waits for the answer to a question, which comes as long as the node lives.
func answered[T any](u *user, p *process, ask func(done func(T))) (r T, ok bool) {
	answer := make(chan T, 2)
	ask(func(r T) { answer <- r })
	t := time.NewTimer(time.Minute)
	defer t.Stop()
	select {
	case r = <-answer:
		return r, true
	case <-p.ctx.Done():
	case <-u.h.ctx.Done():
	case <-t.C:
		u.h.w.fail("%s: n%d does not answer for a minute", u.name, p.n.id)
	}
	return r, false
}
