package cli

import (
	"time"

	"github.com/spf13/cobra"

	"waybill/internal/bench"
)

func newBenchKafka() *cobra.Command {
	var b benchRun
	var k bench.Kafka
	cmd := &cobra.Command{
		Use:   "kafka",
		Short: "Load a Kafka broker",
		Example: `  waybill bench kafka --pid $(pgrep -x waybill)
  waybill bench kafka --bootstrap 127.0.0.1:9092 --partitions 16 --in-flight 10000
  waybill bench kafka --rate 2000 --json
  waybill bench kafka --phase build --messages 5000000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, func(l bench.Load) (bench.Target, error) { return bench.NewKafka(l, k) })
		},
	}
	f := cmd.Flags()
	b.flags(f)
	f.StringSliceVar(&k.Bootstrap, "bootstrap", []string{"127.0.0.1:9092"}, "brokers to begin with")
	f.IntVar(&b.load.Queues, "partitions", 1, "partitions of the topic, shared among consumers")
	f.StringVar(&k.Acks, "acks", "all", "all, 1 or 0")
	f.BoolVar(&k.Idempotent, "idempotent", true, "produce with a producer id and sequence numbers")
	f.StringVar(&k.Compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	f.DurationVar(&k.Commit, "commit-interval", time.Second, "how often a consumer commits its offsets; 0 is never")
	f.StringToStringVar(&k.TopicConfig, "topic-config", nil, "settings of the topic when it is created, as flush.messages=1")
	return cmd
}
