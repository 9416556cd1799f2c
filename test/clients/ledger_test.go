//go:build clients

package clients

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"waybill/test/check"
)

// A ledger keeps what an application reported, for the checker of its protocol.
//
// Duplicates are legal where the client cannot know better: a queue's message is published again
// when its confirm was cut off, and delivered again when its ack was; a topic's record is read
// again when its commit was cut off. A record is never stored twice, because the producers are
// idempotent.
type ledger struct {
	kafka bool
	name  string // of the queue or topic
	queue check.Queue
	topic check.Kafka

	unacked, unreceived map[check.Value]bool
	receptions          int
}

func newLedger(app application, name string) *ledger {
	l := &ledger{
		kafka: app.kafka, name: name,
		unacked: map[check.Value]bool{}, unreceived: map[check.Value]bool{},
	}
	for n := range uint32(messages) {
		v := check.Value{Counter: n}
		l.queue.Attempt(v)
		l.topic.Attempt(v)
		l.unacked[v], l.unreceived[v] = true, true
	}
	return l
}

// add takes one line of an application.
func (l *ledger) add(line string) error {
	fields := strings.Fields(line)
	if want := map[bool]int{false: 2, true: 4}[l.kafka]; len(fields) != want {
		return fmt.Errorf("unexpected line %q", line)
	}
	number, isOrder := strings.CutPrefix(fields[1], "order-")
	counter, err := strconv.ParseUint(number, 10, 32)
	if err != nil || !isOrder {
		return fmt.Errorf("unexpected value in the line %q", line)
	}
	value := check.Value{Counter: uint32(counter)}

	var partition *check.Partition
	var offset int64
	if l.kafka {
		number, err1 := strconv.ParseInt(fields[2], 10, 32)
		at, err2 := strconv.ParseInt(fields[3], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return fmt.Errorf("unexpected line %q: %w", line, err)
		}
		partition, offset = l.topic.Partition(l.name, int32(number)), at
	}

	switch fields[0] {
	case "acked":
		delete(l.unacked, value)
		if l.kafka {
			partition.Acked(value, offset)
		} else {
			l.queue.Acked(value)
		}
	case "received":
		l.receptions++
		delete(l.unreceived, value)
		if l.kafka {
			partition.Seen(value, offset)
		} else {
			// A copy that was published again is no redelivery, so the flag says nothing here.
			l.queue.Received(value, true)
		}
	default:
		return fmt.Errorf("unexpected line %q", line)
	}
	return nil
}

// checkQueue checks that nothing acknowledged is missing and nothing was invented, and that the
// consumer's acks have taken every message out of the queue.
func checkQueue(t *testing.T, url string, seen *ledger) {
	t.Helper()
	t.Log(seen.queue.Report())
	if err := seen.queue.Report().Err(); err != nil {
		t.Fail()
	}
	conn, err := amqp.Dial(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	channel, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	q, err := channel.QueueDeclarePassive(seen.name, true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if q.Messages != 0 {
		t.Errorf("%d messages are in the queue after every one was acknowledged", q.Messages)
	}
}

// checkTopic checks that nothing acknowledged is missing, moved, stored twice or invented, that
// offsets are dense, and that the group's commits, which were answered, cover the whole topic.
func checkTopic(t *testing.T, seeds []string, seen *ledger) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(seeds...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	ends, err := admin.ListEndOffsets(ctx, seen.name)
	if err != nil {
		t.Fatal(err)
	}
	commits, err := admin.FetchOffsets(ctx, seen.name+"-readers")
	if err != nil {
		t.Fatal(err)
	}
	if len(ends[seen.name]) == 0 {
		t.Error("the topic is gone")
	}
	ends.Each(func(end kadm.ListedOffset) {
		if end.Err != nil {
			t.Errorf("partition %d: %v", end.Partition, end.Err)
			return
		}
		seen.topic.Partition(seen.name, end.Partition).Drained(0, end.Offset)
		commit, ok := commits.Lookup(seen.name, end.Partition)
		if end.Offset > 0 && (!ok || commit.Err != nil || commit.At != end.Offset) {
			t.Errorf("partition %d ends at %d, the group has committed %d (%v)",
				end.Partition, end.Offset, commit.At, commit.Err)
		}
	})
	t.Logf("%v, %d receptions", seen.topic.Report(), seen.receptions)
	if err := seen.topic.Report().Err(); err != nil {
		t.Fail()
	}
}
