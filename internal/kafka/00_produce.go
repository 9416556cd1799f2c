package kafka

import (
	"encoding/binary"
	"sync/atomic"
	"time"

	"waybill/internal/broker"
	"waybill/internal/record"
)

const keyProduce = 0

// produce is a Produce request while its batches are on their way into their
// logs, and then its response. It is decoded and encoded by hand: this is the hot path,
// and the batches alias the request's frame.
type produce struct {
	r      *request
	acks   int16
	wait   time.Duration // for the copies to be made
	topics []produceTopic
	parts  []producePart // of all topics, in the order of the request
	behind int           // bytes of the request behind the last batch
	whole  []byte        // nil, or the only batch with room before it, for the log to keep
	left   atomic.Int32  // parts without a result, and one for the request itself
}

type produceTopic struct {
	name string   // versions 0 to 12
	id   [16]byte // from version 13 on
	n    int      // number of parts
}

type producePart struct {
	number int32
	batch  []byte
	count  int32 // records in the batch, as it says
	result broker.AppendResult
	code   int16
}

// serveProduce appends the batches in the order of the requests. It does not
// wait for them.
func serveProduce(s *Server, r *request) {
	p := &produce{r: r}
	if err := p.decode(r.payload, r.version); err != nil {
		r.abort(err)
		return
	}
	r.payload = nil // only the batches are needed on
	p.left.Store(int32(len(p.parts)) + 1)
	p.whole = p.takeFrame()
	first := 0
	for i := range p.topics {
		t := &p.topics[i]
		p.start(s, t, first)
		first += t.n
	}
	p.done()
}

// start hands the parts of one topic to their partitions.
func (p *produce) start(s *Server, t *produceTopic, first int) {
	topic, code := s.produceTarget(p, t)
	for i := first; i < first+t.n; i++ {
		part := &p.parts[i]
		switch {
		case code != codeNone:
			p.Appended(i, notAppended(code))
		case part.number < 0 || int(part.number) >= len(topic.Partitions):
			p.Appended(i, notAppended(codeUnknownTopicOrPartition))
		default:
			part.count = countOf(part.batch)
			batch := part.batch
			part.batch = nil // it is the broker's now
			if p.whole != nil {
				topic.Partitions[part.number].AppendWhole(p.whole, p.wait, p, i)
				continue
			}
			topic.Partitions[part.number].Append(batch, p.wait, p, i)
		}
	}
}

// wholeLeast is the size of a batch from which on the log keeps the memory that it was read into.
const wholeLeast = 64 << 10

// takeFrame returns the memory of the request's batch, with broker.AppendRoom before it, if there is only one and it is large;
// else nil. The frame is not used again then. The next one of the connection will probably be like this, so it gets memory to keep.
func (p *produce) takeFrame() []byte {
	c, frame := p.r.conn, p.r.frame
	c.keeps = false
	if len(p.parts) != 1 {
		return nil
	}
	n := len(p.parts[0].batch)
	at := len(frame) - p.behind - n
	if n < wholeLeast || at < broker.AppendRoom {
		return nil
	}
	c.keeps = true
	if cap(frame) > n+n/8 { // for nothing
		return nil
	}
	p.r.frame = nil
	return frame[at-broker.AppendRoom : at+n : at+n]
}

// produceTarget finds the topic, or says why nothing can be appended to it.
func (s *Server) produceTarget(p *produce, t *produceTopic) (*broker.Topic, int16) {
	if p.r.version < 3 {
		return nil, codeUnsupportedVersion // advertised only for the clients that look at the minimum
	}
	if p.acks < -1 || p.acks > 1 {
		return nil, codeInvalidRequiredAcks
	}
	if p.r.version >= 13 {
		if topic, ok := s.cfg.Broker.TopicByID(t.id); ok {
			return topic, codeNone
		}
		return nil, codeUnknownTopicID
	}
	if topic, ok := s.cfg.Broker.Topic(t.name); ok {
		return topic, codeNone
	}
	return nil, codeUnknownTopicOrPartition
}

// countOf is the number of records that a batch claims to have; it is used only
// once the broker has found it true.
func countOf(batch []byte) int32 {
	if len(batch) < record.BatchHeaderLen {
		return 0
	}
	return record.Batch(batch).Count()
}

