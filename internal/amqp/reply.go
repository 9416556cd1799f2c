package amqp

import (
	"crypto/rand"
	"strconv"
	"strings"
	"sync"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// Direct reply-to (RabbitMQ, "direct reply-to"): a client consumes, without
// acks, from the pseudo-queue amq.rabbitmq.reply-to and publishes requests with
// that name in the property reply-to. The server puts an address in its place,
// and what is published to the default exchange with the address as its
// routing key goes straight to the client's channel. No queue is involved, and
// nothing is kept: an answer whose asker is gone, or does not read, is lost. The address names
// the node of the channel, so that an answer finds its way from any other.

const (
	replyQueue  = "amq.rabbitmq.reply-to"
	replyPrefix = replyQueue + "." // of addresses; the node, a dot and a secret token follow
)

// replyAddress makes an address of a node's client.
func replyAddress(node uint64) string {
	return replyPrefix + strconv.FormatUint(node, 10) + "." + rand.Text()
}

// replyNode is the node that an address names, 0 when it names none.
func replyNode(address string) uint64 {
	text, _, _ := strings.Cut(strings.TrimPrefix(address, replyPrefix), ".")
	node, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0
	}
	return node
}

// replies are the addresses at which clients wait for answers.
type replies struct {
	mu     sync.RWMutex // a leaf
	askers map[string]*consumer
}

func (r *replies) find(address string) *consumer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.askers[address]
}

func (r *replies) add(c *consumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.askers == nil {
		r.askers = map[string]*consumer{}
	}
	r.askers[c.address] = c
}

func (r *replies) remove(c *consumer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.askers, c.address)
}

// consumeReplies makes the channel's address.
func (ch *channel) consumeReplies(m *spec.BasicConsume, tag string) error {
	if !m.NoAck {
		return exceptionf(spec.PreconditionFailed, "reply consumer cannot acknowledge; consume with no_ack")
	}
	if ch.asker != nil {
		return exceptionf(spec.PreconditionFailed, "reply consumer already set")
	}
	c := &consumer{ch: ch, tag: []byte(tag), queue: replyQueue, noAck: true, address: replyAddress(ch.conn.server.cfg.Broker.NodeID())}
	ch.asker = c
	ch.mu.Lock()
	ch.consumers[tag] = c
	ch.mu.Unlock()
	// The client is told before the first answer can come: nobody knows the
	// address yet.
	err := ch.reply(m.NoWait, &spec.BasicConsumeOK{ConsumerTag: tag})
	ch.conn.server.replies.add(c)
	return err
}

// endReplies takes the channel's address back.
func (ch *channel) endReplies() {
	c := ch.asker
	if c == nil {
		return
	}
	ch.asker = nil
	ch.conn.server.replies.remove(c)
	ch.mu.Lock()
	defer ch.mu.Unlock()
	c.ended = true // for an answer that has found the address already
}

// addressed puts the channel's address into a request's properties.
func (ch *channel) addressed(raw record.RawProperties) (record.RawProperties, error) {
	if string(raw.ReplyTo()) != replyQueue {
		return raw, nil
	}
	if ch.asker == nil {
		return nil, exceptionf(spec.PreconditionFailed, "fast reply consumer does not exist; consume from '%s' on this channel first", replyQueue)
	}
	return raw.WithReplyTo(ch.asker.address)
}

// declareReplies answers the declaration of an address, by which clients ask
// whether there is one; ok is false when name is not one.
func (ch *channel) declareReplies(m *spec.QueueDeclare) (ok bool, err error) {
	if m.Queue != replyQueue {
		if !strings.HasPrefix(m.Queue, replyPrefix) {
			return false, nil
		}
		if !ch.conn.server.answers(m.Queue) {
			return true, exceptionf(spec.NotFound, "no queue '%s' in vhost '%s'", m.Queue, ch.conn.vhost)
		}
	}
	return true, ch.reply(m.NoWait, &spec.QueueDeclareOK{Queue: m.Queue, ConsumerCount: 1})
}

// route is Session.Publish, save for answers that go to an address.
func (c *conn) route(by publisher, p *broker.Publication, to broker.Publisher, tag uint64) (queues int, err error) {
	if p.Exchange != "" || !strings.HasPrefix(p.RoutingKey, replyPrefix) {
		return by.Publish(p, to, tag)
	}
	if !c.server.answer(p.RoutingKey, p.Stored) {
		return 0, nil
	}
	to.Published(tag, nil)
	return 1, nil
}

// publisher is a broker.Session, or what gathers for it.
type publisher interface {
	Publish(p *broker.Publication, to broker.Publisher, tag uint64) (queues int, err error)
}

// answers reports whether there may be somebody at an address.
func (s *Server) answers(address string) bool {
	if node := replyNode(address); node != s.cfg.Broker.NodeID() {
		return s.cfg.Broker.HasNode(node)
	}
	return s.replies.find(address) != nil
}

// answer sends an answer to an address; false when it does not get there.
func (s *Server) answer(address string, stored []byte) bool {
	if node := replyNode(address); node != s.cfg.Broker.NodeID() {
		return s.cfg.Broker.SendDirect(node, address, stored)
	}
	asker := s.replies.find(address)
	return asker != nil && asker.answer(stored)
}

// answerHere delivers an answer that another node's client has given.
func (s *Server) answerHere(address string, stored []byte) {
	if asker := s.replies.find(address); asker != nil {
		asker.answer(stored)
	}
}

// answer delivers an answer; false when the asker is gone or does not read.
func (c *consumer) answer(stored []byte) bool {
	d := broker.Delivery{Message: parseStored(stored)}
	ch := c.ch
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.closed || c.ended || ch.conn.out.full() {
		ch.conn.metrics.answersLost.Inc()
		return false
	}
	ch.encodeDelivery(c, &d, 0)
	return true
}

// parseStored parses a message that this package has assembled.
func parseStored(stored []byte) (m record.Message) {
	if _, err := m.Parse(stored); err != nil {
		panic("amqp: a publication was not assembled right: " + err.Error())
	}
	return m
}
