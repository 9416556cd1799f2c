//go:build clients

package clients

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	brokertest "waybill/test/broker"
)

// TestKcat produces and consumes with kcat in every codec, and looks at the stored batches: a
// librdkafka that dislikes the broker's version table switches compression off without a word.
func TestKcat(t *testing.T) {
	broker := startBroker(t)
	// The codecs in the order of their numbers in a batch's attributes.
	for number, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		t.Run(codec, func(t *testing.T) {
			topic := "kcat-" + codec
			var lines strings.Builder
			for n := range 5000 {
				fmt.Fprintf(&lines, "line %d of a text that every codec makes shorter\n", n)
			}

			kcat(t, lines.String(), "-P", "-b", broker.Kafka, "-t", topic, "-z", codec, "-X", "acks=all")
			got := kcat(t, "", "-C", "-b", broker.Kafka, "-t", topic, "-o", "beginning", "-e", "-q")
			if got != lines.String() {
				t.Errorf("consumed %d bytes, produced %d; they differ", len(got), lines.Len())
			}

			checked := 0
			for _, batch := range storedBatches(t, broker, topic) {
				// A batch of a few records is sent as it is, because compressed it would be longer.
				if batch.NumRecords < 100 {
					continue
				}
				checked++
				if stored := int(batch.Attributes & 7); stored != number {
					t.Errorf("the batch at offset %d is stored with codec %d, want %d", batch.FirstOffset, stored, number)
				}
			}
			if checked == 0 {
				t.Error("no large batch is stored")
			}
		})
	}
}

// kcat runs kcat with that standard input and returns its standard output.
func kcat(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "kcat", arguments...)
	cmd.Stdin = strings.NewReader(input)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kcat %s: %v\n%s", strings.Join(arguments, " "), err, lastBytes(stderr.String(), 2048))
	}
	return string(out)
}

// storedBatches fetches the raw batches of partition 0.
func storedBatches(t *testing.T, broker *brokertest.Broker, topic string) []kmsg.RecordBatch {
	t.Helper()
	// Versions in which Fetch names topics instead of giving their ids.
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Kafka), kgo.MaxVersions(kversion.V2_4_0()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()

	var batches []kmsg.RecordBatch
	next := int64(0)
	for {
		partition := fetch(ctx, t, client, topic, next)
		for rest := partition.RecordBatches; len(rest) > 0; {
			var batch kmsg.RecordBatch
			if err := batch.ReadFrom(rest); err != nil {
				break // a batch cut off at the end, as the protocol allows
			}
			const beforeLength = 8 + 4
			rest = rest[beforeLength+int(batch.Length):]
			batches = append(batches, batch)
			next = batch.FirstOffset + int64(batch.LastOffsetDelta) + 1
		}
		if next >= partition.HighWatermark {
			return batches
		}
	}
}

func fetch(ctx context.Context, t *testing.T, client *kgo.Client, topic string, offset int64) kmsg.FetchResponseTopicPartition {
	t.Helper()
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.FetchOffset = offset
	partition.PartitionMaxBytes = 1 << 20
	requested := kmsg.NewFetchRequestTopic()
	requested.Topic = topic
	requested.Partitions = append(requested.Partitions, partition)
	request := kmsg.NewPtrFetchRequest()
	request.MaxWaitMillis = 1000
	request.MinBytes = 1
	request.Topics = append(request.Topics, requested)

	response, err := client.SeedBrokers()[0].Request(ctx, request)
	if err != nil {
		t.Fatal(err)
	}
	got := response.(*kmsg.FetchResponse)
	if err := kerr.ErrorForCode(got.ErrorCode); err != nil {
		t.Fatal(err)
	}
	if len(got.Topics) != 1 || len(got.Topics[0].Partitions) != 1 {
		t.Fatalf("asked for one partition, got %+v", got.Topics)
	}
	answer := got.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
		t.Fatal(err)
	}
	return answer
}
