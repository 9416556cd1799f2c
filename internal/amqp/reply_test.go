package amqp

import (
	"context"
	"errors"
	"strings"
	"testing"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

func TestDirectReplyTo(t *testing.T) {
	n := startNode(t, nil)
	client, service := n.channel(t), n.channel(t)
	requests := durable(t, service)
	asked := consume(t, service, requests)
	answers, err := client.Consume(replyQueue, "", true, false, false, false, nil)
	must(t, err)
	for _, q := range []string{"first", "second"} {
		publish(t, client, requests, amqp091.Publishing{ReplyTo: replyQueue, CorrelationId: q, AppId: "app", Body: []byte(q)})
		d := receive(t, asked)
		if !strings.HasPrefix(d.ReplyTo, replyPrefix) || d.AppId != "app" || d.CorrelationId != q {
			t.Fatalf("request %+v", d)
		}
		must(t, d.Ack(false))
		if _, err := service.QueueDeclarePassive(d.ReplyTo, false, false, false, false, nil); err != nil {
			t.Errorf("the address is not there: %v", err)
		}
		publish(t, service, d.ReplyTo, amqp091.Publishing{CorrelationId: q, Body: []byte("answer to " + q)})
		if a := receive(t, answers); a.CorrelationId != q || string(a.Body) != "answer to "+q || a.RoutingKey != d.ReplyTo {
			t.Errorf("answer %+v", a)
		}
	}
}

func TestDirectReplyToNobody(t *testing.T) {
	n := startNode(t, nil)
	asker, service := n.channel(t), n.channel(t)
	answers, err := asker.Consume(replyQueue, "tag", true, false, false, false, nil)
	must(t, err)
	publish(t, asker, durable(t, service), amqp091.Publishing{ReplyTo: replyQueue})
	d := receive(t, consume(t, service, t.Name()))
	must(t, asker.Cancel("tag", false))
	if _, open := <-answers; open {
		t.Error("an answer came from nowhere")
	}
	must(t, service.Confirm(false))
	returns := service.NotifyReturn(make(chan amqp091.Return, 1))
	c, err := service.PublishWithDeferredConfirmWithContext(context.Background(), "", d.ReplyTo, true, false, amqp091.Publishing{})
	must(t, err)
	if r := receive(t, returns); r.ReplyCode != 312 || !c.Wait() {
		t.Errorf("returned with %+v", r)
	}
	for name, f := range map[string]func(*amqp091.Channel) error{
		"with acks": func(ch *amqp091.Channel) error {
			_, err := ch.Consume(replyQueue, "", false, false, false, false, nil)
			return err
		},
		"request without a consumer": func(ch *amqp091.Channel) error {
			ended := ch.NotifyClose(make(chan *amqp091.Error, 1))
			publish(t, ch, "q", amqp091.Publishing{ReplyTo: replyQueue})
			return receive(t, ended)
		},
	} {
		var e *amqp091.Error
		if err := f(n.channel(t)); !errors.As(err, &e) || e.Code != 406 {
			t.Errorf("%s: error %v", name, err)
		}
	}
	var e *amqp091.Error
	_, err = n.channel(t).QueueDeclarePassive(d.ReplyTo, false, false, false, false, nil)
	if !errors.As(err, &e) || e.Code != 404 {
		t.Errorf("an address that is gone: error %v", err)
	}
}
