package broker

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/topic"
)

// retentionPause is the least time between two looks at what expired.
const retentionPause = time.Second

// partitionShard is the part of a Partition that only its group's shard touches.
type partitionShard struct {
	leads   bool
	reason  error              // why it leads no longer; nil before it ever did
	waiting fifo[*appendEvent] // not built yet
	hoard   int                // bytes of the batches in waiting
	deletes []*deleteEvent     // not built yet
	answers fifo[answerAt]     // to be given when the high watermark reaches them, in the order of the log
	doubted []*appendEvent     // to be refused, if this is the leader
	late    time.Time          // when to look for appends that take too long; zero: not set
	trimTo  record.Offset      // where retention and deletes want the log to start
	trimmed record.Offset      // where the last proposed command makes it start
	timer   time.Time          // when Timer is to be called; zero: never
}

// appendEvent is a batch on its way into the log.
type appendEvent struct {
	batch   record.Batch
	mem     []byte // nil, or what is to be the entry: see AppendWhole
	to      Appender
	tag     int
	timeout time.Duration
	due     time.Time // when the copies must be there
}

// deleteEvent moves the start of the log.
type deleteEvent struct {
	to   record.Offset // -1: the high watermark
	done func(start record.Offset, err error)
}

// configChanged tells that the topic's configs were changed.
type configChanged struct{}

// answerAt is an answer that is due when the high watermark reaches at: to an
// append, or (when done is set) to a delete, which waits for the start to be
// at least at.
type answerAt struct {
	at     record.Offset
	append *appendEvent // nil, without done: answered already
	result topic.Result
	done   func(start record.Offset, err error)
}

// Restore implements replica.Machine.
func (p *Partition) Restore(state []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.machine.Restore(state); err != nil {
		return err
	}
	p.publish()
	return nil
}

// Snapshot implements replica.Machine.
func (p *Partition) Snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	start := p.machine.Start()
	return p.machine.Snapshot(b), func(_, to record.Offset) bool { return to > start }
}

// publish shows the state of the machine to those who look from outside.
func (p *Partition) publish() {
	p.start.Store(int64(p.machine.Start()))
	p.size.Store(p.machine.Size())
	p.high.Store(int64(p.machine.End()))
}

// Apply implements replica.Machine.
func (p *Partition) Apply(e replica.Entry) {
	p.mu.Lock()
	before := p.machine.End()
	start := p.machine.Start()
	err := p.machine.Apply(e.Term, e.Data)
	p.publish()
	p.mu.Unlock()
	if err != nil {
		panic(fmt.Sprintf("broker: partition %d of topic '%s', entry %d: %v", p.number, p.topic, e.Index, err))
	}
	p.answer()
	if p.machine.End() > before {
		p.watchers.wake(p.machine.End())
	}
	if p.shard.leads {
		p.b.metrics.partitions.records.Add(float64(p.machine.End() - before))
		p.b.metrics.partitions.dropped.Add(float64(p.machine.Start() - start))
		p.retain(false)
	}
}

// answer gives the answers that are due.
func (p *Partition) answer() {
	a := &p.shard.answers
	for a.len() > 0 {
		first := a.at(0)
		switch {
		case first.done != nil && first.at <= p.machine.Start():
			first.done(p.machine.Start(), nil)
		case first.done == nil && first.at <= p.machine.End():
			if first.append != nil {
				p.appended(first.append, first.result)
			}
		default:
			return
		}
		a.pop()
	}
}

func (p *Partition) appended(e *appendEvent, r topic.Result) {
	p.b.budget.release(int64(len(e.batch)))
	e.to.Appended(e.tag, AppendResult{Base: r.Base, LogStart: p.machine.Start(), Time: r.Time})
}

func (p *Partition) refuse(e *appendEvent, err error) {
	p.b.budget.release(int64(len(e.batch)))
	e.to.Appended(e.tag, p.refused(err))
}

// Lead implements replica.Machine.
func (p *Partition) Lead(term uint64) {
	p.mu.Lock()
	p.machine.Lead(term)
	p.mu.Unlock()
	p.epoch.Store(int32(term))
	p.shard.leads, p.shard.reason = true, nil
	p.group.SetMinCopies(p.config.Load().MinInsync)
	p.shard.trimTo, p.shard.trimmed = p.machine.Start(), p.machine.Start()
	p.retain(true)
}

