package server

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	amqp091 "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/vfs"
)

// settingsNode starts a node from a configuration file.
func settingsNode(t *testing.T, text string) *Node {
	t.Helper()
	file := "data-dir = \"/data\"\namqp.listen = \"127.0.0.1:0\"\nkafka.listen = \"127.0.0.1:0\"\nhttp.listen = \"127.0.0.1:0\"\ndisk.wal-file-size = \"4MiB\"\n" + text
	c, warnings, err := Load(Sources{File: writeConfig(t, file)})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	n := startNode(t, vfs.NewMem(), c)
	t.Cleanup(func() { stopNode(t, n) })
	return n
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// TestKafkaSettings checks that what the file says is what clients meet.
func TestKafkaSettings(t *testing.T) {
	n := settingsNode(t, `
kafka.node.id = 7
kafka.num.partitions = 3
kafka.message.max.bytes = 2000
kafka.log.retention.ms = 123456789
kafka.log.retention.bytes = 987654321
kafka.group.max.session.timeout.ms = 20000
kafka.group.min.session.timeout.ms = 10000
`)
	ctx := testContext(t)
	c := kafkaClient(t, n, kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err := c.ProduceSync(ctx, kgo.StringRecord("x"), kgo.StringRecord("y")).FirstErr(); err == nil {
		t.Error("a record without a topic was taken")
	}
	if err := c.ProduceSync(ctx, &kgo.Record{Topic: "t", Value: []byte("small")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	large := &kgo.Record{Topic: "t", Value: make([]byte, 4000)}
	if err := c.ProduceSync(ctx, large).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("message.max.bytes: %v", err)
	}

	meta := kmsg.NewPtrMetadataRequest()
	meta.Topics = append(meta.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("t")})
	m, err := meta.RequestWith(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Brokers) != 1 || m.Brokers[0].NodeID != 7 || m.ControllerID != 7 {
		t.Errorf("node.id: %+v", m.Brokers)
	}
	if len(m.Topics) != 1 || len(m.Topics[0].Partitions) != 3 {
		t.Errorf("num.partitions: %+v", m.Topics)
	}

	configs := map[string]string{}
	describe := kmsg.NewPtrDescribeConfigsRequest()
	describe.Resources = append(describe.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeTopic, ResourceName: "t"})
	d, err := describe.RequestWith(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range d.Resources[0].Configs {
		if x.Value != nil {
			configs[x.Name] = *x.Value
		}
	}
	if configs["retention.ms"] != "123456789" || configs["retention.bytes"] != "987654321" || configs["max.message.bytes"] != "2000" {
		t.Errorf("the topic's configs: %v", configs)
	}

	for timeout, want := range map[time.Duration]error{
		5 * time.Second: kerr.InvalidSessionTimeout, 15 * time.Second: kerr.MemberIDRequired, 25 * time.Second: kerr.InvalidSessionTimeout,
	} {
		join := kmsg.NewPtrJoinGroupRequest()
		join.Group, join.ProtocolType = "g", "consumer"
		join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = int32(timeout.Milliseconds()), 1000
		join.Protocols = append(join.Protocols, kmsg.JoinGroupRequestProtocol{Name: "range"})
		r, err := join.RequestWith(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		if got := kerr.ErrorForCode(r.ErrorCode); !errors.Is(got, want) {
			t.Errorf("session timeout %v: %v, want %v", timeout, got, want)
		}
	}
}

func TestKafkaAdvertised(t *testing.T) {
	n := settingsNode(t, "kafka.advertised = \"broker.example.org:19092\"\nkafka.auto.create.topics.enable = false\n")
	meta := kmsg.NewPtrMetadataRequest()
	meta.AllowAutoTopicCreation = true
	meta.Topics = append(meta.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("t")})
	m, err := meta.RequestWith(testContext(t), kafkaClient(t, n))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Brokers) != 1 || m.Brokers[0].Host != "broker.example.org" || m.Brokers[0].Port != 19092 {
		t.Errorf("advertised: %+v", m.Brokers)
	}
	if got := kerr.ErrorForCode(m.Topics[0].ErrorCode); !errors.Is(got, kerr.UnknownTopicOrPartition) {
		t.Errorf("auto.create.topics.enable: %v", got)
	}
}

func TestAMQPSettings(t *testing.T) {
	n := settingsNode(t, `
amqp.channel-max = 2
amqp.frame-max = 8192
amqp.heartbeat = "7s"
amqp.max-message-size = 1000
amqp.max-connections = 2

[auth]
guest = false

[users.alice]
password-hash = "$pbkdf2-sha256$i=10000$c2FsdHNhbHRzYWx0c2FsdA$zIU3kAQ70fdir/M4byqy5l88PE1BLUC6ZAJgrGRDhV4"
`)
	addr := n.Addrs().AMQP.String()
	if _, err := amqp091.Dial("amqp://guest:guest@" + addr); err == nil {
		t.Error("auth.guest: guest can log in")
	}
	conn, err := amqp091.Dial("amqp://alice:wonderland@" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if conn.Config.ChannelMax != 2 || conn.Config.FrameSize != 8192 || conn.Config.Heartbeat != 7*time.Second {
		t.Errorf("tuned to %+v", conn.Config)
	}
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	closed := ch.NotifyClose(make(chan *amqp091.Error, 1))
	if err := ch.PublishWithContext(testContext(t), "", "q", false, false, amqp091.Publishing{Body: make([]byte, 1001)}); err != nil {
		t.Fatal(err)
	}
	select {
	case e := <-closed:
		if e == nil || e.Code != amqp091.PreconditionFailed {
			t.Errorf("max-message-size: %v", e)
		}
	case <-testContext(t).Done():
		t.Error("max-message-size: the channel stays open")
	}

	second, err := amqp091.Dial("amqp://alice:wonderland@" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	if _, err := amqp091.Dial("amqp://alice:wonderland@" + addr); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("max-connections: %v", err)
	}
}
