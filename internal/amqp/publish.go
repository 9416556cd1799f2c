package amqp

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"waybill/internal/amqp/spec"
	"waybill/internal/broker"
	"waybill/internal/record"
)

// incoming is the publication that a channel is receiving: basic.publish, then
// a content header, then the body in any number of frames. The message is
// assembled in its stored form.
type incoming struct {
	stage     stage
	mandatory bool
	left      int    // bytes of the body still to come
	partly    int    // bytes of the body that came in frames which did not complete it
	held      int    // bytes of the intake
	head      []byte // of stored, as long as that waits for a body that may come whole
	stored    []byte
	propsAt   int // where the properties are in stored
	propsEnd  int
	exchange  []byte // as in pub
	key       []byte
	pub       broker.Publication
}

type stage uint8

const (
	stageNone   stage = iota // no publication is under way
	stageHeader              // basic.publish was received
	stageBody                // the content header was received
)

func (in *incoming) init() { in.pub.Headers = in.headers }

func (in *incoming) reset() {
	in.stage, in.stored, in.left, in.partly, in.held = stageNone, nil, 0, 0, 0
	in.pub.Stored, in.pub.Lender, in.pub.ExtraKeys = nil, nil, nil
}

func (in *incoming) properties() record.RawProperties {
	return record.RawProperties(in.stored[in.propsAt:in.propsEnd])
}

func (in *incoming) headers() record.Table { return in.properties().HeaderTable() }

// publish handles basic.publish.
func (ch *channel) publish(args []byte) error {
	var m spec.BasicPublish
	if err := m.Decode(args); err != nil {
		return err
	}
	if m.Immediate {
		return exceptionf(spec.NotImplemented, "immediate=true; publish with mandatory instead")
	}
	in := &ch.incoming
	// The next publication has the same exchange and often the same key, so the
	// texts are kept.
	if in.pub.Exchange != string(m.Exchange) {
		in.pub.Exchange = string(m.Exchange)
		in.exchange = append(in.exchange[:0], m.Exchange...)
	}
	if in.pub.RoutingKey != string(m.RoutingKey) {
		in.pub.RoutingKey = string(m.RoutingKey)
		in.key = append(in.key[:0], m.RoutingKey...)
	}
	in.mandatory = m.Mandatory
	in.stage = stageHeader
	return nil
}

// contentHeader handles a content header frame.
func (ch *channel) contentHeader(payload []byte) error {
	in := &ch.incoming
	if in.stage != stageHeader {
		return exceptionf(spec.UnexpectedFrame, "a content header without a basic.publish before it")
	}
	if len(payload) < 12 {
		return exceptionf(spec.FrameError, "content header of %d bytes", len(payload))
	}
	if class := uint32(binary.BigEndian.Uint16(payload)); class != basicClass {
		return exceptionf(spec.UnexpectedFrame, "expected a content header for class %d, got one for class %d", basicClass, class)
	}
	size, raw := binary.BigEndian.Uint64(payload[4:]), record.RawProperties(payload[12:])
	if limit := ch.conn.server.cfg.MaxMessage; size > uint64(limit) {
		return exceptionf(spec.PreconditionFailed, "message size %d is larger than configured max size %d", size, limit)
	}
	if err := raw.Check(); err != nil {
		return exceptionf(spec.SyntaxError, "malformed message properties: %v", err)
	}
	ttl, err := ch.checkProperties(raw)
	if err != nil {
		return err
	}
	if raw, err = ch.addressed(raw); err != nil {
		return err
	}
	extra, raw, err := extraKeys(raw)
	if err != nil {
		return err
	}
	in.pub.ExtraKeys = extra
	in.begin(raw, int(size), ttl)
	if ch.tx == nil && size > 0 && int(size) <= ch.conn.frames.most()/wholeShare && len(in.head) <= headRoom {
		return nil
	}
	if err := ch.conn.assemble(in); err != nil {
		return err
	}
	if size == 0 {
		return ch.complete()
	}
	return nil
}

// wholeShare: a body of up to this share of a block is awaited in it, whole. Larger ones
// would leave much of it unused.
const wholeShare = 4

// begin makes the head of the stored form; the body is to follow.
func (in *incoming) begin(raw record.RawProperties, size int, ttl time.Duration) {
	m := record.Message{
		Time:       time.Now().UnixMilli(),
		TTL:        ttl,
		Exchange:   in.exchange,
		RoutingKey: in.key,
		Properties: raw,
	}
	in.head = m.Append(in.head[:0])
	in.propsAt, in.propsEnd = len(in.head)-len(raw), len(in.head)
	in.left = size
	in.stage = stageBody
}

// assemble begins to put the stored form together in memory of its own. All of it is reserved
// when the body is small or here already.
func (c *conn) assemble(in *incoming) error {
	room := min(in.left, max(c.frames.buffered(), minBodyRoom))
	in.stored = append(make([]byte, 0, len(in.head)+room), in.head...)
	if cap(in.head) > headRoom {
		in.head = nil
	}
	return c.hold(in)
}

// checkProperties refuses properties that lie, and returns the message's
// lifetime.
func (ch *channel) checkProperties(raw record.RawProperties) (time.Duration, error) {
	if user := raw.UserID(); user != nil && string(user) != ch.conn.user {
		return 0, exceptionf(spec.PreconditionFailed,
			"user_id property set to '%s' but authenticated user was '%s'", user, ch.conn.user)
	}
	text := raw.Expiration()
	if text == nil {
		return record.NoTTL, nil
	}
	ms, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0, exceptionf(spec.PreconditionFailed, "invalid expiration '%s': not a number of milliseconds", text)
	}
	return time.Duration(min(ms, uint64(record.MaxTTL/time.Millisecond))) * time.Millisecond, nil
}