// notAppended is the result of a batch that was refused here.
func notAppended(code int16) broker.AppendResult {
	return broker.AppendResult{Base: -1, LogStart: -1, Time: -1, Err: &broker.Error{Kind: broker.Invalid, Code: code}}
}

// Appended implements broker.Appender.
func (p *produce) Appended(i int, r broker.AppendResult) {
	part := &p.parts[i]
	part.result, part.code = r, errorCode(r.Err)
	if r.Err != nil {
		part.result.Base = -1
	}
	p.done()
}

// done counts one result; the last one answers the request.
func (p *produce) done() {
	if p.left.Add(-1) > 0 {
		return
	}
	p.r.conn.s.metrics.produced(p)
	if p.acks != 0 {
		p.r.reply(p)
		return
	}
	for i := range p.parts {
		if part := &p.parts[i]; part.code != codeNone {
			// There is no response that could tell; this is how Kafka does it.
			p.r.abort(badRequest("a batch sent with acks=0 was refused: partition %d: %v (error %d)", part.number, part.result.Err, part.code))
			return
		}
	}
	p.r.reply(nil)
}

// minProduceWait is the least time that the replicas get to copy a batch.
const minProduceWait = time.Second

// decode reads the request's body.
func (p *produce) decode(b []byte, version int16) error {
	d := decoder{b: b}
	flexible := version >= 9
	if version >= 3 {
		d.nullableString(flexible) // the transactional id: there are no transactions yet
	}
	p.acks = d.int16()
	p.wait = max(time.Duration(d.int32())*time.Millisecond, minProduceWait)
	for n := d.array(flexible); n > 0 && !d.bad; n-- {
		p.decodeTopic(&d, version, flexible)
	}
	if flexible {
		d.skipTags()
	}
	if d.bad {
		return badRequest("Produce version %d: a field is cut off, or a count is impossible or too large", version)
	}
	return nil
}

func (p *produce) decodeTopic(d *decoder, version int16, flexible bool) {
	var t produceTopic
	if version >= 13 {
		copy(t.id[:], d.take(16))
	} else {
		t.name = d.string(flexible)
	}
	t.n = d.array(flexible)
	if len(p.parts)+t.n > maxElements {
		d.fail()
	}
	for n := t.n; n > 0 && !d.bad; n-- {
		part := producePart{number: d.int32()}
		part.batch, _ = d.nullableBytes(flexible)
		p.behind = len(d.b)
		if flexible {
			d.skipTags()
		}
		p.parts = append(p.parts, part)
	}
	if flexible {
		d.skipTags()
	}
	p.topics = append(p.topics, t)
}

func (p *produce) isFlexible(version int16) bool { return version >= 9 }

func (p *produce) sent() {}

// appendTo implements framer.
func (p *produce) appendTo(out *output, version int16) { out.b = p.encode(out.b, version) }

func (p *produce) encode(b []byte, version int16) []byte {
	flexible := version >= 9
	b = appendArrayLen(b, len(p.topics), flexible)
	parts := p.parts
	for i := range p.topics {
		t := &p.topics[i]
		if version >= 13 {
			b = append(b, t.id[:]...)
		} else {
			b = appendString(b, t.name, flexible)
		}
		b = appendArrayLen(b, t.n, flexible)
		for j := range parts[:t.n] {
			b = parts[j].encode(b, version, flexible)
		}
		parts = parts[t.n:]
		b = appendNoTags(b, flexible)
	}
	if version >= 1 {
		b = append(b, 0, 0, 0, 0) // not throttled
	}
	return appendNoTags(b, flexible)
}

func (part *producePart) encode(b []byte, version int16, flexible bool) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(part.number))
	b = binary.BigEndian.AppendUint16(b, uint16(part.code))
	b = binary.BigEndian.AppendUint64(b, uint64(part.result.Base))
	if version >= 2 {
		b = binary.BigEndian.AppendUint64(b, uint64(part.result.Time))
	}
	if version >= 5 {
		b = binary.BigEndian.AppendUint64(b, uint64(part.result.LogStart))
	}
	if version >= 8 {
		b = appendArrayLen(b, 0, flexible) // no single records are told
		b = appendNullableString(b, part.message(), flexible)
	}
	return appendNoTags(b, flexible)
}

// message is the text of the error, if there is one that says more than its code.
func (part *producePart) message() *string {
	if part.result.Err == nil || part.result.Err.Error() == "" {
		return nil
	}
	return errorText(part.result.Err)
}
