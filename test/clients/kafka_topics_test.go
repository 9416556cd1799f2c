//go:build clients

package clients

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func kafkaTopics(a *asker) {
	create := func(what string, change func(r *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic)) {
		request := kmsg.NewPtrCreateTopicsRequest()
		request.TimeoutMillis = 10_000
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "made", 1, 1
		change(request, &topic)
		request.Topics = append(request.Topics, topic)
		made := ask[*kmsg.CreateTopicsResponse](a, request).Topics[0]
		a.writef("create %s: %s", what, code(made.ErrorCode))
		if made.ErrorCode == 0 {
			a.writef("  %d partitions, replication factor %d", made.NumPartitions, made.ReplicationFactor)
		}
	}
	config := func(key, value string) func(*kmsg.CreateTopicsRequest, *kmsg.CreateTopicsRequestTopic) {
		return func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = key, kmsg.StringPtr(value)
			t.Topic = "with." + key + "." + value
			t.Configs = append(t.Configs, c)
		}
	}
	named := func(name string) func(*kmsg.CreateTopicsRequest, *kmsg.CreateTopicsRequestTopic) {
		return func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) { t.Topic = name }
	}
	create("validated only", func(r *kmsg.CreateTopicsRequest, _ *kmsg.CreateTopicsRequestTopic) { r.ValidateOnly = true })
	create("a topic", named("made"))
	create("it again", named("made"))
	create("it again, validated only", func(r *kmsg.CreateTopicsRequest, _ *kmsg.CreateTopicsRequestTopic) { r.ValidateOnly = true })
	create("with default numbers", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		t.Topic, t.NumPartitions, t.ReplicationFactor = "defaults", -1, -1
	})
	create("twice in a request", func(r *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		t.Topic = "twice"
		r.Topics = append(r.Topics, *t)
	})
	create("with 0 partitions", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		t.Topic, t.NumPartitions = "none", 0
	})
	create("with -2 partitions", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		t.Topic, t.NumPartitions = "none", -2
	})
	create("with replication factor 0", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		t.Topic, t.ReplicationFactor = "none", 0
	})
	create("with replication factor 3", func(_ *kmsg.CreateTopicsRequest, t *kmsg.CreateTopicsRequestTopic) {
		t.Topic, t.ReplicationFactor = "none", 3
	})
	for _, name := range []string{"", ".", "..", "a b", "a/b", "ümlaut", strings.Repeat("x", 249), strings.Repeat("x", 250)} {
		create(fmt.Sprintf("%.20q", name), named(name))
	}
	create("with a config", config("retention.ms", "1000"))
	create("with an unknown config", config("no.such.config", "1"))
	create("with a bad number", config("retention.ms", "long"))
	create("with a bad choice", config("cleanup.policy", "burn"))
	create("with a number out of range", config("max.message.bytes", "-1"))

	grow := func(topic string, count int32) {
		request := kmsg.NewPtrCreatePartitionsRequest()
		request.TimeoutMillis = 10_000
		t := kmsg.NewCreatePartitionsRequestTopic()
		t.Topic, t.Count = topic, count
		request.Topics = append(request.Topics, t)
		a.writef("%s to %d partitions: %s", topic, count,
			code(ask[*kmsg.CreatePartitionsResponse](a, request).Topics[0].ErrorCode))
	}
	grow("made", 3)
	grow("made", 3)
	grow("made", 2)
	grow("made", 0)
	grow("nowhere", 3)

	remove := func(topic string) {
		request := kmsg.NewPtrDeleteTopicsRequest()
		request.TimeoutMillis = 10_000
		request.TopicNames = []string{topic}
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = kmsg.StringPtr(topic)
		request.Topics = append(request.Topics, t)
		a.writef("delete %s: %s", topic, code(ask[*kmsg.DeleteTopicsResponse](a, request).Topics[0].ErrorCode))
	}
	remove("made")
	remove("made")
	remove("nowhere")
	create("it after its deletion", named("made"))
}

