// Command waybill is a message broker that serves RabbitMQ clients and Kafka
// clients.
package main

import (
	"os"

	"waybill/internal/cli"
)

func main() { os.Exit(cli.Main()) }
