package queue

import (
	"fmt"
	"math"
	"strings"
	"time"

	"waybill/internal/record"
)

// Config is what the optional arguments of a queue's declaration ask for.
type Config struct {
	MessageTTL   time.Duration // x-message-ttl; record.NoTTL when there is none
	Expires      time.Duration // x-expires: unused for so long, the queue is deleted; 0 never
	MaxLength    int64         // x-max-length: ready messages; -1 unlimited
	MaxBytes     int64         // x-max-length-bytes: of the bodies of ready messages; -1 unlimited
	Overflow     OverflowPolicy
	SingleActive bool // x-single-active-consumer

	DeadLetter         bool   // x-dead-letter-exchange is set
	DeadLetterExchange string // "" is the default exchange
	DeadLetterKey      string // x-dead-letter-routing-key
	HasDeadLetterKey   bool   // it is set; otherwise a message keeps its own
}

// OverflowPolicy is what happens to a publish beyond the length limit
// (x-overflow).
type OverflowPolicy uint8

const (
	DropHead         OverflowPolicy = iota // the oldest ready message goes
	RejectPublish                          // the new one is refused (nack)
	RejectPublishDLX                       // the same, and it is dead-lettered
)

// ArgError is a declaration's argument that cannot be served. It is the
// client's mistake: PRECONDITION_FAILED.
type ArgError struct {
	Key     string
	Problem string
}

func (e *ArgError) Error() string { return fmt.Sprintf("invalid arg '%s': %s", e.Key, e.Problem) }

// maxName is the length of the longest exchange name or routing key, which are
// short strings of AMQP.
const maxName = 255

// maxMillis is the longest duration that an argument may ask for.
const maxMillis = math.MaxUint32

// unsupported are arguments that would change what the client gets, and that
// are not served yet. Silently ignoring them would be worse.
var unsupported = map[string]string{
	"x-max-priority":                  "priority queues are not supported yet; declare the queue without it",
	"x-delivery-limit":                "delivery limits are not supported yet (messages are redelivered without limit); declare the queue without it, or with -1",
	"x-consumer-timeout":              "consumer timeouts are not supported yet; declare the queue without it",
	"x-delayed-retry-type":            "delayed retries are not supported yet; declare the queue without it",
	"x-max-age":                       "only streams have it, and they are not supported yet",
	"x-stream-max-segment-size-bytes": "only streams have it, and they are not supported yet",
	"x-stream-filter-size-bytes":      "only streams have it, and they are not supported yet",
}

// ParseConfig reads the arguments of a queue's declaration. Arguments that it
// does not know are accepted; the error is an *ArgError.
func ParseConfig(args record.Table) (Config, error) {
	p := parser{args: args}
	c := Config{
		MessageTTL:   record.NoTTL,
		MaxLength:    p.integer("x-max-length", 0, math.MaxInt64, -1),
		MaxBytes:     p.integer("x-max-length-bytes", 0, math.MaxInt64, -1),
		Expires:      time.Duration(p.integer("x-expires", 1, maxMillis, 0)) * time.Millisecond,
		SingleActive: p.boolean("x-single-active-consumer"),
	}
	if ms := p.integer("x-message-ttl", 0, maxMillis, -1); ms >= 0 {
		c.MessageTTL = time.Duration(ms) * time.Millisecond
	}
	c.DeadLetterExchange, c.DeadLetter = p.name("x-dead-letter-exchange")
	c.DeadLetterKey, c.HasDeadLetterKey = p.name("x-dead-letter-routing-key")
	if c.HasDeadLetterKey && !c.DeadLetter {
		p.fail("x-dead-letter-routing-key", "needs x-dead-letter-exchange")
	}
	c.Overflow = p.overflow(c.DeadLetter)
	p.oneOf("x-dead-letter-strategy", "at-most-once", "at-least-once")
	p.oneOf("x-queue-mode", "default", "lazy")
	p.integer("x-queue-version", 1, 2, 0)
	p.queueType()
	p.refuse()
	return c, p.err()
}

