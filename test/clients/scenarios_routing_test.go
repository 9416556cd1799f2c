//go:build clients

package clients

import (
	"sort"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

func bindings(p *player) {
	p.queue("q", "durable", nil)
	p.bind("q", "key", "amq.direct", nil)
	p.bind("q", "key", "amq.direct", nil)
	p.bind("q", "key", "amq.direct", amqp.Table{"an": "argument"})
	p.publish("amq.direct", "key", "", text("once"))
	p.drain("q")
	p.unbind("q", "key", "amq.direct", nil)
	p.publish("amq.direct", "key", "", text("still"))
	p.drain("q")
	p.unbind("q", "key", "amq.direct", amqp.Table{"an": "argument"})
	p.publish("amq.direct", "key", "", text("no more"))
	p.drain("q")
}

// routes publishes with each key and shows which of the queues got it.
func routes(p *player, exchange string, queues []string, messages []amqp.Publishing, keys ...string) {
	for i, key := range keys {
		message := text("x")
		if messages != nil {
			message = messages[i]
		}
		p.publish(exchange, key, "", message)
		var got []string
		for _, queue := range queues {
			for {
				_, ok, err := p.ch.Get(queue, true)
				if err != nil {
					p.t.Fatal(err)
				}
				if !ok {
					break
				}
				got = append(got, queue)
			}
		}
		sort.Strings(got)
		p.writef("  to %v", got)
	}
}

func directRouting(p *player) {
	p.queue("a", "durable", nil)
	p.queue("b", "durable", nil)
	p.bind("a", "red", "amq.direct", nil)
	p.bind("a", "blue", "amq.direct", nil)
	p.bind("b", "red", "amq.direct", nil)
	p.bind("b", "", "amq.direct", nil)
	routes(p, "amq.direct", []string{"a", "b"}, nil, "red", "blue", "", "green", "re*", "Red")
	p.bind("a", "ignored", "amq.fanout", nil)
	p.bind("a", "too", "amq.fanout", nil)
	routes(p, "amq.fanout", []string{"a", "b"}, nil, "whatever", "")
	routes(p, "", []string{"a", "b"}, nil, "a", "b", "c")
}

func topicRouting(p *player) {
	patterns := []string{"#", "*", "a.b", "a.*", "*.b", "a.#", "#.b", "a.#.b", "*.#", "#.#", "a..b", "", "*.*", "#.a.#"}
	for _, pattern := range patterns {
		queue := "t " + pattern
		p.queue(queue, "durable", nil)
		p.bind(queue, pattern, "amq.topic", nil)
	}
	var queues []string
	for _, pattern := range patterns {
		queues = append(queues, "t "+pattern)
	}
	routes(p, "amq.topic", queues, nil,
		"", "a", "b", "a.b", "a.c.b", "a.b.c", "a..b", ".", "a.", ".a", "a.b.", "*", "#", "a.*", strings.Repeat("a.", 20)+"b")
}

func headersRouting(p *player) {
	bound := map[string]amqp.Table{
		"all":          {"x-match": "all", "format": "pdf", "type": "report"},
		"any":          {"x-match": "any", "format": "pdf", "type": "report"},
		"default":      {"format": "pdf", "type": "report"},
		"empty all":    {"x-match": "all"},
		"empty any":    {"x-match": "any"},
		"number":       {"x-match": "all", "size": int32(7)},
		"present":      {"x-match": "all", "format": nil},
		"x ignored":    {"x-match": "all", "x-secret": "s", "format": "pdf"},
		"all-with-x":   {"x-match": "all-with-x", "x-secret": "s", "format": "pdf"},
		"any-with-x":   {"x-match": "any-with-x", "x-secret": "s"},
		"bad":          {"x-match": "some", "format": "pdf"},
		"bad x-match2": {"x-match": int32(1), "format": "pdf"},
	}
	var queues []string
	for name := range bound {
		queues = append(queues, name)
	}
	sort.Strings(queues)
	for _, queue := range queues {
		p.queue(queue, "durable", nil)
		p.bind(queue, "", "amq.headers", bound[queue])
	}
	messages := []amqp.Publishing{
		{},
		{Headers: amqp.Table{"format": "pdf", "type": "report"}},
		{Headers: amqp.Table{"format": "pdf", "type": "log"}},
		{Headers: amqp.Table{"format": "pdf", "type": "report", "more": "is fine"}},
		{Headers: amqp.Table{"type": "log"}},
		{Headers: amqp.Table{"size": int32(7)}},
		{Headers: amqp.Table{"size": int64(7)}},
		{Headers: amqp.Table{"size": "7"}},
		{Headers: amqp.Table{"format": nil}},
		{Headers: amqp.Table{"x-secret": "s"}},
		{Headers: amqp.Table{"x-secret": "s", "format": "pdf"}},
	}
	routes(p, "amq.headers", queues, messages, make([]string, len(messages))...)
}

func exchangeToExchange(p *player) {
	p.exchange("outer", "fanout", "durable", nil)
	p.exchange("inner", "topic", "durable", nil)
	p.exchange("hidden", "direct", "durable internal", nil)
	p.queue("q", "durable", nil)
	p.queue("r", "durable", nil)
	p.bindExchange("inner", "", "outer")
	p.bindExchange("hidden", "", "outer")
	p.bindExchange("outer", "loop", "inner")
	p.bind("q", "a.*", "inner", nil)
	p.bind("r", "a.b", "hidden", nil)
	routes(p, "outer", []string{"q", "r"}, nil, "a.b", "a.c", "loop")
	p.publish("hidden", "a.b", "", text("not allowed"))
	p.unbindExchange("inner", "", "outer")
	p.unbindExchange("inner", "", "outer")
	routes(p, "outer", []string{"q", "r"}, nil, "a.b")
}
