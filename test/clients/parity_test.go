//go:build clients

package clients

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var record = flag.Bool("record", false, "write the transcripts of TestRabbitMQParity or TestKafkaParity anew; WAYBILL_BINARY starts the original then")

// ownWords are the answers that Waybill words differently, on purpose: RabbitMQ's text as it is
// recorded (version 3.10.8), and ours. Where RabbitMQ prints an Erlang term, ours is a sentence; what
// stands before it, which clients look for, is the same. Ours may also go on, after a semicolon, with
// what to do instead.
var ownWords = strings.NewReplacer(
	"{value_negative,-1}", "must not be negative, got -1",
	"{value_negative,-5}", "must not be negative, got -5",
	"{value_zero,0}", "must be between 1 and 4294967295, got 0",
	`"expected integer, got longstr"`, "must be an integer, not a string",
	"invalid_overflow", "must be one of drop-head, reject-publish, reject-publish-dlx, got 'explode'",
	"invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue 'args' in vhost '/'",
	"invalid arg 'x-dead-letter-exchange' for queue 'args' in vhost '/': must be a string, not an integer",
	"routing_key_but_no_dlx_defined", "needs x-dead-letter-exchange",
	"{max_value_exceeded,256}", "priority queues are not supported yet; declare the queue without it",
	`"unsupported queue type 'unheard-of'"`, "unsupported queue type 'unheard-of'",
	"received '2000' but current is '1000'",
	"received the value '2000' of type 'signedint' but current is the value '1000' of type 'signedint'",
	`Invalid x-match field value <<"some">>; expected all, any, all-with-x, or any-with-x`,
	"invalid x-match field value some: use all, any, all-with-x or any-with-x",
	"Invalid x-match field type signedint (value 1); expected longstr",
	"invalid x-match field value 1: use all, any, all-with-x or any-with-x",
	"invalid expiration 'soon': no_integer", "invalid expiration 'soon': not a number of milliseconds",
	"invalid expiration '-1': {value_negative,-1}", "invalid expiration '-1': not a number of milliseconds",
	// As RabbitMQ does since version 4.
	"connection closed 503 COMMAND_INVALID - unknown exchange type 'no-such-type'",
	"channel closed 406 PRECONDITION_FAILED - unknown exchange type 'no-such-type': use direct, fanout, topic or headers",
)

// TestRabbitMQParity plays AMQP scenarios and compares the transcripts with those that RabbitMQ
// gave: results, error codes and reply texts, word for word but for ownWords.
func TestRabbitMQParity(t *testing.T) {
	broker := startBroker(t)
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			p := newPlayer(t, amqpURL(broker))
			s.play(p)
			p.end()
			compareTranscript(t, filepath.Join("rabbitmq", s.name), p.transcript.String(), ownWords)
		})
	}
}

// compareTranscript compares what Waybill answered with what is recorded in testdata, after
// replacing what differs on purpose, or records it. It reports each line that differs by its number:
// a scenario's steps are the same whatever the broker answers, but for the deliveries.
func compareTranscript(t *testing.T, name, got string, onPurpose *strings.Replacer) {
	t.Helper()
	path := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
	if *record {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	recorded, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := onPurpose.Replace(string(recorded))
	wanted, gotten := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(wanted), len(gotten)) {
		w, g := line(wanted, i), line(gotten, i)
		if w != g && !strings.HasPrefix(g, w+"; ") {
			t.Errorf("line %d:\nrecorded  %s\nWaybill   %s", i+1, w, g)
		}
	}
}

func line(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(nothing)"
}
