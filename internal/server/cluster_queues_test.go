package server

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
)

// nextDelivery waits for a message.
func nextDelivery(t *testing.T, from <-chan amqp091.Delivery) amqp091.Delivery {
	t.Helper()
	select {
	case d, ok := <-from:
		if !ok {
			t.Fatal("the consumer was ended")
		}
		return d
	case <-time.After(time.Minute):
		t.Fatal("no message came")
	}
	panic("unreachable")
}

func send(t *testing.T, ch *amqp091.Channel, queue string, m amqp091.Publishing) {
	t.Helper()
	if err := ch.Publish("", queue, true, false, m); err != nil {
		t.Fatal(err)
	}
}

// Clients of two nodes work with a queue through the death of its leader: their connections, channels and consumers live on.
func TestClientsOutliveTheLeader(t *testing.T) {
	c := newCluster(t, 3)
	queue := "letters"
	_, ch := dial(t, c.nodes[1].Node)
	declare(t, ch, queue)
	leader := c.leader(1, queue)
	near, far := c.other(leader), c.other(leader, c.other(leader).id)

	_, ch = dial(t, near.Node)
	if err := ch.Qos(10, 0, false); err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	publishAll(t, far.Node, queue, 0, 100)
	var unacked amqp091.Delivery
	for i := range 100 {
		d := nextDelivery(t, deliveries)
		if string(d.Body) != fmt.Sprintf("message %d", i) {
			t.Fatalf("got %q as message %d", d.Body, i)
		}
		if i == 42 {
			unacked = d
		} else if err := d.Ack(false); err != nil {
			t.Fatal(err)
		}
	}
	c.kill(leader)
	// The first delivery of it counts no more; acking it is no mistake. Acks that
	// were on their way may be lost.
	if err := unacked.Ack(false); err != nil {
		t.Fatal(err)
	}
	for found := false; !found; {
		d := nextDelivery(t, deliveries)
		found = string(d.Body) == "message 42"
		if !d.Redelivered {
			t.Fatalf("%q is not flagged", d.Body)
		}
		if err := d.Ack(false); err != nil {
			t.Fatal(err)
		}
	}
	c.eventually("publishing goes on", func() error {
		_, err := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err
	})
	publishAll(t, far.Node, queue, 100, 200)
	for i := 100; i < 200; {
		d := nextDelivery(t, deliveries)
		if string(d.Body) == fmt.Sprintf("message %d", i) {
			i++
		} else if !d.Redelivered {
			t.Fatalf("got %q as message %d", d.Body, i)
		}
		if err := d.Ack(false); err != nil {
			t.Fatal(err)
		}
	}
	c.start(leader)
}

// A transaction that acks what will be delivered again is refused as a whole.
func TestTransactionsAcrossALeaderChange(t *testing.T) {
	c := newCluster(t, 3)
	queue := "letters"
	_, ch := dial(t, c.nodes[1].Node)
	declare(t, ch, queue)
	leader := c.leader(1, queue)
	near := c.other(leader)
	publishAll(t, near.Node, queue, 0, 1)
	_, ch = dial(t, near.Node)
	if err := ch.Tx(); err != nil {
		t.Fatal(err)
	}
	deliveries, err := ch.Consume(queue, "", false, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := nextDelivery(t, deliveries)
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	send(t, ch, queue, amqp091.Publishing{Body: []byte("in the transaction")})
	c.kill(leader)
	nextDelivery(t, deliveries)
	var refused *amqp091.Error
	if err := ch.TxCommit(); !errors.As(err, &refused) || refused.Code != amqp091.PreconditionFailed || !strings.Contains(refused.Reason, "nothing was committed") {
		t.Fatalf("the commit was answered with %v", err)
	}
	consumeAll(t, near.Node, queue, 1)
	c.start(leader)
}

// What is in the memory of one node is used from the others: a queue that is
// not durable, and an answer without a queue.
func TestMemoryOfOneNode(t *testing.T) {
	c := newCluster(t, 3)
	_, ch := dial(t, c.nodes[1].Node)
	if _, err := ch.QueueDeclare("requests", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	_, server := dial(t, c.nodes[2].Node)
	_, client := dial(t, c.nodes[3].Node)
	requests, err := server.Consume("requests", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	const address = "amq.rabbitmq.reply-to"
	answers, err := client.Consume(address, "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		send(t, client, "requests", amqp091.Publishing{ReplyTo: address, CorrelationId: fmt.Sprint(i)})
		request := nextDelivery(t, requests)
		if _, err := server.QueueDeclarePassive(request.ReplyTo, false, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		send(t, server, request.ReplyTo, amqp091.Publishing{CorrelationId: request.CorrelationId})
		if got := nextDelivery(t, answers).CorrelationId; got != fmt.Sprint(i) {
			t.Fatalf("answer %s to request %d", got, i)
		}
	}
	// The queue goes with its node, and its consumers are told.
	gone := server.NotifyCancel(make(chan string, 1))
	c.halt(1)
	select {
	case <-gone:
	case <-time.After(time.Minute):
		t.Fatal("the consumer was not told")
	}
}