// extraKeys returns the routing keys of the headers CC and BCC, and the properties
// without the latter.
func extraKeys(raw record.RawProperties) ([]string, record.RawProperties, error) {
	// Names stand in the table with their length before them, so this finds all
	// that have one, and hardly any other.
	h := raw.Headers()
	if !bytes.Contains(h, []byte("\x02CC")) && !bytes.Contains(h, []byte("\x03BCC")) {
		return nil, raw, nil
	}
	headers := raw.HeaderTable()
	var keys []string
	for _, name := range [...]string{"CC", "BCC"} {
		value, ok := headers[name]
		if !ok {
			continue
		}
		array, ok := value.([]any)
		if !ok {
			return nil, nil, exceptionf(spec.PreconditionFailed, "header '%s' must be an array of strings", name)
		}
		for _, v := range array {
			key, ok := v.(string)
			if !ok {
				return nil, nil, exceptionf(spec.PreconditionFailed, "header '%s' must be an array of strings", name)
			}
			keys = append(keys, key)
		}
	}
	if _, ok := headers["BCC"]; !ok {
		return keys, raw, nil
	}
	delete(headers, "BCC")
	raw, err := raw.WithHeaders(headers)
	return keys, raw, err
}

// body handles a body frame, whose payload is still to be read.
func (ch *channel) body(h frameHeader) error {
	in := &ch.incoming
	if in.stage != stageBody {
		return exceptionf(spec.UnexpectedFrame, "a body frame without a content header before it")
	}
	if h.size > in.left {
		return exceptionf(spec.FrameError, "the body is larger than the content header said: %d bytes, %d were left", h.size, in.left)
	}
	c := ch.conn
	if in.stored == nil && h.size == in.left {
		return ch.whole(h)
	}
	if h.size < in.left && !c.mayGoOn(h.size) {
		if err := c.frames.skip(h); err != nil {
			return err
		}
		return exceptionf(spec.PreconditionFailed, "too many messages are begun on this connection and not complete; send one after the other, or use more connections")
	}
	if in.stored == nil {
		if err := c.assemble(in); err != nil {
			return err
		}
	}
	grown := func(bigger []byte) error {
		in.stored = bigger
		return c.hold(in)
	}
	var err error
	if in.stored, err = c.frames.appendBody(in.stored, h, in.left, grown); err != nil {
		return err
	}
	if in.left -= h.size; in.left > 0 {
		in.partly += h.size
		c.intake.bodies += h.size
		return nil
	}
	return ch.complete()
}

// whole handles a body that comes in one frame: the message is put together around it,
// where it was read.
func (ch *channel) whole(h frameHeader) error {
	in, f := &ch.incoming, &ch.conn.frames
	body, err := f.whole(h)
	if err != nil {
		return err
	}
	in.stored = f.inPlace(in.head, body)
	if in.stored == nil {
		in.stored = slices.Concat(in.head, body)
	} else {
		in.pub.Lender = f.block
	}
	in.left = 0
	return ch.complete()
}

// complete hands over the publication that was received in full.
func (ch *channel) complete() error {
	in := &ch.incoming
	record.FinishMessage(in.stored)
	in.pub.Stored = in.stored
	ch.conn.metrics.published(len(in.stored))
	defer ch.dropIncoming()
	if err := ch.conn.mayPublish(); err != nil {
		return err
	}
	if ch.tx != nil {
		return ch.tx.publish(in)
	}
	var tag uint64
	if ch.confirm {
		ch.waitConfirms()
		ch.mu.Lock()
		tag = ch.confirms.add()
		ch.mu.Unlock()
	}
	ch.conn.pending.add()
	queues, err := ch.conn.route(ch.conn.session, &in.pub, ch, tag)
	if queues > 0 {
		return nil // Published is called
	}
	defer ch.conn.pending.done()
	if err != nil {
		return err
	}
	if in.mandatory {
		ch.giveBack(&in.pub)
	}
	if tag != 0 {
		ch.resolve(tag, true)
	}
	return nil
}

// giveBack returns a mandatory message that no queue wants.
func (ch *channel) giveBack(p *broker.Publication) {
	m := parseStored(p.Stored)
	ch.conn.metrics.returned.Inc()
	ch.conn.out.append(func(b []byte) []byte {
		b = appendMethod(b, ch.id, &spec.BasicReturn{
			ReplyCode: spec.NoRoute, ReplyText: []byte("NO_ROUTE"),
			Exchange: m.Exchange, RoutingKey: m.RoutingKey,
		})
		return appendContent(b, ch.id, ch.conn.frameMax, &m)
	})
}

// maxConfirms is how many publications of a channel may wait for their confirm
// to be sent; the reading of the connection stops there.
const maxConfirms = 1 << 20

func (ch *channel) waitConfirms() {
	for {
		ch.mu.Lock()
		full := ch.confirms.outstanding() >= maxConfirms
		ch.mu.Unlock()
		if !full {
			return
		}
		ch.conn.flushSettled()
		select {
		case <-ch.told:
		case <-ch.conn.out.stopped:
			return
		case <-ch.conn.ctx.Done():
			return
		}
	}
}