// Follow implements replica.Machine.
func (p *Partition) Follow(reason error) {
	s := &p.shard
	s.leads, s.reason = false, reason
	p.mu.Lock()
	p.machine.Follow()
	p.mu.Unlock()
	if !errors.Is(reason, replica.ErrNotLeader) {
		p.end(reason)
	}
	p.watchers.wakeAll()
	for _, a := range s.answers.drain() {
		switch {
		case a.done != nil:
			a.done(-1, notLeader(p, replica.ErrUnknown))
		case a.append != nil:
			p.refuse(a.append, notLeader(p, replica.ErrUnknown))
		}
	}
	for _, e := range s.doubted {
		p.refuse(e, notLeader(p, reason))
	}
	s.doubted = nil
	s.hoard = 0
	for _, e := range s.waiting.drain() {
		p.refuse(e, notLeader(p, reason))
	}
	for _, d := range s.deletes {
		d.done(-1, notLeader(p, reason))
	}
	s.deletes = nil
}

// Handle implements replica.Machine. What comes before a single node has come to
// lead waits for that.
func (p *Partition) Handle(event any) {
	s := &p.shard
	reason := s.reason
	if !s.leads && reason == nil && p.b.cfg.Cluster != nil {
		reason = replica.ErrNotLeader
	}
	switch e := event.(type) {
	case *appendEvent:
		if reason != nil {
			p.refuse(e, notLeader(p, reason))
			return
		}
		e.due = p.b.cfg.Now().Add(e.timeout)
		s.waiting.push(e)
		s.hoard += len(e.batch)
		p.await(e.due)
	case *deleteEvent:
		if reason != nil {
			e.done(-1, notLeader(p, reason))
			return
		}
		s.deletes = append(s.deletes, e)
	case configChanged:
		if s.leads {
			p.group.SetMinCopies(p.config.Load().MinInsync)
			p.retain(true)
		}
	default:
		panic(fmt.Sprintf("broker: partition: event %T", event))
	}
}

// Build implements replica.Machine. Moving the start of the log goes first: it
// makes room.
func (p *Partition) Build(limit int) []byte {
	if data := p.buildTrim(); data != nil {
		return data
	}
	s := &p.shard
	for s.waiting.len() > 0 {
		n, size := s.together(limit)
		s.hoard -= size
		p.machine.Begin(p.nowMs(), size)
		cfg := p.config.Load()
		for range n {
			p.add(s.waiting.pop(), cfg)
		}
		if data := p.machine.Entry(); data != nil {
			return data
		}
	}
	return nil
}

// together is how many of the batches that wait, and bytes of them, go into the next entry: what is kept whole is one by itself.
func (s *partitionShard) together(limit int) (n, size int) {
	for n < s.waiting.len() {
		e := *s.waiting.at(n)
		if n > 0 && (e.mem != nil || size+len(e.batch) > limit) {
			break
		}
		n++
		size += len(e.batch)
		if e.mem != nil {
			break
		}
	}
	return n, size
}

// Waiting implements replica.Hoarder.
func (p *Partition) Waiting() int { return p.shard.hoard }

// add puts one batch into the entry being built, or answers it.
func (p *Partition) add(e *appendEvent, cfg *topic.Config) {
	var r topic.Result
	var err error
	if e.mem != nil {
		r, err = p.machine.AddWhole(e.mem, cfg)
	} else {
		r, err = p.machine.Add(e.batch, cfg)
	}
	switch {
	case err != nil && p.b.cfg.Cluster != nil && ofProducer(err):
		p.doubt(e, err)
	case err != nil:
		p.refuse(e, topicError(err))
	case r.End <= p.machine.End(): // sent again, and committed long ago
		p.appended(e, r)
	default:
		p.shard.answers.push(answerAt{at: r.End, append: e, result: r})
	}
}

// ofProducer reports whether a refusal rests on what the producer has written before.
func ofProducer(err error) bool {
	var e *topic.Error
	return errors.As(err, &e) && (e.Reason == topic.OutOfOrder || e.Reason == topic.StaleEpoch || e.Reason == topic.UnknownProducer)
}

// doubt refuses an append when it is certain that this replica leads. One that was replaced and
// has not heard of it lacks what the producer has written since at its successor, and its
// answer would be the end of that producer.
func (p *Partition) doubt(e *appendEvent, refusal error) {
	p.shard.doubted = append(p.shard.doubted, e)
	p.group.Read(func(err error) {
		i := slices.Index(p.shard.doubted, e)
		if i < 0 {
			return // Follow has answered it
		}
		p.shard.doubted = slices.Delete(p.shard.doubted, i, i+1)
		if err != nil {
			p.refuse(e, notLeader(p, replica.ErrNotLeader))
			return
		}
		p.refuse(e, topicError(refusal))
	})
}

