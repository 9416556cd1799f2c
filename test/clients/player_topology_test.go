//go:build clients

package clients

import (
	"fmt"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// has reports whether word stands in a list of flags such as "durable exclusive".
func has(flags, word string) bool {
	return slices.Contains(strings.Fields(flags), word)
}

// args formats the arguments of a method, in a fixed order.
func args(table amqp.Table) string {
	if len(table) == 0 {
		return ""
	}
	return " " + fmt.Sprint(map[string]any(table)) // fmt sorts keys
}

func (p *player) queue(name, flags string, table amqp.Table) string {
	p.t.Helper()
	declare := p.ch.QueueDeclare
	if has(flags, "passive") {
		declare = p.ch.QueueDeclarePassive
	} else if name != "" {
		p.queues = append(p.queues, name)
	}
	q, err := declare(name, has(flags, "durable"), has(flags, "auto-delete"), has(flags, "exclusive"), false, table)
	shown := q.Name
	if name == "" && strings.HasPrefix(q.Name, "amq.gen-") {
		shown = "amq.gen-*"
	}
	p.step(fmt.Sprintf("queue.declare %q %s%s", name, flags, args(table)),
		fmt.Sprintf("%s has %d messages, %d consumers", shown, q.Messages, q.Consumers), err)
	return q.Name
}

func (p *player) exchange(name, kind, flags string, table amqp.Table) {
	p.t.Helper()
	declare := p.ch.ExchangeDeclare
	if has(flags, "passive") {
		declare = p.ch.ExchangeDeclarePassive
	} else if !strings.HasPrefix(name, "amq.") {
		p.exchanges = append(p.exchanges, name)
	}
	err := declare(name, kind, has(flags, "durable"), has(flags, "auto-delete"), has(flags, "internal"), false, table)
	p.step(fmt.Sprintf("exchange.declare %q %s %s%s", name, kind, flags, args(table)), "", err)
}

func (p *player) bind(queue, key, exchange string, table amqp.Table) {
	p.t.Helper()
	p.step(fmt.Sprintf("queue.bind %q to %q with %q%s", queue, exchange, key, args(table)), "",
		p.ch.QueueBind(queue, key, exchange, false, table))
}

func (p *player) unbind(queue, key, exchange string, table amqp.Table) {
	p.t.Helper()
	p.step(fmt.Sprintf("queue.unbind %q from %q with %q%s", queue, exchange, key, args(table)), "",
		p.ch.QueueUnbind(queue, key, exchange, table))
}

func (p *player) bindExchange(to, key, from string) {
	p.t.Helper()
	p.step(fmt.Sprintf("exchange.bind %q to %q with %q", to, from, key), "", p.ch.ExchangeBind(to, key, from, false, nil))
}

func (p *player) unbindExchange(to, key, from string) {
	p.t.Helper()
	p.step(fmt.Sprintf("exchange.unbind %q from %q with %q", to, from, key), "", p.ch.ExchangeUnbind(to, key, from, false, nil))
}

func (p *player) deleteQueue(name, flags string) {
	p.t.Helper()
	n, err := p.ch.QueueDelete(name, has(flags, "if-unused"), has(flags, "if-empty"), false)
	p.step(fmt.Sprintf("queue.delete %q %s", name, flags), fmt.Sprintf("%d messages", n), err)
}

func (p *player) deleteExchange(name, flags string) {
	p.t.Helper()
	p.step(fmt.Sprintf("exchange.delete %q %s", name, flags), "", p.ch.ExchangeDelete(name, has(flags, "if-unused"), false))
}

func (p *player) purge(name string) {
	p.t.Helper()
	n, err := p.ch.QueuePurge(name, false)
	p.step(fmt.Sprintf("queue.purge %q", name), fmt.Sprintf("%d messages", n), err)
}

// await waits until a queue holds n ready messages.
func (p *player) await(queue string, n int) {
	p.t.Helper()
	deadline := time.Now().Add(answerWithin)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		q, err := p.ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		if err != nil {
			p.step(fmt.Sprintf("await %d messages in %q", n, queue), "", err)
			return
		}
		if q.Messages == n || time.Now().After(deadline) {
			p.writef("await %d messages in %q: %d", n, queue, q.Messages)
			return
		}
		<-tick.C
	}
}

// awaitGone waits until a queue does not exist any more. It looks rarely: each look, a passive
// declaration, renews a queue's lease.
func (p *player) awaitGone(queue string) {
	p.t.Helper()
	deadline := time.Now().Add(answerWithin)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		<-tick.C
		// A second channel: looking for a queue that is gone closes it.
		ch, err := p.conn.Channel()
		if err != nil {
			p.t.Fatal(err)
		}
		_, err = ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		ch.Close()
		if err != nil || time.Now().After(deadline) {
			p.writef("await the end of %q: %v", queue, err)
			return
		}
	}
}
