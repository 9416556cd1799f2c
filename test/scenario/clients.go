package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"waybill/test/stock"
)

// clientVerbs are what users do, with amqp091-go for queues and franz-go for topics.
var clientVerbs = map[string]verb{
	"declare": {
		args: "queue NAME | topic NAME [PARTITIONS] [CONFIG=VALUE...]", summary: "declare a durable queue, or create a topic",
		run: declare,
	},
	"publish": {
		args: "NAME N [refused ERROR] [through WHO]", summary: "publish until N messages are acknowledged",
		detail: []string{
			"What is nacked, or not answered because a connection broke, is replaced by another message: it may be there or not.",
			"With refused, N messages are published once; none may be acknowledged, and all that the client is told must be that error:",
			"basic.nack, the name of a Kafka error, or a number and name as in '506 RESOURCE_ERROR'.",
			"Without through, clients try one node after the other; with it they can reach only those.",
		},
		run: publish,
	},
	"load": {
		args: "NAME", summary: "begin to publish steadily, until unload, while the scenario goes on",
		run: func(_ context.Context, w *world, p *phrase) error {
			name := p.word("the name of a queue or topic")
			t := w.targets[name]
			switch {
			case p.end() != nil:
				return p.err
			case t == nil || w.loads[name] != nil:
				return fmt.Errorf("%w has declared no %s, or loads it already", errWorld, name)
			}
			w.load(name, t)
			return nil
		},
	},
	"unload": {
		args: "NAME", summary: "end what load began, when it has had acknowledgements",
		run: func(ctx context.Context, w *world, p *phrase) error {
			name := p.word("the name of a queue or topic")
			l := w.loads[name]
			switch {
			case p.end() != nil:
				return p.err
			case l == nil:
				return fmt.Errorf("%w does not load %s", errWorld, name)
			}
			err := await(ctx, func() error {
				if acked := w.targets[name].report().Acked; acked == l.ackedBefore {
					return errors.New("nothing was acknowledged")
				}
				return nil
			})
			l.end()
			delete(w.loads, name)
			return err
		},
	},
	"consume": {
		args: "NAME N [through WHO]", summary: "take N messages that nobody has taken before, and say that they are done with",
		detail: []string{
			"A queue's messages are acked one by one, and the consumer leaves. A topic's are read by a new member of the consumer group NAME-readers, " +
				"which commits what it has processed and leaves; so the next consume goes on behind the commit.",
		},
		run: func(ctx context.Context, w *world, p *phrase) error {
			t, err := w.target(p)
			if err != nil {
				return err
			}
			n := p.number()
			nodes, err := w.through(ctx, p)
			if err := errors.Join(err, p.end()); err != nil {
				return err
			}
			return t.consume(ctx, n, nodes)
		},
	},
	"hold": {
		args: "NAME N [through WHO]", summary: "a consumer takes N messages of a queue, acks none, and stays",
		run: func(ctx context.Context, w *world, p *phrase) error {
			q, n, err := w.queueAndNumber(p)
			if err != nil {
				return err
			}
			nodes, err := w.through(ctx, p)
			if err := errors.Join(err, p.end()); err != nil {
				return err
			}
			return q.hold(ctx, n, nodes)
		},
	},
	"again": {
		args: "NAME N", summary: "after a change of leaders, the consumer of hold acks what it has, on its old connection, and that is too late: it gets N of those messages again, each marked as redelivered, acks them, and leaves",
		run: func(ctx context.Context, w *world, p *phrase) error {
			q, n, err := w.queueAndNumber(p)
			if err := errors.Join(err, p.end()); err != nil {
				return err
			}
			return q.again(ctx, n)
		},
	},
	"transaction": {
		args: "NAME N commit|rollback|cut [through WHO]", summary: "publish N messages to a queue in an AMQP transaction",
		detail: []string{"It is committed, or rolled back, or its connection is cut before that. In the last two cases none of them may ever be there."},
		run: func(ctx context.Context, w *world, p *phrase) error {
			q, n, err := w.queueAndNumber(p)
			if err != nil {
				return err
			}
			end := p.word("commit, rollback or cut")
			nodes, err := w.through(ctx, p)
			if err := errors.Join(err, p.end()); err != nil {
				return err
			}
			w.unread = true
			return q.transaction(ctx, n, end, w.producer(), nodes)
		},
	},
	"kcat": {
		args: "NAME N", summary: "read a topic from its beginning with kcat; there must be N records",
		run: func(ctx context.Context, w *world, p *phrase) error {
			t, err := w.target(p)
			if err != nil {
				return err
			}
			n := p.number()
			if err := p.end(); err != nil {
				return err
			}
			if topic, ok := t.(*topic); ok {
				return topic.kcat(ctx, n)
			}
			return fmt.Errorf("%w: that is no topic", errWorld)
		},
	},
}

func declare(ctx context.Context, w *world, p *phrase) error {
	if err := w.started(); err != nil {
		return err
	}
	kind, name := p.word("queue or topic"), p.word("a name")
	if p.err != nil {
		return p.err
	}
	if w.targets[name] != nil {
		return fmt.Errorf("%w has declared %s already", errWorld, name)
	}
	switch kind {
	case "queue":
		q := &queue{w: w, name: name}
		w.declared(name, q)
		return errors.Join(p.end(), q.declare(ctx))
	case "topic":
		t := newTopic(w, name)
		if len(p.words) > 0 && !strings.Contains(p.words[0], "=") {
			t.partitions = int32(p.number())
		}
		configs := p.rest()
		w.declared(name, t)
		return errors.Join(p.err, t.create(ctx, configs))
	}
	return fmt.Errorf("%q is neither queue nor topic", kind)
}

func publish(ctx context.Context, w *world, p *phrase) error {
	t, err := w.target(p)
	if err != nil {
		return err
	}
	n := p.number()
	want := ""
	if p.takes("refused") {
		want = p.word("the name of an error")
	}
	nodes, err := w.through(ctx, p)
	if err := errors.Join(err, p.end()); err != nil {
		return err
	}
	w.unread = true
	if want == "" {
		return t.publish(ctx, n, w.producer(), nodes)
	}
	found, err := t.refused(ctx, n, w.producer(), nodes)
	if err != nil {
		return fmt.Errorf("%w; told were %v", err, found)
	}
	if len(found) != 1 || found[want] == 0 {
		return fmt.Errorf("the client was told %v", map[string]int(found))
	}
	return nil
}

// queueAndNumber reads the name of a queue and a number.
func (w *world) queueAndNumber(p *phrase) (*queue, int, error) {
	t, err := w.target(p)
	if err != nil {
		return nil, 0, err
	}
	q, ok := t.(*queue)
	if !ok {
		return nil, 0, fmt.Errorf("%w: that is no queue", errWorld)
	}
	return q, p.number(), p.err
}

// acknowledged is what a message got that should have been refused.
const acknowledged = "an acknowledgement"

// definite reports whether a refusal says that nothing was done.
func definite(found stock.Count) bool { return len(found) == 1 && found["NOT_ENOUGH_REPLICAS"] > 0 }