// buildTrim returns the command that moves the start of the log, nil when
// nobody wants that.
func (p *Partition) buildTrim() []byte {
	s := &p.shard
	for _, d := range s.deletes {
		to := d.to
		if to == -1 {
			to = p.machine.End()
		}
		if to < 0 || to > p.machine.End() {
			d.done(-1, &Error{Kind: OutOfRange, Text: fmt.Sprintf("offset %d is beyond the high watermark %d", d.to, p.machine.End())})
			continue
		}
		s.trimTo = max(s.trimTo, to)
		if to <= p.machine.Start() {
			d.done(p.machine.Start(), nil)
		} else {
			s.answers.push(answerAt{at: to, done: d.done})
		}
	}
	s.deletes = s.deletes[:0]
	if s.trimTo <= s.trimmed {
		return nil
	}
	s.trimmed = s.trimTo
	return p.machine.MoveStart(p.nowMs(), s.trimTo)
}

// Timer implements replica.Machine.
func (p *Partition) Timer(time.Time) {
	s := &p.shard
	if !s.late.IsZero() && (s.timer.IsZero() || s.late.Before(s.timer)) {
		s.late = time.Time{}
		p.overdue(p.b.cfg.Now())
		p.arm()
		return
	}
	s.timer = time.Time{}
	if s.leads {
		p.retain(true)
	}
}

// await has overdue called when an append may be due. Under load that is
// once for each timeout, and not for each append.
func (p *Partition) await(due time.Time) {
	if s := &p.shard; s.late.IsZero() || due.Before(s.late) {
		s.late = due
		p.arm()
	}
}

// arm sets the group's timer to what comes first.
func (p *Partition) arm() {
	next := p.shard.timer
	if late := p.shard.late; next.IsZero() || !late.IsZero() && late.Before(next) {
		next = late
	}
	p.group.SetTimer(next)
}

// overdue answers the appends whose time is up. What was proposed may
// still be committed.
func (p *Partition) overdue(now time.Time) {
	s := &p.shard
	err := p.enough(codeNotEnoughReplicasAfterAppend)
	if err == nil {
		err = &Error{Kind: Unavailable, Code: codeRequestTimedOut, Text: fmt.Sprintf("%s: the copies were not made in time", p)}
	}
	for i := range s.answers.len() {
		if a := s.answers.at(i); a.append != nil && !now.Before(a.append.due) {
			p.refuse(a.append, err)
			a.append = nil
		} else if a.append != nil {
			p.await(a.append.due)
		}
	}
	for n := s.waiting.len(); n > 0; n-- {
		e := s.waiting.pop()
		if now.Before(e.due) {
			s.waiting.push(e)
			p.await(e.due)
			continue
		}
		s.hoard -= len(e.batch)
		p.refuse(e, err)
	}
}

// retain notes what retention lets go, and asks to be called when there will
// be more. With rearm a timer that is set already is set anew: what expires first may be
// due earlier now; otherwise it can only be due later.
func (p *Partition) retain(rearm bool) {
	now := p.b.cfg.Now()
	r := p.machine.Retain(now.UnixMilli(), p.config.Load())
	s := &p.shard
	if r.Start > s.trimTo {
		s.trimTo = r.Start
		p.b.log.Info("retention drops records", "topic", p.topic, "partition", p.number,
			"from", p.machine.Start(), "to", r.Start, "by_time", r.ByTime)
	}
	if next := fromMs(r.Next); rearm || s.timer.IsZero() && !next.IsZero() {
		if earliest := now.Add(retentionPause); !next.IsZero() && next.Before(earliest) {
			next = earliest
		}
		s.timer = next
		p.arm()
	}
}

// topicError turns a refusal of the machine into one for the client.
func topicError(err error) error {
	var e *topic.Error
	if !errors.As(err, &e) {
		panic("broker: topic: " + err.Error())
	}
	r := topicReasons[e.Reason]
	return &Error{Kind: r.kind, Text: e.Text, Code: r.code}
}

var topicReasons = map[topic.Reason]struct {
	kind Kind
	code int16
}{
	topic.OutOfOrder:      {Invalid, codeOutOfOrderSequence},
	topic.StaleEpoch:      {Invalid, codeInvalidProducerEpoch},
	topic.UnknownProducer: {Invalid, codeUnknownProducerID},
	topic.TooLarge:        {Invalid, codeMessageTooLarge},
	topic.BadTimestamp:    {Invalid, codeInvalidTimestamp},
	topic.BadConfig:       {Invalid, codeInvalidConfig},
}
