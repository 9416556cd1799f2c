package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"waybill/internal/amqp/spec"
)

// writeSize is how much a producer writes at once, at most.
const writeSize = 256 << 10

// amqpProducer publishes preassembled messages to its destinations in turn.
type amqpProducer struct {
	conn      *amqpConn
	out       *outlet
	waiting   unconfirmed
	templates []template
	paced     bool
}

// template is a publish with all its frames; only the time in the body changes.
type template struct {
	frames []byte
	timeAt int
}

func (t *amqpTarget) leanProducer(ctx context.Context, i int, out *outlet) (worker, error) {
	c, err := dialAMQP(ctx, t.URL)
	if err != nil {
		return nil, err
	}
	p := &amqpProducer{conn: c, out: out, paced: t.load.Rate > 0}
	p.waiting.init(t.load.InFlight)
	for _, d := range t.destinations(i) {
		p.templates = append(p.templates, newTemplate(d, t.load.Size, t.Durable, c.frameMax))
	}
	if _, err := c.call(&spec.ConfirmSelect{}, spec.ConfirmSelectOKID); err != nil {
		c.close()
		return nil, err
	}
	return p, nil
}

func newTemplate(d destination, size int, durable bool, frameMax int) template {
	b := appendMethod(nil, channel, &spec.BasicPublish{Exchange: []byte(d.exchange), RoutingKey: []byte(d.key)})
	const persistent = 1 << 12 // the flag of the property delivery-mode
	flags, properties := uint16(0), []byte(nil)
	if durable {
		flags, properties = persistent, []byte{2}
	}
	b = appendFrameHeader(b, spec.FrameHeader, channel, 14+len(properties))
	b = binary.BigEndian.AppendUint32(b, 60<<16) // class basic, weight 0
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = binary.BigEndian.AppendUint16(b, flags)
	b = append(append(b, properties...), spec.FrameEnd)
	timeAt := len(b) + frameHeader
	for body := newBody(size); len(body) > 0; {
		n := min(len(body), frameMax-frameOverhead)
		b = appendFrameHeader(b, spec.FrameBody, channel, n)
		b = append(append(b, body[:n]...), spec.FrameEnd)
		body = body[n:]
	}
	return template{b, timeAt}
}

func (p *amqpProducer) close() { p.conn.finish() }

func (p *amqpProducer) run() error {
	defer p.conn.close()
	failed := make(chan error, 1)
	go func() {
		err := p.read()
		p.out.stop() // the writer need not wait for room any more
		failed <- err
	}()
	if err := p.write(); err != nil {
		p.conn.close()
		return errors.Join(fmt.Errorf("publish: %w", err), <-failed)
	}
	return <-failed
}

func (p *amqpProducer) write() error {
	if p.paced {
		keepThread()
	}
	size := len(p.templates[0].frames)
	times := make([]int64, max(1, min(writeSize/size, 1024)))
	buf := make([]byte, 0, len(times)*(size+256))
	next := 0
	for {
		n := p.out.take(times)
		if n == 0 {
			return nil
		}
		p.waiting.add(times[:n])
		buf = buf[:0]
		for _, t := range times[:n] {
			m := &p.templates[next]
			if next++; next == len(p.templates) {
				next = 0
			}
			at := len(buf) + m.timeAt
			buf = append(buf, m.frames...)
			binary.BigEndian.PutUint64(buf[at:], uint64(t))
		}
		if _, err := p.conn.Write(buf); err != nil {
			return err
		}
	}
}

// read takes the confirms until the connection ends.
func (p *amqpProducer) read() error {
	var acked []int64
	for {
		if err := p.conn.fill(); err != nil {
			return fmt.Errorf("read confirms: %w", err)
		}
		now := time.Now().UnixNano()
		acked = acked[:0]
		refused := 0
		for {
			f, ok, err := p.conn.frame()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if f.kind != spec.FrameMethod {
				continue
			}
			if acked, refused, err = p.confirm(f.payload, acked, refused); err != nil {
				return err
			}
		}
		if len(acked) > 0 {
			p.out.confirmed(now, acked)
		}
		if refused > 0 {
			p.out.refuse(refused)
		}
	}
}

func (p *amqpProducer) confirm(payload []byte, acked []int64, refused int) ([]int64, int, error) {
	id, args, err := spec.SplitID(payload)
	if err != nil {
		return acked, refused, err
	}
	switch id {
	case spec.BasicAckID:
		var m spec.BasicAck
		if err := m.Decode(args); err != nil {
			return acked, refused, err
		}
		acked, err = p.waiting.take(m.DeliveryTag, m.Multiple, acked)
	case spec.BasicNackID:
		var m spec.BasicNack
		if err := m.Decode(args); err != nil {
			return acked, refused, err
		}
		var nacked []int64
		nacked, err = p.waiting.take(m.DeliveryTag, m.Multiple, nil)
		refused += len(nacked)
	default:
		err = unexpected(id, args)
	}
	return acked, refused, err
}
