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

	"waybill/internal/vfs"
)

// TestDiskAlarm makes the disk small under a running node: publishers of both
// protocols are stopped with a clear word, acknowledging, committing and deleting go on,
// and publishing does when there is space again.
func TestDiskAlarm(t *testing.T) {
	const large, small = 1 << 30, 48 << 20
	fs, c := vfs.NewMem(), testConfig("/data")
	fs.SetCapacity(large)
	c.Disk.Reserve = Reserve{Bytes: 64 << 20}
	c.Kafka.GroupInitialRebalanceDelay = 0
	n := startNode(t, fs, c)
	defer stopNode(t, n)

	conn, ch := dial(t, n)
	defer conn.Close()
	blocked := conn.NotifyBlocked(make(chan amqp091.Blocking, 4))
	declare(t, ch, "work")
	declare(t, ch, "scrap")
	publish(t, ch, "work", "before")
	publish(t, ch, "scrap", "before")
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := kafkaClient(t, n).ProduceSync(ctx, &kgo.Record{Topic: "work", Value: []byte("before")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	once := kafkaClient(t, n, kgo.RecordRetries(0), kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()))

	fs.SetCapacity(small)
	eventually(t, "the alarm", func() bool { return n.broker.Alarm() != "" })
	second, err := ch.PublishWithDeferredConfirm("", "work", false, false, amqp091.Publishing{Body: []byte("during")})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case b := <-blocked:
		if !b.Active || !strings.Contains(b.Reason, "disk") {
			t.Errorf("connection.blocked says %+v", b)
		}
	case <-ctx.Done():
		t.Fatal("no connection.blocked")
	}
	var refused *kerr.Error
	err = once.ProduceSync(ctx, &kgo.Record{Topic: "work", Value: []byte("during")}).FirstErr()
	if !errors.As(err, &refused) || !refused.Retriable {
		t.Errorf("Kafka on a full disk: %v, want an error that a producer retries", err)
	}

	// What makes room, and what keeps a consumer going.
	consumer, drain := dial(t, n)
	defer consumer.Close()
	d, ok, err := drain.Get("work", false)
	if err != nil || !ok || string(d.Body) != "before" {
		t.Fatalf("get: %q %v %v", d.Body, ok, err)
	}
	if err := d.Ack(false); err != nil {
		t.Fatal(err)
	}
	if _, err := drain.QueuePurge("scrap", false); err != nil {
		t.Fatal(err)
	}
	if _, err := drain.QueueDelete("scrap", false, false, false); err != nil {
		t.Fatal(err)
	}
	reader := kafkaClient(t, n, kgo.ConsumeTopics("work"), kgo.ConsumerGroup("readers"), kgo.DisableAutoCommit())
	if r := reader.PollFetches(ctx).Records(); len(r) != 1 || string(r[0].Value) != "before" {
		t.Fatalf("fetched %v", r)
	}
	if err := reader.CommitUncommittedOffsets(ctx); err != nil {
		t.Errorf("commit on a full disk: %v", err)
	}
	if second.Acked() {
		t.Error("a message was confirmed while publishing was blocked")
	}

	fs.SetCapacity(large)
	select {
	case b := <-blocked:
		if b.Active {
			t.Errorf("expected connection.unblocked, got %+v", b)
		}
	case <-ctx.Done():
		t.Fatal("no connection.unblocked")
	}
	if ok, err := second.WaitContext(ctx); err != nil || !ok {
		t.Errorf("the message that waited: %v, %v", ok, err)
	}
	if err := once.ProduceSync(ctx, &kgo.Record{Topic: "work", Value: []byte("after")}).FirstErr(); err != nil {
		t.Errorf("Kafka after the alarm: %v", err)
	}
}
