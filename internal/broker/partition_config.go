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
	return checkTopicConfigs(b.cfg.TopicDefaults, configs)
}

func checkTopicConfigs(layers ...map[string]string) error {
	c, err := topic.ParseConfig(layers...)
	var refused *topic.Error
	if errors.As(err, &refused) {
		return topicError(err)
	}
	if c.MinInsync > replicas {
		return &Error{Kind: Invalid, Code: codeInvalidConfig,
			Text: fmt.Sprintf("min.insync.replicas = %d, but a topic has %d replica: nothing could ever be written", c.MinInsync, replicas)}
	}
	return nil
}
