package broker

import (
	"errors"
	"fmt"

	"waybill/internal/topic"
)

// TopicConfigDefinition describes one topic config.
type TopicConfigDefinition = topic.Definition

// ConfigType is the type of a config.
type ConfigType = topic.Type

// The types of topic configs.
const (
	ConfigBoolean = topic.Boolean
	ConfigString  = topic.String
	ConfigInt     = topic.Int
	ConfigLong    = topic.Long
	ConfigDouble  = topic.Double
	ConfigList    = topic.List
)

// TopicConfigDefinitions lists all topic configs in the order of their names.
func TopicConfigDefinitions() []TopicConfigDefinition { return topic.Definitions() }

// TopicDefaults are the topic configs that hold where a topic sets none.
func (b *Broker) TopicDefaults() map[string]string { return b.cfg.TopicDefaults }

// CheckTopicConfigs refuses configs that a topic cannot have, with a reason.
func (b *Broker) CheckTopicConfigs(configs map[string]string) error {
	return b.checkTopicConfigs(configs, b.DefaultReplicationFactor())
}

// CheckAlter refuses configs that a topic which exists cannot have.
func (b *Broker) CheckAlter(name string, configs map[string]string) error {
	factor := b.DefaultReplicationFactor()
	if t, ok := b.Topic(name); ok {
		factor = t.ReplicationFactor()
	}
	return b.checkTopicConfigs(configs, factor)
}

// checkTopicConfigs: a topic with more min.insync.replicas than replicas could
// never be written to.
func (b *Broker) checkTopicConfigs(configs map[string]string, factor int) error {
	c, err := topic.ParseConfig(b.cfg.TopicDefaults, configs)
	var refused *topic.Error
	if errors.As(err, &refused) {
		return topicError(err)
	}
	if c.MinInsync > factor {
		return &Error{Kind: Invalid, Code: codeInvalidConfig,
			Text: fmt.Sprintf("min.insync.replicas = %d, but the topic has a replication factor of %d: nothing could ever be written", c.MinInsync, factor)}
	}
	return nil
}
