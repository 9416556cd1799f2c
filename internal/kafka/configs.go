package kafka

import (
	"strconv"
	"time"

	"waybill/internal/broker"
)

// The sources of configs, as DescribeConfigs tells them.
const (
	sourceTopic   = 1 // set for the topic
	sourceBroker  = 4 // set in the broker's configuration
	sourceDefault = 5
)

// The types of config resources.
const (
	resourceTopic  = 2
	resourceBroker = 4
)

// configTypes are Kafka's numbers for the types of configs.
var configTypes = map[broker.ConfigType]int8{
	broker.ConfigBoolean: 1, broker.ConfigString: 2, broker.ConfigInt: 3,
	broker.ConfigLong: 5, broker.ConfigDouble: 6, broker.ConfigList: 7,
}

// config is one config of a topic or of the broker, with where it comes from.
type config struct {
	name     string
	value    string
	source   int
	readOnly bool
	synonyms []synonym // what would hold, from the strongest; the first one holds
	def      *broker.TopicConfigDefinition
}

type synonym struct {
	name, value string
	source      int
}

// topicConfigs are all configs of a topic that sets the given ones.
func (s *Server) topicConfigs(set map[string]string) []config {
	defs := broker.TopicConfigDefinitions()
	defaults := s.cfg.Broker.TopicDefaults()
	out := make([]config, len(defs))
	for i := range defs {
		d := &defs[i]
		c := config{name: d.Name, def: d}
		if v, ok := set[d.Name]; ok {
			c.synonyms = append(c.synonyms, synonym{d.Name, v, sourceTopic})
		}
		if v, ok := defaults[d.Name]; ok {
			c.synonyms = append(c.synonyms, synonym{d.Broker, v, sourceBroker})
		}
		c.synonyms = append(c.synonyms, synonym{d.Broker, d.Default, sourceDefault})
		c.value, c.source = c.synonyms[0].value, c.synonyms[0].source
		out[i] = c
	}
	return out
}

// brokerConfigs are the settings of this node. They are in its configuration
// file, so they are read-only here.
func (s *Server) brokerConfigs() []config {
	var out []config
	add := func(d *broker.TopicConfigDefinition, value string) {
		c := config{name: d.Name, value: value, readOnly: true, def: d, source: sourceDefault}
		if value != d.Default {
			c.synonyms = append(c.synonyms, synonym{d.Name, value, sourceBroker})
			c.source = sourceBroker
		}
		c.synonyms = append(c.synonyms, synonym{d.Name, d.Default, sourceDefault})
		out = append(out, c)
	}
	standard, now := settingValues(DefaultSettings()), settingValues(s.cfg.Settings)
	for _, list := range [][]setting{standard, now} {
		for i := range list {
			if list[i].name == "default.replication.factor" && list[i].value == "-1" {
				list[i].value = strconv.Itoa(s.cfg.Broker.DefaultReplicationFactor())
			}
		}
	}
	for i, v := range now {
		add(&broker.TopicConfigDefinition{Name: v.name, Type: v.kind, Default: standard[i].value, Doc: v.doc}, v.value)
	}
	node := strconv.Itoa(int(s.cfg.NodeID))
	add(&broker.TopicConfigDefinition{Name: "broker.id", Type: broker.ConfigInt, Default: "-1", Doc: "The id of this node."}, node)
	add(&broker.TopicConfigDefinition{Name: "node.id", Type: broker.ConfigInt, Default: "-1", Doc: "The id of this node."}, node)
	for _, d := range broker.TopicConfigDefinitions() {
		value := d.Default
		if v, ok := s.cfg.Broker.TopicDefaults()[d.Name]; ok {
			value = v
		}
		d.Name = d.Broker
		add(&d, value)
	}
	return out
}

// setting is one of the Settings under Kafka's name.
type setting struct {
	name  string
	kind  broker.ConfigType
	value string
	doc   string
}

// settingValues lists settings, always in the same order.
func settingValues(s Settings) []setting {
	number := func(name string, n int64, doc string) setting {
		return setting{name, broker.ConfigInt, strconv.FormatInt(n, 10), doc}
	}
	millis := func(name string, d time.Duration, doc string) setting {
		return number(name, d.Milliseconds(), doc)
	}
	return []setting{
		{"auto.create.topics.enable", broker.ConfigBoolean, strconv.FormatBool(s.AutoCreateTopics), "Whether a topic is created when a client first asks for it."},
		millis("connections.max.idle.ms", s.IdleTimeout, "How long a connection may be silent."),
		number("default.replication.factor", int64(s.DefaultReplicationFactor), "Replicas of a topic that is created without a number."),
		number("fetch.max.bytes", int64(s.FetchMaxBytes), "The largest Fetch response, in bytes."),
		millis("group.initial.rebalance.delay.ms", s.GroupInitialRebalanceDelay, "How long a new group waits for more members."),
		millis("group.max.session.timeout.ms", s.GroupMaxSessionTimeout, "The longest session timeout that a member may ask for."),
		number("group.max.size", int64(s.GroupMaxSize), "The largest number of members of a group."),
		millis("group.min.session.timeout.ms", s.GroupMinSessionTimeout, "The shortest session timeout that a member may ask for."),
		number("max.connections", int64(s.MaxConnections), "The largest number of connections."),
		number("num.partitions", int64(s.NumPartitions), "Partitions of a topic that is created without a number."),
		number("offset.metadata.max.bytes", int64(s.OffsetMetadataMaxBytes), "The largest metadata of an offset commit, in bytes."),
		number("offsets.retention.minutes", int64(s.OffsetsRetention/time.Minute), "How long the offsets of a group without members are kept."),
		number("socket.request.max.bytes", int64(s.MaxRequestBytes), "The largest request, in bytes."),
	}
}
