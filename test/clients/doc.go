// Package clients proves the broker with the clients that people already use. It has no code of
// its own: its tests, behind the build tag "clients", start the real binary and point stock
// clients at it.
//
//   - amqp091-go's own integration suite and franz-go's TestGroupETL, run from the sources of
//     those modules as the Go proxy serves them;
//   - kcat with every compression codec, with a look at what was really stored;
//   - one small application for each of pika, confluent-kafka, amqplib, kafkajs and the two Java
//     clients (folders python, node and java), which publishes and consumes while the broker is
//     killed with SIGKILL and started again: nothing it was told is safe may be missing;
//   - the same applications, and those of amqp091-go, franz-go and kcat, with three nodes, of which
//     the one that leads is killed and comes back;
//   - scenarios with the answers that RabbitMQ and Kafka give, recorded in testdata: error codes,
//     reply texts, routing, redelivery, limits, offsets, groups.
//
// The script run installs what the suites need and runs them:
//
//	test/clients/run                          # everything
//	test/clients/run -run TestApplications/pika -seed 42
//
// To see whether a failing suite or the broker is to blame, and to record answers, run it against the
// original: the environment variable WAYBILL_BINARY names a program to start instead of Waybill's
// binary, with the same flags and the same /readyz. The folder original has them for RabbitMQ and
// Kafka:
//
//	WAYBILL_BINARY=$PWD/original/rabbitmq go test -tags clients -run RabbitMQParity -record .
package clients
