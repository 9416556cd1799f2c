//go:build clients

package clients

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A scenario is a sequence of steps; its transcript is in testdata/rabbitmq.
type scenario struct {
	name string
	play func(p *player)
}

var scenarios = []scenario{
	{"queue declared differently", queueDeclaredDifferently},
	{"queue arguments", queueArguments},
	{"passive declare", passiveDeclare},
	{"exclusive queue", exclusiveQueue},
	{"reserved names", reservedNames},
	{"server-named queue", serverNamedQueue},
	{"auto-delete", autoDelete},
	{"delete if unused or empty", deleteIfUnusedOrEmpty},
	{"missing things", missingThings},
	{"exchange types", exchangeTypes},
	{"bindings", bindings},
	{"direct routing", directRouting},
	{"topic routing", topicRouting},
	{"headers routing", headersRouting},
	{"exchange to exchange", exchangeToExchange},
	{"mandatory", mandatory},
	{"refused publishes", refusedPublishes},
	{"delivery tags", deliveryTags},
	{"redelivery", redelivery},
	{"recover", recoverAll},
	{"prefetch", prefetch},
	{"consumers", consumers},
	{"consumer cancelled", consumerCancelled},
	{"message ttl", messageTTL},
	{"length drop-head", lengthDropHead},
	{"length reject-publish", lengthRejectPublish},
	{"dead letters", deadLetters},
	{"transactions", transactions},
}

func text(body string) amqp.Publishing { return amqp.Publishing{Body: []byte(body)} }

func queueDeclaredDifferently(p *player) {
	p.queue("q", "durable", nil)
	p.queue("q", "durable", nil)
	p.queue("q", "", nil)
	p.queue("q", "durable auto-delete", nil)
	p.queue("q", "durable", amqp.Table{"x-message-ttl": 1000})
	p.queue("t", "durable", amqp.Table{"x-message-ttl": 1000})
	p.queue("t", "durable", amqp.Table{"x-message-ttl": int64(1000)})
	p.queue("t", "durable", amqp.Table{"x-message-ttl": 2000})
	p.queue("t", "durable", nil)
	p.queue("t", "durable", amqp.Table{"x-message-ttl": 1000, "x-max-length": 5})
	p.queue("t", "passive", nil)
}

func queueArguments(p *player) {
	for _, table := range []amqp.Table{
		{"x-message-ttl": -1},
		{"x-message-ttl": "soon"},
		{"x-expires": 0},
		{"x-max-length": -1},
		{"x-max-length": "many"},
		{"x-max-length-bytes": -5},
		{"x-overflow": "explode"},
		{"x-dead-letter-exchange": 7},
		{"x-dead-letter-routing-key": "key"},
		{"x-max-priority": 256},
		{"x-queue-type": "unheard-of"},
		{"x-unknown-argument": "is no matter"},
	} {
		p.queue("args", "durable", table)
	}
}

func passiveDeclare(p *player) {
	p.queue("nowhere", "passive", nil)
	p.exchange("nowhere", "direct", "passive", nil)
	p.queue("here", "durable", nil)
	p.send("here", "a", "b")
	p.queue("here", "passive", nil)
	p.exchange("amq.topic", "topic", "passive", nil)
	p.exchange("amq.topic", "direct", "passive", nil)
	p.exchange("", "direct", "passive", nil)
}

func exclusiveQueue(p *player) {
	p.queue("mine", "exclusive", nil)
	p.queue("mine", "exclusive", nil)
	p.other(func(o *player) {
		o.queue("mine", "exclusive", nil)
		o.queue("mine", "", nil)
		o.queue("mine", "passive", nil)
		o.get("mine", "no-ack")
		o.consume("mine", "c", "", nil)
		o.purge("mine")
		o.bind("mine", "key", "amq.direct", nil)
		o.deleteQueue("mine", "")
		o.publish("", "mine", "mandatory", text("publishing is allowed"))
	})
	p.get("mine", "no-ack")
	p.reconnect()
	p.queue("mine", "passive", nil)
}

