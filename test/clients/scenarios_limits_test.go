//go:build clients

package clients

import (
	amqp "github.com/rabbitmq/amqp091-go"
)

func messageTTL(p *player) {
	p.queue("short", "durable", amqp.Table{"x-message-ttl": 50})
	p.send("short", "a", "b")
	p.await("short", 0)
	p.queue("none", "durable", amqp.Table{"x-message-ttl": 0})
	p.send("none", "a")
	p.await("none", 0)
	p.consume("none", "c", "no-ack", nil)
	p.send("none", "straight to a consumer")
	p.delivered(1)
	p.queue("q", "durable", nil)
	p.publish("", "q", "", amqp.Publishing{Body: []byte("first"), Expiration: "50"})
	p.publish("", "q", "", text("second"))
	p.await("q", 1)
	p.drain("q")
	p.publish("", "q", "", text("ahead"))
	p.publish("", "q", "", amqp.Publishing{Body: []byte("0"), Expiration: "0"})
	p.drain("q")
	p.queue("lease", "durable", amqp.Table{"x-expires": 100})
	p.awaitGone("lease")
}

func lengthDropHead(p *player) {
	p.queue("three", "durable", amqp.Table{"x-max-length": 3})
	p.confirm()
	p.send("three", "a", "b", "c", "d", "e")
	p.drain("three")
	p.send("three", "a", "b", "c")
	p.get("three", "")
	p.send("three", "d", "e")
	p.reopen()
	p.await("three", 3)
	p.drain("three")
	p.queue("bytes", "durable", amqp.Table{"x-max-length-bytes": 10})
	p.send("bytes", "12345", "67890", "a", "longer than the queue")
	p.drain("bytes")
	p.queue("zero", "durable", amqp.Table{"x-max-length": 0})
	p.send("zero", "a")
	p.drain("zero")
}

func lengthRejectPublish(p *player) {
	p.queue("two", "durable", amqp.Table{"x-max-length": 2, "x-overflow": "reject-publish"})
	p.queue("all", "durable", nil)
	p.bind("two", "", "amq.fanout", nil)
	p.bind("all", "", "amq.fanout", nil)
	p.confirm()
	p.send("two", "a", "b", "c")
	p.publish("amq.fanout", "", "", text("d"))
	p.publish("", "two", "mandatory", text("e"))
	p.get("two", "no-ack")
	p.send("two", "f", "g")
	p.drain("two")
	p.drain("all")
	p.queue("dlx", "durable", amqp.Table{
		"x-max-length": 1, "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "all",
	})
	p.send("dlx", "h", "i")
	p.drain("dlx")
	p.await("all", 1)
	p.drain("all")
}

func deadLetters(p *player) {
	p.queue("dead", "durable", nil)
	p.queue("q", "durable", amqp.Table{"x-dead-letter-exchange": "amq.direct", "x-max-length": 2})
	p.bind("dead", "q", "amq.direct", nil)
	p.send("q", "rejected", "kept")
	p.get("q", "")
	p.reject(1, "")
	p.await("dead", 1)
	p.showDeath("dead")
	p.publish("", "q", "", amqp.Publishing{Body: []byte("expired"), Expiration: "30"})
	p.get("q", "no-ack")
	p.await("dead", 1)
	p.showDeath("dead")
	p.send("q", "overflow", "b", "c")
	p.await("dead", 1)
	p.showDeath("dead")
	p.queue("moved", "durable", amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"})
	p.publish("", "moved", "", amqp.Publishing{Body: []byte("with headers"), Headers: amqp.Table{"mine": "stays"}, MessageId: "7"})
	d := p.get("moved", "")
	p.nack(d.DeliveryTag, "")
	p.await("dead", 1)
	p.showDeath("dead")
	p.queue("nowhere", "durable", amqp.Table{"x-dead-letter-exchange": "missing"})
	p.send("nowhere", "dropped")
	d = p.get("nowhere", "")
	p.reject(d.DeliveryTag, "")
	p.await("nowhere", 0)
}
