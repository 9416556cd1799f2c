//go:build clients

package clients

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// kafkaOnPurpose are the answers in which Waybill differs from Kafka (version 4.3.0) on purpose.
var kafkaOnPurpose = strings.NewReplacer(
	// What is wrong with the batch, instead of a fault of the server or of its transport: a client
	// must not send it again.
	"an unknown codec: UNKNOWN_SERVER_ERROR", "an unknown codec: UNSUPPORTED_COMPRESSION_TYPE",
	"gzip that is none: UNKNOWN_SERVER_ERROR", "gzip that is none: INVALID_RECORD",
	"magic 9: CORRUPT_MESSAGE", "magic 9: UNSUPPORTED_FOR_MESSAGE_FORMAT",
	// A producer that the broker does not know begins with sequence 0: else a first batch that got
	// lost would leave a hole that nobody sees.
	"an unknown producer with sequence 7: offset 12, log start 0",
	"an unknown producer with sequence 7: UNKNOWN_PRODUCER_ID",
	// Transactions are not served yet.
	"without a transactional id: TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
	"without a transactional id: INVALID_TXN_STATE",
)

// TestKafkaParity asks things that a client should not ask, among others, and compares the error
// codes with those that Kafka gave. Error messages are free.
func TestKafkaParity(t *testing.T) {
	broker := startBroker(t, quickGroups)
	for _, s := range []struct {
		name string
		play func(a *asker)
	}{
		{"topics", kafkaTopics},
		{"metadata", kafkaMetadata},
		{"configs", kafkaConfigs},
		{"produce", kafkaProduce},
		{"idempotence", kafkaIdempotence},
		{"fetch", kafkaFetch},
		{"list offsets", kafkaListOffsets},
		{"delete records", kafkaDeleteRecords},
		{"groups", kafkaGroups},
		{"static members", kafkaStaticMembers},
		{"commits", kafkaCommits},
		{"group administration", kafkaGroupAdministration},
	} {
		t.Run(s.name, func(t *testing.T) {
			a := newAsker(t, broker.Kafka)
			s.play(a)
			compareTranscript(t, filepath.Join("kafka", s.name), a.transcript.String(), kafkaOnPurpose)
		})
	}
}

// An asker sends single requests as they are, without the care of a client, and writes down the
// answers.
type asker struct {
	t          *testing.T
	ctx        context.Context
	conn       net.Conn
	transcript strings.Builder
}

func newAsker(t *testing.T, address string) *asker {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	return &asker{t: t, ctx: ctx, conn: conn}
}

func (a *asker) writef(format string, args ...any) {
	fmt.Fprintf(&a.transcript, format+"\n", args...)
}

// asked are the versions that requests are sent in: the last ones in which every request names
// topics instead of giving their ids.
var asked = kversion.V2_8_0()

// ask returns the answer to a request, which is of the type that belongs to it.
func ask[T kmsg.Response](a *asker, request kmsg.Request) T {
	a.t.Helper()
	version, _ := asked.LookupMaxKeyVersion(request.Key())
	request.SetVersion(version)
	response, err := exchange(a.conn, request)
	if err != nil {
		a.t.Fatalf("%s: %v", kmsg.NameForKey(request.Key()), err)
	}
	return response.(T)
}

// exchange sends a request and reads the response.
func exchange(conn net.Conn, request kmsg.Request) (kmsg.Response, error) {
	const correlation = 1
	formatter := kmsg.NewRequestFormatter(kmsg.FormatterClientID("asker"))
	if _, err := conn.Write(formatter.AppendRequest(nil, request, correlation)); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(conn, body); err != nil {
		return nil, err
	}
	response := request.ResponseKind()
	response.SetVersion(request.GetVersion())
	header := 4 // the correlation id
	if response.IsFlexible() {
		header++ // and no tags
	}
	if len(body) < header || binary.BigEndian.Uint32(body) != correlation {
		return nil, fmt.Errorf("a response of %d bytes to another request", len(body))
	}
	return response, response.ReadFrom(body[header:])
}

// code names an error code.
func code(c int16) string {
	if c == 0 {
		return "ok"
	}
	var e *kerr.Error
	if err := kerr.ErrorForCode(c); errors.As(err, &e) {
		return e.Message
	}
	return fmt.Sprint(c)
}

// until asks again until done says that a transient state has passed.
func (a *asker) until(what string, done func() bool) {
	a.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-a.ctx.Done():
			a.t.Fatalf("%s: %v", what, a.ctx.Err())
		case <-tick.C:
		}
	}
}

// topic creates a topic and waits until it can be used.
func (a *asker) topic(name string, partitions int32) {
	a.t.Helper()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, partitions, 1
	request.Topics = append(request.Topics, topic)
	response := ask[*kmsg.CreateTopicsResponse](a, request)
	if c := response.Topics[0].ErrorCode; c != 0 {
		a.t.Fatalf("creating %s: %s", name, code(c))
	}
	a.until("topic "+name, func() bool {
		for p := range partitions {
			if a.listOffset(name, p, latest).ErrorCode != 0 {
				return false
			}
		}
		return true
	})
}

// describe asks for the metadata of one topic.
func (a *asker) describe(topic string, create bool) *kmsg.MetadataResponse {
	a.t.Helper()
	request := kmsg.NewPtrMetadataRequest()
	request.AllowAutoTopicCreation = create
	requested := kmsg.NewMetadataRequestTopic()
	requested.Topic = kmsg.StringPtr(topic)
	request.Topics = append(request.Topics, requested)
	return ask[*kmsg.MetadataResponse](a, request)
}
