package bench

import (
	"fmt"
	"io"
	"time"
)

// Result is what came out of a run.
type Result struct {
	Protocol  string    `json:"protocol"`
	Client    string    `json:"client"` // lean, or the name of the library
	Started   time.Time `json:"started"`
	Seconds   float64   `json:"seconds"` // that were measured
	Producers int       `json:"producers"`
	Consumers int       `json:"consumers"`
	Queues    int       `json:"queues"` // or partitions
	Size      int       `json:"size"`
	InFlight  int       `json:"in_flight"`
	TargetPS  float64   `json:"target_rate,omitempty"`
	Phase     Phase     `json:"phase,omitempty"`

	Confirmed   int64    `json:"confirmed"`
	ConfirmedPS float64  `json:"confirmed_per_second"`
	Confirm     *Latency `json:"confirm_ms,omitempty"`
	Consumed    int64    `json:"consumed"`
	ConsumedPS  float64  `json:"consumed_per_second"`
	EndToEnd    *Latency `json:"end_to_end_ms,omitempty"`
	Refused     int64    `json:"refused"`     // answered with a nack or an error
	Unconfirmed int64    `json:"unconfirmed"` // never answered

	Broker *BrokerUse `json:"broker,omitempty"`
	Disk   *DiskUse   `json:"disk,omitempty"`
	Own    float64    `json:"client_cpu_us_per_message"` // this process

	Setup float64 `json:"setup_seconds"` // to declare queues or the topic
}

// BrokerUse is what the broker's processes used while it was measured. A message is
// one that was confirmed; without producers, one that was consumed.
type BrokerUse struct {
	CPU       float64 `json:"cpu_us_per_message"`
	Cores     float64 `json:"cores"`
	Memory    int64   `json:"memory_bytes"`      // resident at the end
	Peak      int64   `json:"memory_peak_bytes"` // since the process was started
	Processes []int   `json:"pids"`
}

// DiskUse is what the broker's disk was written while it was measured, by anybody on
// the machine.
type DiskUse struct {
	Written int64   `json:"written_bytes"`
	PerByte float64 `json:"written_per_byte"` // of the bodies of the messages
}

// Print writes the result for people.
func (r *Result) Print(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s, %s client: %d producers, %d consumers, %d × %d B, %d in flight each, %.1f s",
		r.Protocol, r.Client, r.Producers, r.Consumers, r.Queues, r.Size, r.InFlight, r.Seconds)
	if r.Producers > 0 {
		p.line("confirmed   %10.0f/s   %d", r.ConfirmedPS, r.Confirmed)
		p.latency("confirm", r.Confirm)
	}
	if r.Consumers > 0 {
		p.line("consumed    %10.0f/s   %d", r.ConsumedPS, r.Consumed)
		p.latency("end to end", r.EndToEnd)
	}
	if r.Refused > 0 || r.Unconfirmed > 0 {
		p.line("refused %d, never answered %d", r.Refused, r.Unconfirmed)
	}
	if b := r.Broker; b != nil {
		p.line("broker      %10.2f µs of CPU per message   %.2f cores   %d MiB resident, %d MiB peak",
			b.CPU, b.Cores, b.Memory>>20, b.Peak>>20)
	}
	if d := r.Disk; d != nil {
		p.line("disk        %10d MiB written   %.2f bytes per byte of a body", d.Written>>20, d.PerByte)
	}
	p.line("this client %10.2f µs of CPU per message", r.Own)
	return p.err
}

// printer keeps the first error of a series of writes.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) latency(name string, l *Latency) {
	if l != nil {
		p.line("%-11s p50 %.3f ms   p99 %.3f ms   p99.9 %.3f ms   max %.3f ms", name, l.P50, l.P99, l.P999, l.Max)
	}
}
