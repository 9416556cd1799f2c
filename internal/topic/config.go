package topic

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Config is the set of topic configs in the form in which they are enforced.
type Config struct {
	RetentionMs     int64 // -1: for ever
	RetentionBytes  int64 // -1: unlimited
	MaxMessageBytes int   // of one batch
	MinInsync       int
	LogAppendTime   bool
	TimestampBefore int64 // how far a record's timestamp may lie in the past, ms
	TimestampAfter  int64 // and in the future, ms
}

// Type is the type of a config.
type Type uint8

// The types of configs, as Kafka tells them to its clients.
const (
	Boolean Type = iota
	String
	Int
	Long
	Double
	List
)

// Definition describes one topic config.
type Definition struct {
	Name    string
	Broker  string // the name of the broker setting that is its default
	Type    Type
	Default string
	// Effect is false for what is accepted for the sake of clients and
	// changes nothing.
	Effect bool
	Doc    string

	min, max int64    // of a number
	allowed  []string // values of a string; a number may have any from min to max
	refused  string   // why other values that Kafka knows are refused
	set      func(*Config, int64, string)
}

const maxLong = math.MaxInt64

// definitions is the table of all topic configs, in the order of their names.
var definitions = []Definition{
	{Name: "cleanup.policy", Broker: "log.cleanup.policy", Type: List, Default: "delete", Effect: true, allowed: []string{"delete"},
		refused: "compaction is not implemented yet",
		Doc:     "What happens to old records: delete drops what retention.ms and retention.bytes do not keep."},
	{Name: "compression.gzip.level", Broker: "compression.gzip.level", Type: Int, Default: "-1", min: -1, max: 9, Doc: "No effect: batches are stored as they were sent."},
	{Name: "compression.lz4.level", Broker: "compression.lz4.level", Type: Int, Default: "9", min: 1, max: 17, Doc: "No effect: batches are stored as they were sent."},
	{Name: "compression.type", Broker: "compression.type", Type: String, Default: "producer", Effect: true, allowed: []string{"producer"},
		refused: "batches are stored as they were sent; choose the codec in the producer",
		Doc:     "The codec of stored batches: the one that the producer chose."},
	{Name: "compression.zstd.level", Broker: "compression.zstd.level", Type: Int, Default: "3", min: -131072, max: 22, Doc: "No effect: batches are stored as they were sent."},
	{Name: "delete.retention.ms", Broker: "log.cleaner.delete.retention.ms", Type: Long, Default: "86400000", max: maxLong, Doc: "No effect without compaction."},
	{Name: "file.delete.delay.ms", Broker: "log.segment.delete.delay.ms", Type: Long, Default: "60000", max: maxLong, Doc: "No effect: files are shared by all logs."},
	{Name: "flush.messages", Broker: "log.flush.interval.messages", Type: Long, Default: "9223372036854775807", min: 1, max: maxLong, Doc: "No effect: everything is synced before it is acknowledged."},
	{Name: "flush.ms", Broker: "log.flush.interval.ms", Type: Long, Default: "9223372036854775807", max: maxLong, Doc: "No effect: everything is synced before it is acknowledged."},
	{Name: "index.interval.bytes", Broker: "log.index.interval.bytes", Type: Int, Default: "4096", max: math.MaxInt32, Doc: "No effect: the index chooses its own grain."},
	{Name: "max.compaction.lag.ms", Broker: "log.cleaner.max.compaction.lag.ms", Type: Long, Default: "9223372036854775807", min: 1, max: maxLong, Doc: "No effect without compaction."},
	{Name: "max.message.bytes", Broker: "message.max.bytes", Type: Int, Default: "1048588", Effect: true, max: 64 << 20,
		Doc: "The largest record batch, in bytes, as it is sent.",
		set: func(c *Config, n int64, _ string) { c.MaxMessageBytes = int(n) }},
	{Name: "message.timestamp.after.max.ms", Broker: "log.message.timestamp.after.max.ms", Type: Long, Default: "3600000", Effect: true, max: maxLong,
		Doc: "How far a record's timestamp may lie in the future, with message.timestamp.type CreateTime.",
		set: func(c *Config, n int64, _ string) { c.TimestampAfter = n }},
	{Name: "message.timestamp.before.max.ms", Broker: "log.message.timestamp.before.max.ms", Type: Long, Default: "9223372036854775807", Effect: true, max: maxLong,
		Doc: "How far a record's timestamp may lie in the past, with message.timestamp.type CreateTime.",
		set: func(c *Config, n int64, _ string) { c.TimestampBefore = n }},
	{Name: "message.timestamp.type", Broker: "log.message.timestamp.type", Type: String, Default: "CreateTime", Effect: true, allowed: []string{"CreateTime", "LogAppendTime"},
		Doc: "Whether records keep the producer's timestamps or get the time of their append.",
		set: func(c *Config, _ int64, s string) { c.LogAppendTime = s == "LogAppendTime" }},
	{Name: "min.cleanable.dirty.ratio", Broker: "log.cleaner.min.cleanable.ratio", Type: Double, Default: "0.5", max: 1, Doc: "No effect without compaction."},
	{Name: "min.compaction.lag.ms", Broker: "log.cleaner.min.compaction.lag.ms", Type: Long, Default: "0", max: maxLong, Doc: "No effect without compaction."},
	{Name: "min.insync.replicas", Broker: "min.insync.replicas", Type: Int, Default: "1", Effect: true, min: 1, max: math.MaxInt32,
		Doc: "How many replicas must have a batch before it is acknowledged, whatever acks says.",
		set: func(c *Config, n int64, _ string) { c.MinInsync = int(n) }},
	{Name: "preallocate", Broker: "log.preallocate", Type: Boolean, Default: "false", Doc: "No effect: the write-ahead log is always preallocated."},
	{Name: "retention.bytes", Broker: "log.retention.bytes", Type: Long, Default: "-1", Effect: true, min: -1, max: maxLong,
		Doc: "The size of a partition, in bytes, beyond which old records are dropped; -1 is unlimited.",
		set: func(c *Config, n int64, _ string) { c.RetentionBytes = n }},
	{Name: "retention.ms", Broker: "log.retention.ms", Type: Long, Default: "604800000", Effect: true, min: -1, max: maxLong,
		Doc: "The time after their append when records are dropped; -1 is never.",
		set: func(c *Config, n int64, _ string) { c.RetentionMs = n }},
	{Name: "segment.bytes", Broker: "log.segment.bytes", Type: Int, Default: "1073741824", min: 14, max: math.MaxInt32, Doc: "No effect: retention works on stretches of about 1 MiB."},
	{Name: "segment.index.bytes", Broker: "log.index.size.max.bytes", Type: Int, Default: "10485760", min: 4, max: math.MaxInt32, Doc: "No effect: the index chooses its own size."},
	{Name: "segment.jitter.ms", Broker: "log.roll.jitter.ms", Type: Long, Default: "0", max: maxLong, Doc: "No effect: segments are not rolled by time."},
	{Name: "segment.ms", Broker: "log.roll.ms", Type: Long, Default: "604800000", min: 1, max: maxLong, Doc: "No effect: retention works on stretches of at most 10 minutes."},
	{Name: "unclean.leader.election.enable", Broker: "unclean.leader.election.enable", Type: Boolean, Default: "false", Effect: true, allowed: []string{"false"},
		refused: "it would lose acknowledged records",
		Doc:     "Always false: only a replica that has every acknowledged record becomes the leader."},
}