// parser collects the first mistake, in the order of the keys, so that the
// same declaration always gets the same answer.
type parser struct {
	args  record.Table
	first *ArgError
}

func (p *parser) err() error {
	if p.first == nil {
		return nil
	}
	return p.first
}

func (p *parser) fail(key, format string, values ...any) {
	if p.first == nil || key < p.first.Key {
		p.first = &ArgError{Key: key, Problem: fmt.Sprintf(format, values...)}
	}
}

func (p *parser) integer(key string, low, high, absent int64) int64 {
	v, ok := p.args[key]
	if !ok {
		return absent
	}
	n, ok := Integer(v)
	switch {
	case !ok:
		p.fail(key, "must be an integer, not %s", typeName(v))
	case n < 0 && low >= 0:
		p.fail(key, "must not be negative, got %d", n)
	case n < low || n > high:
		p.fail(key, "must be between %d and %d, got %d", low, high, n)
	default:
		return n
	}
	return absent
}

func (p *parser) boolean(key string) bool {
	v, ok := p.args[key]
	if !ok {
		return false
	}
	b, ok := v.(bool)
	if !ok {
		p.fail(key, "must be a boolean, not %s", typeName(v))
	}
	return b
}

func (p *parser) text(key string) (s string, set bool) {
	v, ok := p.args[key]
	if !ok {
		return "", false
	}
	s, ok = v.(string)
	if !ok {
		p.fail(key, "must be a string, not %s", typeName(v))
	}
	return s, true
}

// name is a text that messages are published with: a short string.
func (p *parser) name(key string) (s string, set bool) {
	s, set = p.text(key)
	if len(s) > maxName {
		p.fail(key, "must be at most %d bytes long, got %d", maxName, len(s))
	}
	return s, set
}

// oneOf returns the index of the value among words, 0 when there is none.
func (p *parser) oneOf(key string, words ...string) int {
	s, set := p.text(key)
	if !set {
		return 0
	}
	for i, w := range words {
		if s == w {
			return i
		}
	}
	p.fail(key, "must be one of %s, got '%s'", strings.Join(words, ", "), s)
	return 0
}

func (p *parser) overflow(deadLetter bool) OverflowPolicy {
	const key = "x-overflow"
	policy := OverflowPolicy(p.oneOf(key, "drop-head", "reject-publish", "reject-publish-dlx"))
	if policy == RejectPublishDLX && !deadLetter {
		p.fail(key, "reject-publish-dlx needs x-dead-letter-exchange")
	}
	return policy
}

func (p *parser) queueType() {
	const key = "x-queue-type"
	switch s, set := p.text(key); {
	case !set || s == "classic" || s == "quorum":
	case s == "stream":
		p.fail(key, "streams are not supported yet; declare a classic or quorum queue, or use a Kafka topic")
	default:
		p.fail(key, "unsupported queue type '%s'", s)
	}
}

func (p *parser) refuse() {
	for key, why := range unsupported {
		v, ok := p.args[key]
		if n, isInt := Integer(v); key == "x-delivery-limit" && isInt && n == -1 {
			continue // unlimited, which is what we do
		}
		if ok {
			p.fail(key, "%s", why)
		}
	}
}

// Integer returns the value of a table field of any integer type.
func Integer(v any) (n int64, ok bool) {
	switch v := v.(type) {
	case int:
		return int64(v), true
	case int8:
		return int64(v), true
	case int16:
		return int64(v), true
	case int32:
		return int64(v), true
	case int64:
		return v, true
	case uint8:
		return int64(v), true
	case uint16:
		return int64(v), true
	case uint32:
		return int64(v), true
	}
	return 0, false
}

// typeName names a field's type in AMQP's words.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "void"
	case bool:
		return "a boolean"
	case string:
		return "a string"
	case []byte:
		return "a byte array"
	case float32, float64:
		return "a floating-point number"
	case record.Timestamp:
		return "a timestamp"
	case record.Decimal:
		return "a decimal"
	case []any:
		return "an array"
	case record.Table:
		return "a table"
	}
	if _, ok := Integer(v); ok {
		return "an integer"
	}
	return fmt.Sprintf("%T", v)
}
