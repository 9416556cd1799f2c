package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"waybill/internal/vfs"
)

// client is a franz-go client of the node.
func (n *groupNode) client(opts ...kgo.Opt) *kgo.Client {
	n.t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.addr), kgo.AllowAutoTopicCreation(), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(cl.Close)
	return cl
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// produce sends count records, and returns their values by offset.
func produceValues(t testing.TB, cl *kgo.Client, topic string, count int) []string {
	t.Helper()
	var records []*kgo.Record
	for i := range count {
		records = append(records, &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "value %d of %s", i, topic)})
	}
	values := make([]string, count)
	for _, r := range cl.ProduceSync(testContext(t), records...) {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		values[r.Record.Offset] = string(r.Record.Value)
	}
	return values
}

// consumeValues reads a topic of one partition from its start.
func consumeValues(t testing.TB, n *groupNode, topic string, count int) (values []string) {
	t.Helper()
	cl := n.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	defer cl.Close()
	for len(values) < count {
		fetches := cl.PollFetches(testContext(t))
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if int(r.Offset) != len(values) {
				t.Errorf("offset %d after %d records", r.Offset, len(values))
			}
			values = append(values, string(r.Value))
		})
	}
	return values
}

func TestProduceAndConsumeAcrossRestart(t *testing.T) {
	fs := vfs.NewMem()
	n := startGroupNode(t, fs, nil)
	want := map[string][]string{}
	for name, codec := range map[string]kgo.CompressionCodec{
		"plain": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	} {
		cl := n.client(kgo.ProducerBatchCompression(codec))
		want[name] = produceValues(t, cl, name, 1000)
		cl.Close()
	}
	for name, values := range want {
		if got := consumeValues(t, n, name, len(values)); !slices.Equal(got, values) {
			t.Errorf("%s: other values than were produced", name)
		}
	}
	n.stop()
	n = startGroupNode(t, fs, nil)
	defer n.stop()
	for name, values := range want {
		if got := consumeValues(t, n, name, len(values)); !slices.Equal(got, values) {
			t.Errorf("%s after the restart: other values than were produced", name)
		}
	}
}

