package queue

import (
	"strings"
	"testing"
	"time"

	"waybill/internal/record"
)

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig(record.Table{
		"x-message-ttl":             int32(1500),
		"x-expires":                 int64(60000),
		"x-max-length":              uint8(10),
		"x-max-length-bytes":        int16(1000),
		"x-overflow":                "reject-publish",
		"x-single-active-consumer":  true,
		"x-dead-letter-exchange":    "",
		"x-dead-letter-routing-key": "dead",
		"x-queue-type":              "quorum",
		"x-delivery-limit":          int32(-1),
		"x-anything":                nil,
	})
	want := Config{
		MessageTTL: 1500 * time.Millisecond, Expires: time.Minute, MaxLength: 10, MaxBytes: 1000,
		Overflow: RejectPublish, SingleActive: true, DeadLetter: true, DeadLetterKey: "dead", HasDeadLetterKey: true,
	}
	if err != nil || c != want {
		t.Fatalf("got %+v, %v", c, err)
	}
	c, err = ParseConfig(nil)
	if want := (Config{MessageTTL: record.NoTTL, MaxLength: -1, MaxBytes: -1}); err != nil || c != want {
		t.Fatalf("got %+v, %v", c, err)
	}
}

// A longer key does not fit into a stored message.
func TestParseConfigRefusesALongKey(t *testing.T) {
	const key = "x-dead-letter-routing-key"
	for n, ok := range map[int]bool{255: true, 256: false} {
		_, err := ParseConfig(record.Table{key: strings.Repeat("x", n), "x-dead-letter-exchange": ""})
		if (err == nil) != ok {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for _, c := range []struct {
		key   string
		value any
		text  string
	}{
		{"x-message-ttl", int32(-1), "must not be negative, got -1"},
		{"x-message-ttl", "5", "must be an integer, not a string"},
		{"x-message-ttl", int64(1 << 40), "must be between 0 and 4294967295"},
		{"x-expires", int32(0), "must be between 1 and"},
		{"x-max-length", 1.5, "not a floating-point number"},
		{"x-max-length-bytes", true, "not a boolean"},
		{"x-overflow", "drop-tail", "must be one of drop-head, reject-publish, reject-publish-dlx"},
		{"x-overflow", "reject-publish-dlx", "needs x-dead-letter-exchange"},
		{"x-single-active-consumer", "yes", "must be a boolean"},
		{"x-dead-letter-exchange", int32(1), "must be a string"},
		{"x-dead-letter-routing-key", "k", "needs x-dead-letter-exchange"},
		{"x-dead-letter-exchange", strings.Repeat("x", 256), "must be at most 255 bytes"},
		{"x-queue-type", "stream", "streams are not supported yet"},
		{"x-queue-type", "heap", "unsupported queue type"},
		{"x-max-priority", int32(10), "not supported yet"},
		{"x-delivery-limit", int32(10), "not supported yet"},
	} {
		_, err := ParseConfig(record.Table{c.key: c.value})
		if err == nil || !strings.Contains(err.Error(), "invalid arg '"+c.key+"'") || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s = %v: %v", c.key, c.value, err)
		}
	}
}