// Definitions lists all topic configs in the order of their names.
func Definitions() []Definition { return definitions }

// Define finds a topic config by name.
func Define(name string) (*Definition, bool) {
	for i := range definitions {
		if definitions[i].Name == name {
			return &definitions[i], true
		}
	}
	return nil, false
}

// ParseConfig checks configs and returns what they come to. A later layer goes
// before an earlier one; what none sets has its default. An *Error names the config
// that is wrong, and what it may be.
func ParseConfig(layers ...map[string]string) (*Config, error) {
	c := &Config{}
	for i := range definitions {
		if err := definitions[i].apply(c, definitions[i].Default); err != nil {
			panic("topic: default: " + err.Error())
		}
	}
	for _, layer := range layers {
		for name, value := range layer {
			d, ok := Define(name)
			if !ok {
				return nil, refuse(BadConfig, "unknown topic config %q", name)
			}
			if err := d.apply(c, value); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// apply checks a value and, where it has an effect, sets it.
func (d *Definition) apply(c *Config, value string) error {
	var n int64
	var err error
	switch d.Type {
	case Int, Long:
		n, err = strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err == nil && (n < d.min || n > d.max) {
			err = fmt.Errorf("must be from %d to %d", d.min, d.max)
		}
	case Double:
		var f float64
		f, err = strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err == nil && !(f >= float64(d.min) && f <= float64(d.max)) {
			err = fmt.Errorf("must be from %d to %d", d.min, d.max)
		}
	case Boolean:
		_, err = strconv.ParseBool(value)
	}
	if err != nil {
		return refuse(BadConfig, "%s = %q: not a valid %s (%v)", d.Name, value, d.Type, err)
	}
	if d.allowed != nil && !d.allows(value) {
		return refuse(BadConfig, "%s = %q: must be %s%s", d.Name, value, strings.Join(d.allowed, " or "), d.why())
	}
	if d.set != nil {
		d.set(c, n, value)
	}
	return nil
}

func (d *Definition) allows(value string) bool {
	for _, a := range d.allowed {
		if a == value {
			return true
		}
	}
	return false
}

func (d *Definition) why() string {
	if d.refused == "" {
		return ""
	}
	return ": " + d.refused
}

// String is the type's name in messages.
func (t Type) String() string {
	return [...]string{"boolean", "string", "int", "long", "double", "list"}[t]
}
