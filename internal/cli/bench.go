package cli

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"waybill/internal/bench"
)

func newBench() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Put a load on a broker, any broker, and measure it",
		Long: `Publish to a broker and consume from it, and print rate, confirm latency and
end-to-end latency; given its process ids, also what a message costs the broker.
It speaks to any broker of the protocol, not only to this one.

At a fixed --rate a latency counts from the time at which the message was to be
sent, whether or not the broker let the producer keep the schedule.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newBenchAMQP(), newBenchKafka())
	return cmd
}

// benchRun is what the flags of a bench command say.
type benchRun struct {
	load    bench.Load
	phase   string
	client  string
	backlog bool
	json    bool
}

// flags adds the flags that both protocols have.
func (b *benchRun) flags(f *pflag.FlagSet) {
	f.IntVar(&b.load.Producers, "producers", 1, "producers, each with a connection of its own")
	f.IntVar(&b.load.Consumers, "consumers", 1, "consumers, each with a connection of its own")
	f.IntVar(&b.load.Size, "size", 1024, "bytes of a message's body")
	f.IntVar(&b.load.InFlight, "in-flight", 1000, "unconfirmed messages of each producer")
	f.Float64Var(&b.load.Rate, "rate", 0, "messages per second of all producers together, with --phase drain of all consumers; 0 is as fast as it goes")
	f.Int64Var(&b.load.Messages, "messages", 0, "stop after so many messages instead of after --duration")
	f.DurationVar(&b.load.Duration, "duration", 10*time.Second, "how long to measure")
	f.DurationVar(&b.load.Warmup, "warmup", 0, "how long to load the broker before measuring")
	f.StringVar(&b.load.Name, "name", "waybill-bench", "name of the topic; of the queues and the exchange")
	f.BoolVar(&b.load.Keep, "keep", false, "do not delete queues or topic afterwards; --phase build keeps them by itself")
	f.IntSliceVar(&b.load.PIDs, "pid", nil, "process of the broker on this machine; repeatable, or with commas")
	f.StringVar(&b.load.Disk, "disk", "", "a directory on the broker's disk: print what the device is written, by anybody")
	f.BoolVar(&b.backlog, "backlog", false, "build a backlog, wait for a restart of the broker, drain it")
	f.StringVar(&b.phase, "phase", "", "only build the backlog, or only drain it")
	f.StringVar(&b.client, "client", "lean", "lean, or stock for the client library that applications use")
	f.BoolVar(&b.json, "json", false, "print the result as a JSON object; the progress goes to standard error")
}

// run checks the flags, runs, and prints.
func (b *benchRun) run(cmd *cobra.Command, target func(bench.Load) (bench.Target, error)) error {
	switch b.client {
	case "lean":
	case "stock":
		b.load.Stock = true
	default:
		return usageError(cmd, errors.New("--client is lean or stock"))
	}
	b.load.Phase = bench.Phase(b.phase)
	if b.phase == string(bench.Drain) && !cmd.Flags().Changed("duration") {
		b.load.Duration = 0 // until it is drained
	}
	if b.phase == string(bench.Build) && !cmd.Flags().Changed("keep") {
		b.load.Keep = true // what else would it be for
	}
	err := b.measure(cmd, target)
	if errors.Is(err, bench.ErrLoad) {
		return usageError(cmd, err)
	}
	return err
}

func (b *benchRun) measure(cmd *cobra.Command, target func(bench.Load) (bench.Target, error)) error {
	if b.backlog {
		r, err := bench.RunBacklog(cmd.Context(), b.load, target, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		return b.print(cmd, r, r.Build, r.Drain)
	}
	t, err := target(b.load)
	if err != nil {
		return err
	}
	r, err := bench.Run(cmd.Context(), b.load, t, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	return b.print(cmd, r, r)
}

func (b *benchRun) print(cmd *cobra.Command, whole any, parts ...*bench.Result) error {
	if b.json {
		return json.NewEncoder(cmd.OutOrStdout()).Encode(whole)
	}
	for _, r := range parts {
		if err := r.Print(cmd.OutOrStdout()); err != nil {
			return err
		}
	}
	return nil
}

func newBenchAMQP() *cobra.Command {
	var b benchRun
	var a bench.AMQP
	var fanOut int
	cmd := &cobra.Command{
		Use:   "amqp",
		Short: "Load a broker of AMQP 0-9-1",
		Example: `  waybill bench amqp --pid $(pgrep -x waybill)
  waybill bench amqp --url amqp://guest:guest@127.0.0.1:5672/ --queue-type quorum --rate 2000
  waybill bench amqp --queues 100 --producers 10 --consumers 10 --json
  waybill bench amqp --phase build --messages 10000000`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if fanOut > 0 {
				a.FanOut, b.load.Queues = true, fanOut
			}
			return b.run(cmd, func(l bench.Load) (bench.Target, error) { return bench.NewAMQP(l, a) })
		},
	}
	f := cmd.Flags()
	b.flags(f)
	f.StringVar(&a.URL, "url", "amqp://guest:guest@127.0.0.1:5672/", "the broker")
	f.IntVar(&b.load.Queues, "queues", 1, "queues, shared among producers and among consumers")
	f.IntVar(&fanOut, "fan-out", 0, "instead of --queues: one exchange that gives each message to so many queues")
	f.StringVar(&a.QueueType, "queue-type", "", "the queues' x-queue-type: classic, quorum; empty is the broker's default")
	f.BoolVar(&a.Durable, "durable", true, "durable queues and persistent messages")
	f.IntVar(&a.Prefetch, "prefetch", 1000, "unacknowledged messages of each consumer; 0 is no limit")
	f.IntVar(&a.AckEvery, "ack-every", 1, "one ack for so many messages; 0 consumes without acks")
	return cmd
}
