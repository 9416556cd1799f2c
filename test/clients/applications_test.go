//go:build clients

package clients

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	brokertest "waybill/test/broker"
)

// An application is a program in the language of one stock client. It is called as
//
//	command publish|consume <addresses> <queue or topic> [count]
//
// and tells what happened line by line: "acked order-7" and "received order-7", with a Kafka
// client followed by " <partition> <offset>".
type application struct {
	name    string
	kafka   bool
	command []string
}

// The versions are pinned in python/requirements.txt, node/package-lock.json and java/pom.xml.
var applications = []application{
	{"pika", false, pythonCommand("pika_app.py")},
	{"amqplib", false, nodeCommand("amqplib_app.js")},
	{"amqp-client", false, javaCommand("AmqpApp")},
	{"confluent-kafka", true, pythonCommand("confluent_app.py")},
	{"kafkajs", true, nodeCommand("kafkajs_app.js")},
	{"kafka-clients", true, javaCommand("KafkaApp")},
}

func pythonCommand(script string) []string {
	return []string{"../../.tools/clients-venv/bin/python", filepath.Join("python", script)}
}

func nodeCommand(script string) []string {
	return []string{"node", filepath.Join("node", script)}
}

func javaCommand(class string) []string {
	return []string{
		"java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
		"-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
		"-cp", "java/target/classes:java/target/dependency/*", class,
	}
}

const messages = 10_000

var (
	seed  = flag.Uint64("seed", uint64(time.Now().UnixNano()), "chooses the moments of the kills")
	kills = flag.Int("kills", 2, "how often the broker is killed while an application publishes, and again while it consumes")
)

// TestApplications lets every application publish and then consume its messages while the broker
// is killed and started again, and compares what was acknowledged with what was received.
func TestApplications(t *testing.T) {
	for _, app := range applications {
		t.Run(app.name, func(t *testing.T) {
			t.Logf("run again with -seed %d -kills %d", *seed, *kills)
			random := rand.New(rand.NewPCG(*seed, 0))
			broker := startBroker(t)
			name := "orders-" + app.name
			seen := newLedger(app, name)

			ready := func(t *testing.T) { waitReady(t, broker) }
			app.run(t, seen, phase{
				arguments: []string{"publish", app.address(broker), name, fmt.Sprint(messages)},
				events:    killedAt(broker, killMoments(random)),
				end:       ready,
			})
			if n := len(seen.unacked); n > 0 {
				t.Fatalf("%d of %d values were not acknowledged", n, messages)
			}
			app.run(t, seen, phase{
				arguments: []string{"consume", app.address(broker), name},
				events:    killedAt(broker, killMoments(random)),
				end:       ready,
				endless:   true,
			})
			if app.kafka {
				broker.Kill()
				broker.Restart()
				checkTopic(t, []string{broker.Kafka}, seen)
			} else {
				checkQueue(t, amqpURL(broker), seen)
			}
		})
	}
}

func (app application) address(b *brokertest.Broker) string {
	if app.kafka {
		return b.Kafka
	}
	return amqpURL(b)
}

// killMoments chooses after which of the program's lines the broker is killed, each in its own
// part of the run and none in the last tenth.
func killMoments(random *rand.Rand) []int {
	part := messages * 9 / 10 / *kills
	var moments []int
	for i := range *kills {
		moments = append(moments, i*part+part/10+random.IntN(part*9/10))
	}
	return moments
}