func reservedNames(p *player) {
	p.queue("amq.mine", "durable", nil)
	p.queue("amq.mine", "passive", nil)
	p.exchange("amq.mine", "direct", "durable", nil)
	p.exchange("amq.direct", "direct", "durable", nil)
	p.exchange("amq.direct", "fanout", "durable", nil)
	p.deleteExchange("amq.direct", "")
	p.exchange("", "direct", "durable", nil)
	p.deleteExchange("", "")
	p.queue("q", "durable", nil)
	p.bind("q", "key", "", nil)
	p.unbind("q", "q", "", nil)
	p.bindExchange("", "key", "amq.direct")
}

func serverNamedQueue(p *player) {
	name := p.queue("", "exclusive", nil)
	p.step("queue.bind of the last declared queue", "", p.ch.QueueBind("", "", "amq.fanout", false, nil))
	p.publish("amq.fanout", "", "", text("to all"))
	d, ok, err := p.ch.Get(name, true)
	p.step("basic.get by its name", fmt.Sprintf("%v %s", ok, d.Body), err)
	p.reopen()
	p.get("", "")
	p.bind("", "", "amq.fanout", nil)
}

func autoDelete(p *player) {
	p.queue("fleeting", "auto-delete", nil)
	p.queue("fleeting", "passive", nil)
	p.consume("fleeting", "c1", "", nil)
	p.consume("fleeting", "c2", "", nil)
	p.cancel("c1")
	p.queue("fleeting", "passive", nil)
	p.cancel("c2")
	p.queue("fleeting", "passive", nil)
	p.exchange("passing", "direct", "auto-delete", nil)
	p.queue("q", "durable", nil)
	p.bind("q", "a", "passing", nil)
	p.bind("q", "b", "passing", nil)
	p.unbind("q", "a", "passing", nil)
	p.exchange("passing", "direct", "passive", nil)
	p.unbind("q", "b", "passing", nil)
	p.exchange("passing", "direct", "passive", nil)
}

func deleteIfUnusedOrEmpty(p *player) {
	p.queue("q", "durable", nil)
	p.send("q", "a", "b")
	p.deleteQueue("q", "if-empty")
	p.consume("q", "c", "", nil)
	p.deleteQueue("q", "if-unused")
	p.reconnect()
	p.purge("q")
	p.deleteQueue("q", "if-unused if-empty")
	p.deleteQueue("q", "")
	p.exchange("x", "direct", "durable", nil)
	p.queue("r", "durable", nil)
	p.bind("r", "key", "x", nil)
	p.deleteExchange("x", "if-unused")
	p.unbind("r", "key", "x", nil)
	p.deleteExchange("x", "if-unused")
	p.deleteExchange("x", "")
}

func missingThings(p *player) {
	p.queue("q", "durable", nil)
	p.get("nowhere", "")
	p.consume("nowhere", "c", "", nil)
	p.purge("nowhere")
	p.deleteQueue("nowhere", "")
	p.deleteExchange("nowhere", "")
	p.bind("nowhere", "key", "amq.direct", nil)
	p.bind("q", "key", "nowhere", nil)
	p.unbind("nowhere", "key", "amq.direct", nil)
	p.unbind("q", "key", "nowhere", nil)
	p.unbind("q", "never bound", "amq.direct", nil)
	p.bindExchange("nowhere", "key", "amq.direct")
	p.publish("nowhere", "key", "", text("lost"))
	p.confirm()
	p.publish("nowhere", "key", "mandatory", text("lost"))
}

func exchangeTypes(p *player) {
	p.exchange("x", "direct", "durable", nil)
	p.exchange("x", "direct", "durable", nil)
	p.exchange("x", "direct", "", nil)
	p.exchange("x", "fanout", "durable", nil)
	p.exchange("x", "direct", "durable internal", nil)
	p.exchange("x", "direct", "durable auto-delete", nil)
	p.exchange("x", "direct", "durable", amqp.Table{"alternate-exchange": "y"})
	p.exchange("y", "no-such-type", "durable", nil)
}
