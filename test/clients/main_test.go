//go:build clients

package clients

import (
	"os"
	"testing"
	"time"

	brokertest "waybill/test/broker"
)

func TestMain(m *testing.M) { os.Exit(brokertest.Main(m)) }

// startBroker starts a broker, with more environment, that ends with the test. Other brokers, which
// these suites can be checked against, take longer to start than Waybill.
func startBroker(t *testing.T, env ...string) *brokertest.Broker {
	t.Helper()
	return brokertest.Start(t, brokertest.Options{Ready: time.Minute, Env: env})
}

// amqpURL is the address of a broker in the form AMQP clients take. The vhost "/" is spelled out:
// not every client takes an empty path for it.
func amqpURL(b *brokertest.Broker) string {
	return "amqp://guest:guest@" + b.AMQP + "/%2F"
}
