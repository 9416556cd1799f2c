package sim

import (
	"time"

	"waybill/internal/record"
	"waybill/internal/replica"
	"waybill/internal/topic"
)

// partition hosts a topic's machine, in a short form of broker.Partition.
type partition struct {
	*hosted
	topic   *topic.Topic
	waiting []*produce
	answers []*produce // in the order of the log
	cfg     topic.Config
}

// produce is a batch on its way into the log.
type produce struct {
	batch  record.Batch
	result topic.Result
	done   func(base record.Offset, err error)
}

func newPartition(h *hosted) *partition { return &partition{hosted: h, topic: topic.New()} }

func (p *partition) restore(b []byte) error { return p.topic.Restore(b) }

func (p *partition) snapshot(b []byte) ([]byte, func(from, to record.Offset) bool) {
	start := p.topic.Start()
	return p.topic.Snapshot(b), func(_, to record.Offset) bool { return to > start }
}

func (p *partition) end() record.Offset { return p.topic.End() }

func (p *partition) apply(e replica.Entry) {
	if err := p.topic.Apply(e.Term, e.Data); err != nil {
		panic(err)
	}
	for len(p.answers) > 0 && p.answers[0].result.End <= p.topic.End() {
		a := p.answers[0]
		p.answers = p.answers[1:]
		a.done(a.result.Base, nil)
	}
}

func (p *partition) lead(term uint64) { p.topic.Lead(term) }

func (p *partition) follow(reason error) {
	p.topic.Follow()
	for _, a := range p.answers {
		a.done(0, replica.ErrUnknown)
	}
	for _, a := range p.waiting {
		a.done(0, reason)
	}
	p.answers, p.waiting = nil, nil
}

func (p *partition) handle(event any) {
	e := event.(*produce)
	if !p.leads {
		e.done(0, replica.ErrNotLeader)
		return
	}
	p.waiting = append(p.waiting, e)
}

func (p *partition) build(int) []byte {
	for len(p.waiting) > 0 {
		p.topic.Begin(p.n.clock().UnixMilli(), 4096)
		n := min(len(p.waiting), 1+p.n.w.rng.IntN(4))
		for _, e := range p.waiting[:n] {
			p.add(e)
		}
		p.waiting = p.waiting[n:]
		if data := p.topic.Entry(); data != nil {
			return data
		}
	}
	return nil
}

func (p *partition) add(e *produce) {
	r, err := p.topic.Add(e.batch, &p.cfg)
	switch {
	case err != nil:
		if p.g.term == p.term { // else another leads by now, and has what is missing here
			p.n.w.fail("%v: a producer that does all right is refused: %v", p.g, err)
		}
		e.done(0, err)
	case r.End <= p.topic.End():
		e.done(r.Base, nil)
	default:
		e.result = r
		if p.n.w.cfg.Bug == AckOnMinority {
			e.done(r.Base, nil)
			e.done = func(record.Offset, error) {}
		}
		p.answers = append(p.answers, e)
	}
}

// Timer implements replica.Machine.
func (h *hosted) Timer(time.Time) {
	if q, ok := h.machine.(*queueHost); ok {
		q.timer()
	}
}
