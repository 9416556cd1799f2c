package amqp

import (
	"sync"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// transaction buffers what a channel in tx mode publishes and settles until
// commit. Owned by the reader goroutine.
type transaction struct {
	ch      *channel
	size    int // bytes of the messages, and of what is kept beside them
	pubs    []txPublication
	settled []txSettlement
}

type txPublication struct {
	pub       broker.Publication
	mandatory bool
}

type txSettlement struct {
	delivery
	outcome broker.Outcome
	losses  int // of the consumer, when the client settled
}

func (ch *channel) txSelect() error {
	if ch.confirm {
		return exceptionf(spec.PreconditionFailed, "cannot switch from confirm to tx mode")
	}
	if ch.tx == nil {
		ch.begin(&transaction{ch: ch})
	}
	ch.send(&spec.TxSelectOK{})
	return nil
}

// begin puts a new transaction, or none, in the place of the present one.
func (ch *channel) begin(tx *transaction) {
	if old := ch.tx; old != nil {
		ch.conn.intake.buffered -= old.size
		ch.conn.intake.release(old.size)
	}
	ch.tx = tx
}

// hold counts n more bytes that the transaction keeps.
func (tx *transaction) hold(n int) error {
	i := &tx.ch.conn.intake
	if limit := tx.ch.conn.server.cfg.MaxTransaction; i.buffered+n > limit {
		return exceptionf(spec.PreconditionFailed, "the transactions of this connection are larger than %d bytes; commit more often", limit)
	}
	i.buffered += n
	tx.size += n
	if !i.take(n) {
		return &readError{errStopped}
	}
	return nil
}

// txPublicationSize is what a transaction keeps of a publication beside its
// message.
const txPublicationSize = 256

// publish buffers a publication. An exchange that does not exist is told right
// away.
func (tx *transaction) publish(in *incoming) error {
	if in.pub.Exchange != "" {
		if err := tx.ch.conn.session.CheckExchange(in.pub.Exchange); err != nil {
			return err
		}
	}
	if err := tx.hold(len(in.pub.Stored) + txPublicationSize); err != nil {
		return err
	}
	p := txPublication{pub: in.pub, mandatory: in.mandatory}
	raw := in.properties() // aliases the message, which is the transaction's now
	p.pub.Headers = raw.HeaderTable
	tx.pubs = append(tx.pubs, p)
	return nil
}

func (tx *transaction) settle(ds []delivery, outcome broker.Outcome) error {
	tx.ch.mu.Lock()
	defer tx.ch.mu.Unlock()
	for _, d := range ds {
		tx.settled = append(tx.settled, txSettlement{d, outcome, d.from.losses})
	}
	return nil
}

// stale reports whether a message that is to be settled will be delivered again.
func (tx *transaction) stale() bool {
	tx.ch.mu.Lock()
	defer tx.ch.mu.Unlock()
	for _, s := range tx.settled {
		if s.offset == staleOffset || s.losses != s.from.losses {
			return true
		}
	}
	return false
}

func (ch *channel) txCommit() error {
	tx := ch.tx
	if tx == nil {
		return exceptionf(spec.PreconditionFailed, "channel is not transactional")
	}
	// After commit-ok nothing that was acked may be delivered again.
	if tx.stale() {
		return exceptionf(spec.PreconditionFailed,
			"nothing was committed: the leader of a queue changed, and a message that was settled will be delivered again")
	}
	// The messages first: should they not become durable, the channel closes, and what was
	// to be settled is delivered again.
	if err := tx.publishAll(); err != nil {
		return err
	}
	if err := tx.settleAll(); err != nil {
		return err
	}
	ch.begin(&transaction{ch: ch})
	ch.send(&spec.TxCommitOK{})
	return nil
}

func (ch *channel) txRollback() error {
	tx := ch.tx
	if tx == nil {
		return exceptionf(spec.PreconditionFailed, "channel is not transactional")
	}
	ch.begin(&transaction{ch: ch})
	ds := make([]delivery, 0, len(tx.settled))
	ch.mu.Lock()
	for _, s := range tx.settled {
		if s.losses != s.from.losses {
			s.offset = staleOffset
		}
		ds = append(ds, s.delivery)
	}
	ch.unacked.putBack(ds)
	ch.mu.Unlock()
	ch.send(&spec.TxRollbackOK{})
	return nil
}

// publishAll publishes what was buffered and waits until it is durable. Each queue
// gets all of its messages or none.
func (tx *transaction) publishAll() error {
	all := newTally()
	together := tx.ch.conn.session.Together()
	for i := range tx.pubs {
		p := &tx.pubs[i]
		all.add()
		queues, err := tx.ch.conn.route(together, &p.pub, all, 0)
		if queues > 0 {
			continue
		}
		if err == nil && p.mandatory {
			tx.ch.giveBack(&p.pub)
		}
		all.done(err)
	}
	together.Post()
	return tx.wait(all, "publish")
}

// settleAll hands over the settlements, one call for each run of the same
// outcome of a consumer, and waits until they are durable.
func (tx *transaction) settleAll() error {
	all := newTally()
	type run struct {
		outcome broker.Outcome
		offsets []record.Offset
	}
	runs := map[*consumer][]run{}
	for _, s := range tx.settled {
		rs := runs[s.from]
		if len(rs) == 0 || rs[len(rs)-1].outcome != s.outcome {
			rs = append(rs, run{outcome: s.outcome})
		}
		last := &rs[len(rs)-1]
		last.offsets = append(last.offsets, s.offset)
		runs[s.from] = rs
	}
	for c, rs := range runs {
		for _, r := range rs {
			all.add()
			tx.ch.conn.handOver(c, r.outcome, r.offsets, all.done)
		}
	}
	tx.ch.conn.metrics.settled(len(tx.settled))
	return tx.wait(all, "settle")
}

func (tx *transaction) wait(all *tally, what string) error {
	err := all.wait(tx.ch.conn.ctx.Done())
	if err != nil {
		tx.ch.conn.log.Warn("transaction failed", "doing", what, "channel", tx.ch.id, "error", err)
		return exceptionf(spec.PreconditionFailed, "partial tx completion: %v", err)
	}
	return nil
}

// tally waits for a number of outcomes and keeps the first error.
type tally struct {
	mu   sync.Mutex
	open int // outcomes still to come, plus one until wait
	err  error
	zero chan struct{}
}

func newTally() *tally { return &tally{open: 1, zero: make(chan struct{})} }

func (t *tally) add() {
	t.mu.Lock()
	t.open++
	t.mu.Unlock()
}

func (t *tally) done(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.err = err
	}
	if t.open--; t.open == 0 {
		close(t.zero)
	}
}

// Published implements broker.Publisher.
func (t *tally) Published(_ uint64, err error) { t.done(err) }

// wait returns the first error once all outcomes are there, or when stop is
// closed.
func (t *tally) wait(stop <-chan struct{}) error {
	t.done(nil)
	select {
	case <-t.zero:
		t.mu.Lock()
		defer t.mu.Unlock()
		return t.err
	case <-stop:
		return errStopped
	}
}
