//go:build clients

package clients

import (
	"os"
	"testing"
	"time"

	brokertest "waybill/test/broker"
)

func TestMain(m *testing.M) {
	if !applicationMain() {
		os.Exit(brokertest.Main(m))
	}
}

// startBroker starts a broker, with more environment, that ends with the test. Other brokers, which
// these suites can be checked against, take longer to start than Waybill.
func startBroker(t *testing.T, env ...string) *brokertest.Broker {
	t.Helper()
	return brokertest.Start(t, brokertest.Options{Ready: time.Minute, Env: env})
}

// quickGroups is a setting: a new consumer group does not wait three seconds for more members,
// which makes more rebalances in less time.
const quickGroups = "WAYBILL_KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=100"

// amqpURL is the address of a broker in the form AMQP clients take. The vhost "/" is spelled out:
// not every client takes an empty path for it.
func amqpURL(b *brokertest.Broker) string {
	return "amqp://guest:guest@" + b.AMQP + "/%2F"
}