func kafkaMetadata(a *asker) {
	show := func(what string, r *kmsg.MetadataResponse) {
		a.writef("%s: %d brokers, %d topics", what, len(r.Brokers), len(r.Topics))
		for _, topic := range r.Topics {
			a.writef("  %q: %s, %d partitions", *topic.Topic, code(topic.ErrorCode), len(topic.Partitions))
			for _, p := range topic.Partitions {
				a.writef("    %d: %s, %d replicas, %d in sync, %d offline", p.Partition, code(p.ErrorCode),
					len(p.Replicas), len(p.ISR), len(p.OfflineReplicas))
			}
		}
	}
	show("a missing topic", a.describe("missing", false))
	show("an invalid name", a.describe("a b", false))
	show("an invalid name, to be created", a.describe("a b", true))
	show("an empty name", a.describe("", false))
	a.until("the topic on first use", func() bool { return a.describe("used", true).Topics[0].ErrorCode == 0 })
	show("a topic created on first use", a.describe("used", false))
	none := kmsg.NewPtrMetadataRequest()
	none.Topics = []kmsg.MetadataRequestTopic{}
	show("no topics", ask[*kmsg.MetadataResponse](a, none))
}

func kafkaConfigs(a *asker) {
	a.topic("configs", 1)
	describe := func(what string, kind kmsg.ConfigResourceType, name string, keys ...string) {
		request := kmsg.NewPtrDescribeConfigsRequest()
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName, resource.ConfigNames = kind, name, keys
		request.Resources = append(request.Resources, resource)
		for _, r := range ask[*kmsg.DescribeConfigsResponse](a, request).Resources {
			a.writef("describe %s: %s", what, code(r.ErrorCode))
			if len(keys) == 0 {
				continue
			}
			slices.SortFunc(r.Configs, func(a, b kmsg.DescribeConfigsResponseResourceConfig) int {
				return strings.Compare(a.Name, b.Name)
			})
			for _, c := range r.Configs {
				value := "null"
				if c.Value != nil {
					value = *c.Value
				}
				a.writef("  %s = %q, %v, read only %v, sensitive %v, %v", c.Name, value, c.Source, c.ReadOnly, c.IsSensitive, c.ConfigType)
			}
		}
	}
	alter := func(what string, kind kmsg.ConfigResourceType, name, key string, op kmsg.IncrementalAlterConfigOp, value *string) {
		request := kmsg.NewPtrIncrementalAlterConfigsRequest()
		resource := kmsg.NewIncrementalAlterConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kind, name
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Op, c.Value = key, op, value
		resource.Configs = append(resource.Configs, c)
		request.Resources = append(request.Resources, resource)
		a.writef("alter %s: %s", what, code(ask[*kmsg.IncrementalAlterConfigsResponse](a, request).Resources[0].ErrorCode))
	}
	topic := kmsg.ConfigResourceTypeTopic
	text := kmsg.StringPtr
	keys := []string{"retention.ms", "cleanup.policy", "max.message.bytes", "compression.type"}
	describe("a topic", topic, "configs", keys...)
	describe("an unknown key", topic, "configs", "no.such.config")
	describe("a missing topic", topic, "nowhere", keys...)
	describe("an invalid name", topic, "a b", keys...)
	describe("a missing broker", kmsg.ConfigResourceTypeBroker, "77")
	describe("a broker that is no number", kmsg.ConfigResourceTypeBroker, "one")
	alter("a topic", topic, "configs", "retention.ms", kmsg.IncrementalAlterConfigOpSet, text("5000"))
	a.until("the altered config", func() bool {
		request := kmsg.NewPtrDescribeConfigsRequest()
		resource := kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName, resource.ConfigNames = topic, "configs", []string{"retention.ms"}
		request.Resources = append(request.Resources, resource)
		return *ask[*kmsg.DescribeConfigsResponse](a, request).Resources[0].Configs[0].Value == "5000"
	})
	describe("the altered topic", topic, "configs", "retention.ms")
	alter("an unknown key", topic, "configs", "no.such.config", kmsg.IncrementalAlterConfigOpSet, text("1"))
	alter("a bad value", topic, "configs", "retention.ms", kmsg.IncrementalAlterConfigOpSet, text("soon"))
	alter("no value", topic, "configs", "retention.ms", kmsg.IncrementalAlterConfigOpSet, nil)
	alter("append to a number", topic, "configs", "retention.ms", kmsg.IncrementalAlterConfigOpAppend, text("1"))
	alter("a missing topic", topic, "nowhere", "retention.ms", kmsg.IncrementalAlterConfigOpSet, text("1"))
	alter("back to the default", topic, "configs", "retention.ms", kmsg.IncrementalAlterConfigOpDelete, nil)
}