func TestEveryAcksIsServed(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	for name, acks := range map[string]kgo.Acks{"none": kgo.NoAck(), "leader": kgo.LeaderAck(), "all": kgo.AllISRAcks()} {
		cl := n.client(kgo.RequiredAcks(acks), kgo.DisableIdempotentWrite())
		for _, r := range cl.ProduceSync(testContext(t), kgo.StringRecord("x"), kgo.StringRecord("y")) {
			if r.Err == nil {
				t.Error("a record without a topic was accepted")
			}
		}
		for i := range 10 {
			r := &kgo.Record{Topic: name, Value: fmt.Appendf(nil, "%d", i)}
			if err := cl.ProduceSync(testContext(t), r).FirstErr(); err != nil {
				t.Fatal(name, err)
			}
		}
		cl.Close()
		if got := consumeValues(t, n, name, 10); got[9] != "9" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// TestFetchWaitsForRecords asks for three partitions at a time, as a client does: each record
// comes alone, and must not be held until the next one is there. (A stock client may
// ask for those partitions first whose offsets it knows first, and for the others when it has its answer.)
func TestFetchWaitsForRecords(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	topic := n.createTopic("later", 3)
	producer := n.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for _, with := range []int32{2, 1} {
		req := fetchRequest(1, 1<<20, 2*time.Minute,
			want{topic, 0, 0, 1 << 20}, want{topic, 1, 0, 1 << 20}, want{topic, 2, int64(2 - with), 1 << 20})
		req.Version = 11
		send(t, n.conn, frameOf(req, with))
		if err := producer.ProduceSync(testContext(t), &kgo.Record{Topic: "later", Partition: with, Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		resp := kmsg.NewPtrFetchResponse()
		resp.Version = 11
		receive(t, n.conn, resp) // within less than the two minutes
		for i := range resp.Topics {
			if p := resp.Topics[i].Partitions[0]; p.ErrorCode != 0 || (len(p.RecordBatches) > 0) != (p.Partition == with) {
				t.Errorf("partition %d, with a record in partition %d: %+v", p.Partition, with, p)
			}
		}
	}
}

func TestAdmin(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	ctx := testContext(t)
	adm := kadm.NewClient(n.client())
	value := func(s string) *string { return &s }

	created, err := adm.CreateTopics(ctx, 3, 1, map[string]*string{"retention.ms": value("12345")}, "one", "two", "bad name")
	if err != nil {
		t.Fatal(err)
	}
	if err := created["one"].Err; err != nil || created["one"].NumPartitions != 3 || *created["one"].Configs["retention.ms"].Value != "12345" {
		t.Errorf("%v %+v", err, created["one"])
	}
	if err := created["bad name"].Err; !errors.Is(err, kerr.InvalidTopicException) {
		t.Error(err)
	}
	for want, try := range map[*kerr.Error]func() error{
		kerr.TopicAlreadyExists:       func() error { r, _ := adm.CreateTopic(ctx, 1, 1, nil, "one"); return r.Err },
		kerr.InvalidReplicationFactor: func() error { r, _ := adm.CreateTopic(ctx, 1, 3, nil, "x"); return r.Err },
		kerr.InvalidPartitions:        func() error { r, _ := adm.CreateTopic(ctx, 0, 1, nil, "x"); return r.Err },
		kerr.InvalidConfig: func() error {
			r, _ := adm.CreateTopic(ctx, 1, 1, map[string]*string{"min.insync.replicas": value("2")}, "x")
			return r.Err
		},
	} {
		if err := try(); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}

	grown, err := adm.UpdatePartitions(ctx, 5, "one")
	if err != nil || grown.Error() != nil {
		t.Fatal(err, grown.Error())
	}
	topics, err := adm.ListTopics(ctx)
	if err != nil || len(topics) != 2 || len(topics["one"].Partitions) != 5 {
		t.Errorf("%v %+v", err, topics)
	}

	altered, err := adm.AlterTopicConfigs(ctx, []kadm.AlterConfig{
		{Op: kadm.DeleteConfig, Name: "retention.ms"}, {Op: kadm.SetConfig, Name: "max.message.bytes", Value: value("100")}}, "one")
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	configs, err := adm.DescribeTopicConfigs(ctx, "one")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range configs[0].Configs {
		switch c.Key {
		case "retention.ms":
			if c.Source != kmsg.ConfigSourceDefaultConfig || *c.Value != "604800000" {
				t.Errorf("%+v", c)
			}
		case "max.message.bytes":
			if c.Source != kmsg.ConfigSourceDynamicTopicConfig || *c.Value != "100" || len(c.Synonyms) != 2 {
				t.Errorf("%+v", c)
			}
		}
	}
	if err := n.client(kgo.ProducerBatchCompression(kgo.NoCompression())).ProduceSync(ctx, &kgo.Record{Topic: "one", Value: make([]byte, 200)}).FirstErr(); !errors.Is(err, kerr.MessageTooLarge) {
		t.Errorf("a batch above max.message.bytes: %v", err)
	}

	deleted, err := adm.DeleteTopics(ctx, "one", "two", "three")
	if err != nil || deleted["one"].Err != nil || !errors.Is(deleted["three"].Err, kerr.UnknownTopicOrPartition) {
		t.Fatal(err, deleted)
	}
	brokers, err := adm.BrokerMetadata(ctx)
	if err != nil || brokers.Controller != 7 || len(brokers.Brokers) != 1 {
		t.Fatal(err, brokers)
	}
}

func TestOffsetsByTimeAndDeletedRecords(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	ctx := testContext(t)
	n.createTopic("t", 1)
	cl := n.client()
	base := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	for i := range 10 {
		r := &kgo.Record{Topic: "t", Timestamp: base.Add(time.Duration(i) * time.Minute), Value: []byte("v")}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	adm := kadm.NewClient(cl)
	at := func(ms int64) int64 {
		t.Helper()
		offsets, err := adm.ListOffsetsAfterMilli(ctx, ms, "t")
		if err != nil {
			t.Fatal(err)
		}
		o, _ := offsets.Lookup("t", 0)
		return o.Offset
	}
	for minutes, want := range map[int]int64{-5: 0, 0: 0, 3: 3, 9: 9} {
		if got := at(base.Add(time.Duration(minutes) * time.Minute).UnixMilli()); got != want {
			t.Errorf("at minute %d: offset %d", minutes, got)
		}
	}
	if got := at(base.Add(3*time.Minute + time.Millisecond).UnixMilli()); got != 4 {
		t.Errorf("between two records: offset %d", got)
	}
	deleted, err := adm.DeleteRecords(ctx, kadm.Offsets{"t": {0: {Topic: "t", Partition: 0, At: 6}}})
	if err != nil || deleted.Error() != nil {
		t.Fatal(err, deleted.Error())
	}
	start, err := adm.ListStartOffsets(ctx, "t")
	if o, _ := start.Lookup("t", 0); err != nil || o.Offset != 6 {
		t.Errorf("start %d, %v", o.Offset, err)
	}
	if got := at(base.UnixMilli()); got != 6 {
		t.Errorf("after records were deleted: offset %d", got)
	}
	fetch := kmsg.NewPtrFetchRequest()
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic = "t"
	part := kmsg.NewFetchRequestTopicPartition()
	part.FetchOffset, part.PartitionMaxBytes = 5, 1<<20
	topic.Partitions = append(topic.Partitions, part)
	fetch.Topics = append(fetch.Topics, topic)
	resp := ask[*kmsg.FetchResponse](n, fetch, 11)
	if got := resp.Topics[0].Partitions[0].ErrorCode; got != codeOffsetOutOfRange {
		t.Errorf("a Fetch below the log start: error %d", got)
	}
}

func TestAutoCreationCanBeTurnedOff(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	settings := DefaultSettings()
	settings.AutoCreateTopics = false
	_, other := newTestServer(t, Config{Broker: n.broker, Settings: settings})
	off := dial(t, other)
	defer off.Close()
	for _, step := range []struct {
		conn net.Conn
		may  bool
		want int16
	}{
		{off, true, codeUnknownTopicOrPartition},
		{n.conn, false, codeUnknownTopicOrPartition},
		{n.conn, true, codeLeaderNotAvailable},
		{n.conn, true, codeNone},
		{off, true, codeNone},
	} {
		req := kmsg.NewPtrMetadataRequest()
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr("fresh")
		req.Topics = append(req.Topics, topic)
		req.AllowAutoTopicCreation, req.Version = step.may, 8
		send(t, step.conn, frameOf(req, 1))
		resp := kmsg.NewPtrMetadataResponse()
		resp.Version = 8
		receive(t, step.conn, resp)
		if got := resp.Topics[0].ErrorCode; got != step.want {
			t.Errorf("%+v: error %d", step, got)
		}
	}
}

// TestNewTopicHasLeaders: what CreateTopics and CreatePartitions have answered
// for can be listed and read at once; clients wait long before they ask again.
func TestNewTopicHasLeaders(t *testing.T) {
	n := startGroupNode(t, vfs.NewMem(), nil)
	defer n.stop()
	ctx := testContext(t)
	for i := range 20 {
		name := fmt.Sprintf("new%d", i)
		n.createTopic(name, 5)
		if err := n.broker.AddPartitions(ctx, name, 9, nil, false); err != nil {
			t.Fatal(err)
		}
		topic, ok := n.broker.Topic(name)
		if !ok || len(topic.Partitions) != 9 {
			t.Fatalf("%s: %t", name, ok)
		}
		for k, p := range topic.Partitions {
			if err := p.Err(); err != nil || p.Epoch() == 0 {
				t.Fatalf("%s/%d: epoch %d, %v", name, k, p.Epoch(), err)
			}
		}
	}
}
