//go:build clients

package clients

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// publish publishes on the player's channel. In confirm mode it waits for the confirm.
func (p *player) publish(exchange, key, flags string, message amqp.Publishing) {
	p.t.Helper()
	what := fmt.Sprintf("basic.publish %q to %q with %q %s%s", message.Body, exchange, key, flags, args(message.Headers))
	confirm, err := p.ch.PublishWithDeferredConfirm(exchange, key, has(flags, "mandatory"), has(flags, "immediate"), message)
	if err == nil {
		err = p.flush()
	}
	if err != nil || confirm == nil {
		p.step(what, p.returned(), err)
		return
	}
	select {
	case <-confirm.Done():
	case <-time.After(answerWithin):
		p.t.Fatalf("%s: no confirm", what)
	}
	result := "nacked"
	if confirm.Acked() {
		result = "acked"
	}
	p.step(what, strings.TrimSpace(p.returned()+" "+result), nil)
}

// returned tells what was returned so far: in confirm mode, before the confirm.
func (p *player) returned() string {
	select {
	case r := <-p.returns:
		return fmt.Sprintf("returned %d %s %q %q", r.ReplyCode, r.ReplyText, r.Exchange, r.RoutingKey)
	default:
		return ""
	}
}

func (p *player) confirm() {
	p.t.Helper()
	p.step("confirm.select", "", p.ch.Confirm(false))
}

// send publishes bodies to a queue through the default exchange, and waits until they are there.
func (p *player) send(queue string, bodies ...string) {
	p.t.Helper()
	for _, body := range bodies {
		p.publish("", queue, "", amqp.Publishing{Body: []byte(body)})
	}
}

func (p *player) get(queue, flags string) amqp.Delivery {
	p.t.Helper()
	d, ok, err := p.ch.Get(queue, has(flags, "no-ack"))
	result := "empty"
	if ok {
		result = fmt.Sprintf("tag %d %s, %d left", d.DeliveryTag, show(d), d.MessageCount)
	}
	p.step(fmt.Sprintf("basic.get %q %s", queue, flags), result, err)
	return d
}

func show(d amqp.Delivery) string {
	s := fmt.Sprintf("%q", d.Body)
	if d.Redelivered {
		s += " redelivered"
	}
	return s
}

// consume starts a consumer, whose deliveries the step deliveries shows.
func (p *player) consume(queue, tag, flags string, table amqp.Table) {
	p.t.Helper()
	incoming, err := p.ch.Consume(queue, tag, has(flags, "no-ack"), has(flags, "exclusive"), false, false, table)
	p.step(fmt.Sprintf("basic.consume %q as %q %s%s", queue, tag, flags, args(table)), "", err)
	if err != nil {
		return
	}
	all := p.deliveries
	go func() {
		for d := range incoming {
			all <- d
		}
	}()
}

// delivered shows what was delivered since the last time: it waits for so many, and looks whether more come.
func (p *player) delivered(expected int) {
	p.t.Helper()
	late := time.After(answerWithin)
	for got := 0; ; {
		var quiet <-chan time.Time
		if got >= expected {
			quiet = time.After(deliveryQuiet)
		}
		select {
		case d := <-p.deliveries:
			p.writef("basic.deliver to %q: tag %d %s", d.ConsumerTag, d.DeliveryTag, show(d))
			got++
		case <-quiet:
			return
		case <-late:
			p.writef("%d of %d deliveries", got, expected)
			return
		}
	}
}

func (p *player) cancel(tag string) {
	p.t.Helper()
	p.step(fmt.Sprintf("basic.cancel %q", tag), "", p.ch.Cancel(tag, false))
}

// cancelled shows the consumer that the broker has cancelled.
func (p *player) cancelled() {
	p.t.Helper()
	select {
	case tag := <-p.cancels:
		p.writef("basic.cancel from the broker: %q", tag)
	case <-time.After(answerWithin):
		p.writef("no basic.cancel from the broker")
	}
}

func (p *player) ack(tag uint64, flags string) {
	p.t.Helper()
	err := errors.Join(p.ch.Ack(tag, has(flags, "multiple")), p.flush())
	p.step(fmt.Sprintf("basic.ack %d %s", tag, flags), "", err)
}

func (p *player) nack(tag uint64, flags string) {
	p.t.Helper()
	err := errors.Join(p.ch.Nack(tag, has(flags, "multiple"), has(flags, "requeue")), p.flush())
	p.step(fmt.Sprintf("basic.nack %d %s", tag, flags), "", err)
}

func (p *player) reject(tag uint64, flags string) {
	p.t.Helper()
	err := errors.Join(p.ch.Reject(tag, has(flags, "requeue")), p.flush())
	p.step(fmt.Sprintf("basic.reject %d %s", tag, flags), "", err)
}

func (p *player) recover(flags string) {
	p.t.Helper()
	err := p.ch.Recover(has(flags, "requeue")) //nolint:staticcheck // deprecated, but old clients use it
	p.step("basic.recover "+flags, "", err)
}

func (p *player) qos(count, size int, flags string) {
	p.t.Helper()
	p.step(fmt.Sprintf("basic.qos %d messages, %d bytes %s", count, size, flags), "", p.ch.Qos(count, size, has(flags, "global")))
}

// drain gets every message of a queue and shows the bodies.
func (p *player) drain(queue string) {
	p.t.Helper()
	var bodies []string
	for {
		d, ok, err := p.ch.Get(queue, true)
		if err != nil {
			p.step(fmt.Sprintf("drain %q", queue), "", err)
			return
		}
		if !ok {
			break
		}
		bodies = append(bodies, string(d.Body))
	}
	p.step(fmt.Sprintf("drain %q", queue), fmt.Sprint(bodies), nil)
}

// showDeath gets a dead-lettered message and shows what the broker says of its death, but for the
// headers x-last-death-*, which RabbitMQ adds since 3.13.
func (p *player) showDeath(queue string) {
	p.t.Helper()
	d, ok, err := p.ch.Get(queue, true)
	if err != nil || !ok {
		p.step(fmt.Sprintf("basic.get %q", queue), "empty", err)
		return
	}
	p.writef("dead letter %q, routing key %q, expiration %q, message id %q", d.Body, d.RoutingKey, d.Expiration, d.MessageId)
	for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
		if strings.HasPrefix(name, "x-last-death-") {
			continue
		}
		deaths, ok := d.Headers[name].([]any)
		if !ok {
			p.writef("  %s: %v", name, d.Headers[name])
			continue
		}
		for _, death := range deaths {
			table, _ := death.(amqp.Table)
			delete(table, "time")
			p.writef("  %s:%s", name, args(table))
		}
	}
}
